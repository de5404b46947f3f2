"""An executor is a plain function, so its test is a plain call."""

from masterworker import TaskContext

from masterworker_reverse import reverse


def test_reverse() -> None:
    """Every byte comes back, the last one first."""
    assert reverse(b"stressed\xff", TaskContext("task-1", "reverse")) == b"\xffdesserts"


def test_reverse_nothing() -> None:
    """An empty payload has an empty result."""
    assert reverse(b"", TaskContext("task-1", "reverse")) == b""
