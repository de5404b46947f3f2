"""Every error can be sent to another process: pickled, copied, raised in a pool."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

import masterworker
from masterworker import Attempt, ClientClosed, ClientForked, MasterworkerError, TaskFailed
from masterworker.words import errors
from masterworker.words.model import Reason


def kinds(base: type[BaseException] = MasterworkerError) -> Iterator[type[BaseException]]:
    """A class and all of its subclasses in the package."""
    yield base
    for kind in base.__subclasses__():
        if kind.__module__.startswith("masterworker"):
            yield from kinds(kind)


def example(kind: type[BaseException]) -> BaseException:
    """An error of this class with everything that it can have."""
    if kind is TaskFailed:
        attempt = Attempt("w", Reason.CRASHED, "killed by SIGSEGV", 1.0, 2.0)
        error: BaseException = TaskFailed("0123456789abcdef-1", "crashed", (attempt,))
    elif issubclass(kind, ClientClosed):
        error = kind("closed", accepted=False)
    else:
        error = kind("what, and what to do")
    error.add_note("a note")
    return error


def raise_it(error: BaseException) -> None:
    """What a job in a pool does."""
    raise error


def assert_same(found: BaseException, error: BaseException) -> None:
    """The class, the message and every attribute are those of the original."""
    assert type(found) is type(error)
    assert (str(found), found.args) == (str(error), error.args)
    assert {**found.__dict__} == {**error.__dict__}


KINDS = sorted(set(kinds()), key=lambda kind: kind.__name__)


def test_all_public_errors_are_among_them() -> None:
    """No error of the façade, and none of words/errors.py, is left out below."""
    public = [getattr(masterworker, name) for name in masterworker.__all__]
    both = [*public, *vars(errors).values()]
    found = {one for one in both if isinstance(one, type) and issubclass(one, BaseException)}
    assert found <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickle_and_copy(kind: type[BaseException]) -> None:
    """With every protocol of pickle, copied and deeply copied."""
    error = example(kind)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert_same(pickle.loads(pickle.dumps(error, protocol)), error)  # noqa: S301 - our own
    assert_same(copy.copy(error), error)
    assert_same(copy.deepcopy(error), error)


def test_an_error_comes_out_of_a_pool_of_processes() -> None:
    """What a job raises there is raised here, with its attributes."""
    raised = [example(kind) for kind in (TaskFailed, ClientForked, errors.BadName)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for error, job in [(error, pool.submit(raise_it, error)) for error in raised]:
            found = job.exception(30)
            assert found is not None
            assert_same(found, error)
