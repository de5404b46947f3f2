"""Submitting without waiting: results stay in ZooKeeper until `mwctl tasks result` asks for them.

A Client takes each result as soon as it is there, also while it still submits. That is right for a
program that waits for results and wrong for a command that ends. So this is a client's account
without the rest of the client.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Final

from ..roles.account import Account, Submission
from ..roles.future import TaskFuture
from ..words import paths, records
from ..words.errors import ConnectionLost, SessionLost, Unavailable
from ..words.model import Task
from ..zookeeper.operations import Create
from ..zookeeper.session import Session

SESSIONS: Final = 3
"""Sessions that may be lost before it gives up."""


def post(
    hosts: str,
    payloads: Sequence[bytes],
    *,
    executor: str,
    attempts: int | None,
    options: Mapping[str, str],
) -> list[TaskFuture]:
    """Submit a task for each payload and return once each is accepted or refused.

    The future of a refused task is done and raises why; the others never end. Raises BadName,
    Refused, Unavailable.
    """
    paths.check_executor(executor)
    records.check_options(options)
    account = Account(lambda _settled: None)
    for number, payload in enumerate(payloads, start=1):
        name = paths.task_id(account.client, number)
        task = Task(name, executor, time.time(), attempts, options)
        create = Create(paths.task(name), records.encode_task(task, payload))
        account.submissions.append(Submission(number, create, TaskFuture(name)))
    futures = [submission.future for submission in account.submissions]
    for _ in range(SESSIONS):
        with closing(Session(hosts)) as session:
            session.start()
            if _carried_out(account, session):
                return futures
    raise Unavailable(
        f"the session with {hosts} was lost {SESSIONS} times; `mwctl tasks show "
        f"{futures[0].task_id}` tells whether the first task was accepted"
    )


def _carried_out(account: Account, session: Session) -> bool:
    """Carry the submissions out; False if the session was lost over it."""
    try:
        session.ensure_tree()
        while account.busy:
            try:
                account.pump(session)
            except ConnectionLost:
                account.doubt()
    except SessionLost:
        account.doubt()
        return False
    return True
