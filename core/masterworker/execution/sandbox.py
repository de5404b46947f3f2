"""What a worker's child processes are given, and the bounds they are kept in.

They get an environment of few names, and what else the operator lists; another user, if the worker
is root and told so; resource limits; and no way to more privileges. User and environment are given
at the start of the process. The rest it takes upon itself before it loads a plugin, in `confine`:
limits can be lowered there, and never raised again.
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
"""How the variables of `mwctl` begin. Credentials can be among them: no child is given one."""

LIMITS: Final[Mapping[str, int]] = {
    name: getattr(resource, f"RLIMIT_{name.upper()}")
    for name in ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack")
}
"""What can be limited, by the names of setrlimit(2) without RLIMIT_."""

PROBE_SECONDS: Final = 60.0
"""How long the test of whether a user can run us may take."""

_INHERITED: Final = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV"
    # What Python needs to find its files, and to read and write text as its worker does.
    r"|PYTHON(HOME|PATH|PLATLIBDIR|USERBASE|NOUSERSITE|SAFEPATH|PYCACHEPREFIX|DONTWRITEBYTECODE)"
    r"|PYTHON(UTF8|COERCECLOCALE|IOENCODING|HASHSEED|OPTIMIZE|WARNINGS|DEVMODE|MALLOC)"
)
_LIMIT: Final = re.compile(r"(\w+)=(?:([0-9]{1,18})|unlimited)\Z")


@dataclass(frozen=True, slots=True)
class User:
    """The user as whom children run, with its primary group and no other."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The bounds of a worker's child processes.

    `pass_env` names variables of the worker's environment that they see beside the usual ones.
    `limits` are resource limits by the names of LIMITS, in the units of setrlimit(2); `cpu` counts
    anew for each attempt. Unless `new_privileges`, no set-user-ID program has an effect in them.
    """

    pass_env: Sequence[str] = ()
    user: User | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    new_privileges: bool = False

    def __post_init__(self) -> None:
        for name in self.pass_env:
            if name.startswith(OURS):
                raise BadConfiguration(
                    f"--pass-env {name}: no executor is given a variable of mwctl's own; "
                    "put what it needs into its table of the --config file"
                )

    def environment(self) -> dict[str, str]:
        """The environment of a child process."""
        given = {name: value for name, value in os.environ.items() if self._is_given(name)}
        for name in self.pass_env:
            if name not in given:
                log.warning("--pass-env %s: there is no such variable", name)
        if self.user is not None:
            given |= {"HOME": self.user.home, "USER": self.user.name, "LOGNAME": self.user.name}
        return given

    def bounds(self) -> dict[str, object]:
        """What `confine` is to be called with in a child process, as plain data."""
        return {"limits": {"core": 0} | dict(self.limits), "new_privileges": self.new_privileges}

    def _is_given(self, name: str) -> bool:
        return name in self.pass_env or _INHERITED.fullmatch(name) is not None


# --- in the worker: what the operator asks for ---------------------------------------------------


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
                f"--task-limit {text}: the worker's own limit is {hard}, and no child's can be "
                "higher; raise the worker's (systemd: LimitNOFILE= and its like) or ask for less"
            )
        limits[name] = value
    return limits


def find_user(name: str) -> User:
    """The user as whom children are to run. Raises BadConfiguration if that cannot be."""
    if os.geteuid() != 0:
        raise BadConfiguration(
            f"--task-user {name}: only a worker that runs as root can start processes as another "
            "user; run it as root, or leave the option out"
        )
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise BadConfiguration(
            f"--task-user {name}: this machine has no such user; make one with "
            f"`useradd --system --shell /usr/sbin/nologin {name}`"
        ) from None
    if entry.pw_uid == 0:
        raise BadConfiguration(
            f"--task-user {name}: that is root, from whom nothing is kept; name another user"
        )
    user = User(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    _probe(user)
    return user


def _probe(user: User) -> None:
    """Raise BadConfiguration unless this user can run what a child runs."""
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
            f"{complaint}; install both where everybody may read them, as in /opt"
        )


# --- in the child --------------------------------------------------------------------------------


def confine(limits: Mapping[str, int], *, new_privileges: bool) -> None:
    """Put this process into its bounds, for good, and whatever it starts with it."""
    for name, value in limits.items():
        if name != "cpu":
            resource.setrlimit(LIMITS[name], (value, value))
    if not new_privileges:
        prctl.gain_no_privileges()
    prctl.hide()


def allow_cpu(limits: Mapping[str, int]) -> None:
    """Let the attempt that begins use as many seconds of processor time as `limits` say, if at all.

    A process serves many attempts, so the limit moves on with each: it is the soft one, at which
    SIGXCPU ends the process.
    """
    seconds = limits.get("cpu", resource.RLIM_INFINITY)
    if seconds == resource.RLIM_INFINITY:
        return
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(time.process_time()) + seconds
    if hard == resource.RLIM_INFINITY or soft <= hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
