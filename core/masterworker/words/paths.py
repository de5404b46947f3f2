"""The tree: the only module that builds or parses znode paths and checks names.

/access                    the identities of each role, if the tree is locked down
/access/clients            the identities of clients, which clients cannot read
/master                    ephemeral; the primary
/epoch                     persistent; its data version is the epoch
/masters/<master>          ephemeral; a running master, for `mwctl status`
/workers/<worker>          ephemeral; an incarnation of a worker
/assign/<worker>/<task>    a task this worker must run
/tasks/<task>              a task that no worker has yet
/status/<client>/<n>       a finished task's status
/status/<task>             the same, for a task of one of the book's own clients
/cancel/<task>             a request to cancel a task
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

from .errors import BadName
from .limits import MAX_EXECUTOR_NAME, MAX_KEY_ID, MAX_NAME, shown

ACCESS: Final = "/access"
ACCESS_CLIENTS: Final = "/access/clients"
MASTER: Final = "/master"
EPOCH: Final = "/epoch"
MASTERS: Final = "/masters"
WORKERS: Final = "/workers"
ASSIGN: Final = "/assign"
TASKS: Final = "/tasks"
STATUS: Final = "/status"
CANCEL: Final = "/cancel"

FOLDERS: Final = (EPOCH, MASTERS, WORKERS, ASSIGN, TASKS, STATUS, CANCEL)
"""The persistent znodes that every role creates, if missing, before it starts."""

CLIENT_ID_BYTES: Final = 8
"""Random bytes in a client id: 64 bits, so that ids cannot be guessed or repeated."""

MAX_HOST: Final = 100
"""Maximum characters of a host's name in an id; the rest is for the unique part."""

_NOT_IN_HOST = re.compile(r"[^A-Za-z0-9_.-]+")
_CLIENT_ID = re.compile(r"[0-9a-f]{16}\Z")
_TASK_ID = re.compile(r"([0-9a-f]{16})-([1-9][0-9]{0,14})\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,14}\Z")
_EXECUTOR = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")
_NAME = re.compile(r"[!-.0-~]+\Z")  # printable ASCII without space and slash
_NAMES = re.compile(rf"(?:[!-.0-~]{{1,{MAX_NAME}}}\n)*\Z")


def is_name(name: str) -> bool:
    """Whether a znode's name is valid here: 1 to 200 printable ASCII characters.

    ZooKeeper itself allows nearly all of Unicode, but control characters and look-alikes must not
    get into a log line or a shell.
    """
    return len(name) <= MAX_NAME and _NAME.match(name) is not None and name not in (".", "..")


def are_names(names: Sequence[str]) -> bool:
    """Whether all names of a folder's children are valid: one search for a whole listing.

    Children cannot be called "." or "..", so that is not checked again.
    """
    lines = "\n".join([*names, ""])
    return lines.count("\n") == len(names) and _NAMES.match(lines) is not None


def check_name(name: str, what: str) -> str:
    """Return `name` if it is valid, else raise BadName. `what` is the kind of name."""
    if not is_name(name):
        raise BadName(
            f"{name!r:.300} is not a valid {what}: use 1 to {MAX_NAME} printable ASCII characters "
            "without spaces and slashes"
        )
    return name


def name_of_host(hostname: str) -> str:
    """A valid start for a master's or worker's id, from any host's name.

    Characters other than letters, digits, '_', '.' and '-' are replaced; it is cut to 100.
    """
    name = _NOT_IN_HOST.sub("-", hostname)[:MAX_HOST].strip("-.")
    return name or "unnamed"


@functools.lru_cache(maxsize=1024)  # few names, but checked for every task
def is_executor(name: str) -> bool:
    """Whether `name` is a valid executor name."""
    return len(name) <= MAX_EXECUTOR_NAME and _EXECUTOR.match(name) is not None


def check_executor(name: str) -> str:
    """Return `name` if it is a valid executor name, else raise TypeError or BadName."""
    if not isinstance(name, str):
        raise TypeError(f"executor={shown(name)}: expected the name of an executor")
    if not is_executor(name):
        raise BadName(
            f"{name!r:.300} is not a valid executor name: use 1 to {MAX_EXECUTOR_NAME} lower-case "
            "letters, digits, '_', '.' and '-', starting with a letter or digit"
        )
    return name


def is_key_id(name: str) -> bool:
    """Whether `name` can be a key's id: it has the same alphabet as executors' names."""
    return len(name) <= MAX_KEY_ID and _EXECUTOR.match(name) is not None


def is_client(name: str) -> bool:
    """Whether `name` is a client id."""
    return _CLIENT_ID.match(name) is not None


def is_number(name: str) -> bool:
    """Whether `name` is the name of a status znode in a client's folder."""
    return _NUMBER.match(name) is not None


def is_task(name: str) -> bool:
    """Whether `name` is a task id, rather than the name of a task of the book's clients."""
    return _TASK_ID.match(name) is not None


def task_id(client: str, number: int) -> str:
    """The id of a client's `number`-th task."""
    return f"{client}-{number}"


def split_task(task: str) -> tuple[str, int]:
    """The client and the number in a task id. Raises BadName for any other name."""
    if not isinstance(task, str):
        raise TypeError(f"{shown(task)} is not a task id: expected text of the form <client>-<n>")
    match = _TASK_ID.match(task)
    if match is None:
        raise BadName(
            f"{task!r:.300} is not a task id: expected <client>-<n>, as printed by `mwctl submit`"
        )
    return match[1], int(match[2])


def client(task: str) -> str:
    """The client in a task id; "" for a task of the book's clients."""
    match = _TASK_ID.match(task)
    return match[1] if match else ""


def master(name: str) -> str:
    """The znode of a running master."""
    return f"{MASTERS}/{name}"


def worker(name: str) -> str:
    """The znode of a worker's incarnation."""
    return f"{WORKERS}/{name}"


def assignments(worker: str) -> str:
    """The folder of a worker's assignments."""
    return f"{ASSIGN}/{worker}"


def assignment(worker: str, task: str) -> str:
    """The znode of a task assigned to a worker."""
    return f"{ASSIGN}/{worker}/{task}"


def task(task: str) -> str:
    """The znode of a pending task."""
    return f"{TASKS}/{task}"


def statuses(client: str) -> str:
    """The folder of a client's statuses. Its data is the client's ledger."""
    return f"{STATUS}/{client}"


def status(task: str) -> str:
    """The znode of a finished task's status."""
    match = _TASK_ID.match(task)
    if match is None:
        return f"{STATUS}/{task}"
    return f"{STATUS}/{match[1]}/{match[2]}"


def parent(path: str) -> str:
    """The path one level up."""
    return path.rpartition("/")[0] or "/"
