"""What hypothesis makes up for us: records of every kind, and names that may stand in them.

Importing it also sets hypothesis's profile: no deadline, since a busy machine proves nothing about
the code, and few enough examples that the whole suite stays quick.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st

from masterworker.words import limits
from masterworker.words.model import (
    Attempt,
    Ledger,
    Master,
    Reason,
    State,
    Status,
    Task,
    Worker,
    WorkerState,
)

settings.register_profile("house", deadline=None, max_examples=60)
settings.load_profile("house")

names = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/"),
    min_size=1,
    max_size=40,
).filter(lambda name: name not in (".", ".."))

executors = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True)
clients = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
numbers = st.integers(1, 10**15 - 1)
task_ids = st.builds("{}-{}".format, clients, numbers)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
seconds = st.floats(0, 1e12, exclude_max=True)
maybe_seconds = st.none() | seconds
payloads = st.binary(max_size=200)
options = st.dictionaries(texts, texts, max_size=limits.MAX_OPTIONS)

attempts = st.builds(
    Attempt,
    worker=names,
    reason=st.sampled_from(Reason),
    detail=texts,
    started=maybe_seconds,
    ended=maybe_seconds,
)
histories = st.lists(attempts, max_size=limits.MAX_ATTEMPTS + limits.MAX_LOSSES).map(tuple)
unfinished = st.builds(
    lambda failed, lost: (*failed, *(replace(one, reason=Reason.LOST) for one in lost)),
    st.lists(
        attempts.filter(lambda one: one.reason is not Reason.LOST),
        max_size=limits.MAX_ATTEMPTS - 1,
    ),
    st.lists(attempts, max_size=limits.MAX_LOSSES - 1),
)
"""Histories of tasks that may be attempted again."""

tasks = st.builds(
    Task,
    id=task_ids,
    executor=executors,
    submitted=seconds,
    attempts=st.none() | st.integers(1, limits.MAX_ATTEMPTS),
    options=options,
    history=unfinished,
    raw=st.booleans(),
    sealed=st.just(""),
    owner=st.just(""),
)
statuses = st.builds(
    Status,
    state=st.sampled_from([State.DONE, State.FAILED]),
    executor=executors,
    worker=st.just("") | names,
    submitted=seconds,
    started=maybe_seconds,
    ended=maybe_seconds,
    reason=st.none() | st.sampled_from(Reason),
    history=histories,
    sealed=st.just(""),
)


@st.composite
def _workers(draw: st.DrawFn) -> Worker:
    slots = draw(st.integers(0, limits.MAX_SLOTS))
    return Worker(
        executors=draw(st.dictionaries(executors, st.booleans(), max_size=12)),
        slots=slots,
        process_slots=draw(st.integers(0, slots)),
        host=draw(texts),
        pid=draw(st.integers(0, 2**31)),
        version=draw(texts),
        state=draw(st.sampled_from(WorkerState)),
        started=draw(seconds),
    )


workers = _workers()
masters = st.builds(
    Master,
    id=names,
    host=texts,
    pid=st.integers(0, 2**31),
    version=texts,
    started=seconds,
)


@st.composite
def _ledgers(draw: st.DrawFn) -> Ledger:
    parts = st.integers(0, 2**50)
    taken, expired, open_ = draw(parts), draw(parts), draw(parts)
    return Ledger(taken + expired + open_, taken, expired, batch=draw(st.integers(0, 2**53)))


ledgers = _ledgers()
