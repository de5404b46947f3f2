"""The backlog: which pending tasks a primary knows of, within a bound."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from masterworker.decisions.backlog import Backlog
from masterworker.words.model import Task
from tests.unit import strategies  # noqa: F401 - sets the profile

NAMES = [f"t{number}" for number in range(9)]
WINDOW = 5


def served(backlog: Backlog) -> dict[tuple[str, bool], list[str]]:
    """The names in each queue, in order."""
    return {key: [task.id for task in queue] for key, queue in backlog.queues.items()}


def test_tasks_wait_in_the_queue_of_their_executor() -> None:
    """Each executor's tasks wait apart, raw ones too, in the order in which they came."""
    backlog = Backlog()
    for task in (Task("1", "a"), Task("2", "b"), Task("3", "a"), Task("4", "a", raw=True)):
        backlog.add(task)
    assert served(backlog) == {
        ("a", False): ["1", "3"],
        ("b", False): ["2"],
        ("a", True): ["4"],
    }
    assert len(backlog) == 4


def test_a_listing_says_what_is_new_and_what_is_gone() -> None:
    """New names are handed out to be read, once each; what is gone is forgotten."""
    backlog = Backlog()
    backlog.listed(["1", "2", "3"])
    assert backlog.next_unread(2) == ["1", "2"]
    backlog.add(Task("1", "a"))
    backlog.add(Task("2", "a"))
    assert backlog.next_unread(9) == ["3"]
    assert not backlog.has_unread
    backlog.listed(["2", "4"])
    assert served(backlog) == {("a", False): ["2"]}
    assert backlog.next_unread(9) == ["4"]


def test_what_could_not_be_read_comes_first_next_time() -> None:
    """Names put off keep their place before the others."""
    backlog = Backlog()
    backlog.listed(["1", "2", "3"])
    backlog.put_off(backlog.next_unread(2))
    assert backlog.next_unread(9) == ["1", "2", "3"]


def test_a_task_read_anew_changes_its_queue() -> None:
    """A task stands in one queue only, that of the record read last."""
    backlog = Backlog()
    backlog.add(Task("1", "a"))
    backlog.add(Task("1", "b"))
    assert served(backlog) == {("b", False): ["1"]}
    assert len(backlog) == 1


def test_forgetting_what_is_not_there_is_nothing() -> None:
    """A task may be gone before anybody read it."""
    backlog = Backlog()
    backlog.remove("1")
    assert len(backlog) == 0


def test_a_million_names_are_not_kept() -> None:
    """Beyond the window names are left for a later listing, when there is room again."""
    backlog = Backlog(window=2)
    names = [str(number) for number in range(10)]
    seen = []
    for _ in range(5):
        backlog.listed(names)
        for name in backlog.next_unread(99):
            backlog.add(Task(name, "a"))
            seen.append(name)
        assert len(backlog) == 2
        for name in seen[-2:]:
            backlog.remove(name)
            names.remove(name)
    assert sorted(seen) == [str(number) for number in range(10)]


def test_a_task_rests_until_it_is_due_and_keeps_no_other() -> None:
    """Others of its queue are served meanwhile; then it comes behind them."""
    backlog = Backlog()
    backlog.add(Task("1", "a"), due=10.0)
    backlog.add(Task("2", "a"), due=5.0)
    backlog.add(Task("3", "a"))
    assert len(backlog) == 3
    backlog.listed(["1", "2", "3"])
    assert not backlog.has_unread
    assert backlog.wake(4.9) == 5.0
    assert served(backlog) == {("a", False): ["3"]}
    assert backlog.wake(5.0) == 10.0
    assert served(backlog) == {("a", False): ["3", "2"]}
    assert backlog.wake(99.0) is None
    assert served(backlog) == {("a", False): ["3", "2", "1"]}


def test_what_left_while_it_rested_is_forgotten() -> None:
    """A task that is gone is not woken, and one read anew is due when it was said last."""
    backlog = Backlog()
    for name in ("gone", "removed", "sooner", "later"):
        backlog.add(Task(name, "a"), due=5.0)
    backlog.listed(["removed", "sooner", "later"])
    backlog.remove("removed")
    backlog.add(Task("sooner", "b"))
    backlog.add(Task("later", "a"), due=7.0)
    assert served(backlog) == {("b", False): ["sooner"]}
    assert backlog.wake(6.0) == 7.0
    assert served(backlog) == {("b", False): ["sooner"]}
    assert backlog.wake(7.0) is None
    assert served(backlog) == {("b", False): ["sooner"], ("a", False): ["later"]}


