"""The environment and the restrictions of a worker's child processes.

They get few environment variables, plus those that the operator lists; another user, if the worker
is root and configured so; resource limits; and no way to gain privileges. User and environment are
set when the process starts. The process applies the rest itself in `confine`, before it loads a
plugin: from then on, limits can be lowered but never raised.
"""

from __future__ import annotations

import logging
import math
import os
import pwd
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..words.errors import BadConfiguration
from . import prctl

log = logging.getLogger(__name__)

OURS: Final = "MWCTL_"
"""The prefix of `mwctl`'s own variables. They can hold credentials, so no child gets them."""

LIMITS: Final[Mapping[str, int]] = {
    name: getattr(resource, f"RLIMIT_{name.upper()}")
    for name in ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack")
}
"""The resources that can be limited, by their names in setrlimit(2) without RLIMIT_."""

PROBE_SECONDS: Final = 60.0
"""Seconds that the test whether a user can run masterworker may take."""

_INHERITED: Final = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV"
    # Variables that Python needs to find its files and to use the same text encoding as its worker.
    r"|PYTHON(HOME|PATH|PLATLIBDIR|USERBASE|NOUSERSITE|SAFEPATH|PYCACHEPREFIX|DONTWRITEBYTECODE)"
    r"|PYTHON(UTF8|COERCECLOCALE|IOENCODING|HASHSEED|OPTIMIZE|WARNINGS|DEVMODE|MALLOC)"
)
_LIMIT: Final = re.compile(r"(\w+)=(?:([0-9]{1,18})|unlimited)\Z")


@dataclass(frozen=True, slots=True)
class User:
    """The user that children run as, with its primary group and no other group."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The restrictions of a worker's child processes.

    `pass_env` names variables of the worker's environment that children get in addition.
    `limits` are resource limits by the names of LIMITS, in the units of setrlimit(2); `cpu` starts
    anew for each attempt. Unless `new_privileges`, set-user-ID programs have no effect in them.
    """

    pass_env: Sequence[str] = ()
    user: User | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    new_privileges: bool = False

    def __post_init__(self) -> None:
        for name in self.pass_env:
            if name.startswith(OURS):
                raise BadConfiguration(
                    f"--pass-env {name}: variables of mwctl itself are never passed to executors; "
                    "put the value into the executor's table of the --config file"
                )

    def environment(self) -> dict[str, str]:
        """The environment variables of a child process."""
        given = {name: value for name, value in os.environ.items() if self._is_given(name)}
        for name in self.pass_env:
            if name not in given:
                log.warning("--pass-env %s: this variable is not set", name)
        if self.user is not None:
            given |= {"HOME": self.user.home, "USER": self.user.name, "LOGNAME": self.user.name}
        return given

    def bounds(self) -> dict[str, object]:
        """The arguments of `confine` in a child process, as plain data."""
        return {"limits": {"core": 0} | dict(self.limits), "new_privileges": self.new_privileges}

    def _is_given(self, name: str) -> bool:
        return name in self.pass_env or _INHERITED.fullmatch(name) is not None


# --- in the worker: the operator's settings ------------------------------------------------------


def parse_limits(texts: Iterable[str]) -> dict[str, int]:
    """The limits in texts like `nofile=64`. Raises BadConfiguration."""
    limits = {}
    for text in texts:
        match = _LIMIT.match(text)
        if match is None or match[1] not in LIMITS:
            raise BadConfiguration(
                f"--task-limit {text}: expected NAME=NUMBER or NAME=unlimited, "
                f"NAME being one of {', '.join(LIMITS)}"
            )
        name, value = match[1], int(match[2] or resource.RLIM_INFINITY)
        hard = resource.getrlimit(LIMITS[name])[1]
        if hard != resource.RLIM_INFINITY and not 0 <= value <= hard:
            raise BadConfiguration(
                f"--task-limit {text}: the worker's own limit is {hard}, and a child's cannot be "
                "higher; raise the worker's (for example with systemd's LimitNOFILE=) or use less"
            )
        limits[name] = value
    return limits


def find_user(name: str) -> User:
    """The user that children should run as. Raises BadConfiguration if that is impossible."""
    if os.geteuid() != 0:
        raise BadConfiguration(
            f"--task-user {name}: only a worker that runs as root can start processes as another "
            "user; run it as root, or omit the option"
        )
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise BadConfiguration(
            f"--task-user {name}: this machine has no such user; create one with "
            f"`useradd --system --shell /usr/sbin/nologin {name}`"
        ) from None
    if entry.pw_uid == 0:
        raise BadConfiguration(
            f"--task-user {name}: this is root, which nothing is protected from; use another user"
        )
    user = User(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    _probe(user)
    return user


def _probe(user: User) -> None:
    """Raise BadConfiguration unless this user can run masterworker's child process."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import masterworker.execution.child"],
            env=Sandbox(user=user).environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
            user=user.uid,
            group=user.gid,
            extra_groups=(),
        )
        complaint = done.stderr.decode(errors="replace").strip()[-500:] if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        complaint = str(error)
    if complaint:
        raise BadConfiguration(
            f"--task-user {user.name}: this user cannot run {sys.executable} with masterworker: "
            f"{complaint}; install both where every user can read them, for example in /opt"
        )


# --- in the child --------------------------------------------------------------------------------


def confine(limits: Mapping[str, int], *, new_privileges: bool) -> None:
    """Restrict this process, and all processes it starts, permanently."""
    for name, value in limits.items():
        if name != "cpu":
            resource.setrlimit(LIMITS[name], (value, value))
    if not new_privileges:
        prctl.gain_no_privileges()
    prctl.hide()


def allow_cpu(limits: Mapping[str, int]) -> None:
    """Let the next attempt use `limits["cpu"]` seconds of processor time, without a limit if unset.

    A process serves many attempts, so the limit is set for each, whatever an earlier one has set.
    It is the soft limit, at which SIGXCPU ends the process. The hard limit always applies.
    """
    seconds = limits.get("cpu", resource.RLIM_INFINITY)
    before, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = hard
    if seconds != resource.RLIM_INFINITY:
        soft = math.ceil(time.process_time()) + seconds
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
    if soft != before:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