def test_resting_tasks_hold_up_no_other() -> None:
    """However many tasks of a queue rest, those that can run now are still queued."""
    backlog = Backlog(window=10, queue_window=2)
    for name in "123":
        backlog.add(Task(name, "a"), due=5.0)
    backlog.add(Task("4", "a"))
    assert served(backlog) == {("a", False): ["4"]}
    assert len(backlog) == 4
    assert backlog.wake(5.0) is None
    assert served(backlog) == {("a", False): ["4", "1"]}
    backlog.listed(["1", "2", "3", "4"])
    assert backlog.next_unread(9) == []
    backlog.remove("4")
    backlog.listed(["1", "2", "3"])
    assert backlog.next_unread(9) == ["2", "3"]


def test_resting_tasks_have_a_bound_of_their_own() -> None:
    """Those beyond it are read again once others have been woken, not at every listing."""
    backlog = Backlog(window=10, queue_window=5, resting_window=2)
    for name, executor in zip("123", "aab", strict=True):
        backlog.add(Task(name, executor), due=5.0)
    assert len(backlog) == 2
    backlog.listed(["1", "2", "3", "4"])
    assert backlog.next_unread(9) == ["4"]
    assert backlog.wake(5.0) is None
    backlog.listed(["1", "2", "3"])
    assert backlog.next_unread(9) == ["3"]
    backlog.add(Task("3", "b"))
    assert served(backlog) == {("a", False): ["1", "2"], ("b", False): ["3"]}


class BacklogMachine(RuleBasedStateMachine):
    """Any order of calls, against what must hold for a model of plain sets."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(WINDOW)
        self.known: dict[str, Task] = {}
        self.handed_out: list[str] = []
        self.now = 0.0

    @rule(names=st.sets(st.sampled_from(NAMES)), as_set=st.booleans())
    def list_tasks(self, names: set[str], as_set: bool) -> None:
        self.backlog.listed(names if as_set else sorted(names))
        self.known = {name: task for name, task in self.known.items() if name in names}
        self.handed_out = []
        new = names - self.known.keys()
        assert self.backlog.has_unread == bool(new and len(self.known) < WINDOW)

    @rule(most=st.integers(0, 3))
    def ask(self, most: int) -> None:
        names = self.backlog.next_unread(most)
        assert len(names) <= most
        assert not set(names) & {*self.known, *self.handed_out}
        self.handed_out += names

    @rule(executor=st.sampled_from("ab"), raw=st.booleans(), pause=st.none() | st.integers(0, 9))
    def read_one(self, executor: str, raw: bool, pause: int | None) -> None:
        due = None if pause is None else self.now + pause
        if self.handed_out:
            task = Task(self.handed_out.pop(0), executor, raw=raw)
            self.backlog.add(task, due)
            self.known[task.id] = task

    @rule(seconds=st.integers(0, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        due = self.backlog.wake(self.now)
        assert due is None or due > self.now

    @rule()
    def put_off(self) -> None:
        self.backlog.put_off(self.handed_out)
        assert self.backlog.next_unread(len(self.handed_out)) == self.handed_out

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.backlog.remove(name)
        self.known.pop(name, None)

    @invariant()
    def it_knows_what_was_read(self) -> None:
        queued = [task for queue in self.backlog.queues.values() for task in queue]
        assert len({task.id for task in queued}) == len(queued)
        assert {task.id: task for task in queued}.items() <= self.known.items()
        assert len(self.backlog) == len(self.known)

    def teardown(self) -> None:
        """In the end all that was read is served."""
        self.backlog.wake(self.now + 99.0)
        queued = [task for queue in self.backlog.queues.values() for task in queue]
        assert {task.id: task for task in queued} == self.known

    @invariant()
    def no_queue_is_empty(self) -> None:
        assert all(list(queue) for queue in self.backlog.queues.values())


TestBacklogMachine = BacklogMachine.TestCase


def test_a_queue_that_nobody_serves_does_not_keep_others_from_being_read() -> None:
    """Tasks beyond a queue's window are parked unread, and come back when it has room."""
    backlog = Backlog(window=10, queue_window=3)
    stuck = [f"{'a' * 16}-{number}" for number in range(1, 9)]
    other = f"{'b' * 16}-1"
    backlog.listed([*stuck, other])
    for name in backlog.next_unread(100):
        backlog.add(Task(name, "echo" if name == other else "nobody"))
    assert {key: len(list(tasks)) for key, tasks in backlog.queues.items()} == {
        ("echo", False): 1,
        ("nobody", False): 3,
    }
    backlog.listed([*stuck, other])
    assert backlog.next_unread(100) == []
    backlog.remove(stuck[0])
    backlog.listed([*stuck[1:], other])
    assert set(backlog.next_unread(100)) == set(stuck[3:])
