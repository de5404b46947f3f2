"""The bounds of child processes: environment, user, limits, privileges."""

from __future__ import annotations

import json
import os
import pwd
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from masterworker import BadConfiguration
from masterworker.execution import sandbox
from masterworker.execution.attempts import Outcome
from masterworker.execution.guardian import Guardian
from masterworker.execution.plugins import Plugins
from masterworker.execution.sandbox import Sandbox, find_user, parse_limits
from masterworker.execution.slots import ProcessRunner
from masterworker.words.model import Reason
from tests.unit import open_python
from tests.unit.attempts_support import Outcomes, is_alive, job
from tests.unit.throwaway_plugin import install
from tests.waiting import eventually

OTHER = "nobody"
"""A user that every Linux has and nobody works as."""

PLUGIN = '''
import json, os, resource, subprocess, time
from masterworker import hookimpl

def state(payload, task):
    """The bounds this process is in, and those of what it starts."""
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    return json.dumps({
        "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
        "limits": {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name.upper()))
                   for name in ("core", "nofile", "cpu")},
        "cpu_used": time.process_time(),
        "environment": dict(os.environ),
        "no_new_privs": subprocess.run(
            ["grep", "NoNewPrivs", "/proc/self/status"], capture_output=True, text=True
        ).stdout.split()[-1],
        "core": subprocess.run(["sh", "-c", "ulimit -c"], capture_output=True, text=True).stdout,
    }).encode()

def write(payload, task):
    with open(payload.decode(), "wb") as file:
        file.write(bytes(100_000))

def allocate(payload, task):
    return bytes(4 << 30)[:1]

def burn(payload, task):
    """Use up so many seconds of the processor."""
    until = time.process_time() + float(payload)
    while time.process_time() < until:
        pass

def family(payload, task):
    """Start a grandchild, tell both pids by a file, hang."""
    grandchild = subprocess.Popen(["sleep", "1000"])
    with open(payload.decode(), "w") as file:
        file.write(f"{os.getpid()} {grandchild.pid}\\n")
    time.sleep(1000)

def pry(payload, task):
    """Whether the environment and the memory of these processes can be read."""
    opened = []
    for pid in json.loads(payload):
        for name in ("environ", "mem"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    opened.append(f"{pid}/{name}")
            except OSError:
                pass
    return json.dumps(opened).encode()

@hookimpl
def masterworker_register_executors(register):
    for run in (state, write, allocate, burn, family, pry):
        register(run.__name__, run)
'''

Attempt = Callable[..., Outcome]


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    """A folder, readable by everybody, with the plugin above."""
    with _open_folder(0o755) as folder:
        yield install(folder, "throw_sandbox", PLUGIN, distribution="throw-sandbox", version="1.0")


@contextmanager
def _open_folder(mode: int) -> Iterator[Path]:
    """A folder for others too. Pytest's own are closed again whenever a session of it begins."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(mode)
        yield folder


@pytest.fixture
def bounded(
    site: Path, guardian: Guardian, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Sandbox], Attempt]]:
    """Makes a function that runs one attempt after another within these bounds."""
    runners: list[ProcessRunner] = []
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    executors = Plugins.probe().executors(
        ["state", "write", "allocate", "burn", "family", "pry", "command"]
    )

    def make(bounds: Sandbox, **settings: Any) -> Attempt:
        outcomes = Outcomes()
        runner = ProcessRunner(
            executors,
            1,
            guardian,
            outcomes,
            environment={"PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}"},
            sandbox=bounds,
            **settings,
        )
        runners.append(runner)

        def run(executor: str, payload: bytes | str = b"") -> Outcome:
            one = job(executor, payload)
            runner.start([one])
            return outcomes.of(one)

        return run

    yield make
    for runner in runners:
        runner.close()


def state(attempt: Attempt) -> dict[str, Any]:
    """The bounds as a child sees them."""
    outcome = attempt("state")
    assert outcome.result, outcome
    seen: dict[str, Any] = json.loads(outcome.result)
    return seen


def test_the_least_is_given_unless_more_is_asked_for(
    bounded: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No core files and no new privileges, also in what an executor starts; no secret, no limit."""
    monkeypatch.setenv("MWCTL_AUTH", "digest:secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    seen = state(bounded(Sandbox()))
    assert (seen["no_new_privs"], seen["core"], seen["limits"]["core"]) == ("1", "0\n", [0, 0])
    assert seen["limits"]["nofile"] == list(resource.getrlimit(resource.RLIMIT_NOFILE))
    assert seen["ids"] == [list(os.getresuid()), list(os.getresgid()), os.getgroups()]
    assert "secret" not in json.dumps(seen["environment"])


def test_the_operator_can_widen_and_narrow_the_bounds(
    bounded: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables by name, set-user-ID programs, fewer open files."""
    monkeypatch.setenv("MODEL_STORE", "/models")
    bounds = Sandbox(["MODEL_STORE"], limits={"nofile": 50}, new_privileges=True)
    seen = state(bounded(bounds))
    assert seen["environment"]["MODEL_STORE"] == "/models"
    assert (seen["no_new_privs"], seen["limits"]["nofile"]) == ("0", [50, 50])


def test_limits_fail_the_attempt_that_exceeds_them(
    bounded: Callable[..., Attempt], tmp_path: Path
) -> None:
    """A file too large and memory too much are failures with a reason; the process lives on."""
    attempt = bounded(Sandbox(limits={"fsize": 50_000, "as": 2 << 30}))
    outcome = attempt("write", str(tmp_path / "file"))
    assert outcome.reason is Reason.FAILED
    assert "File too large" in outcome.detail
    assert attempt("allocate").reason is Reason.OUT_OF_MEMORY


def test_processor_time_is_limited_for_each_attempt(bounded: Callable[..., Attempt]) -> None:
    """Attempts in one process have it each anew; the one that takes more is killed."""
    attempt = bounded(Sandbox(limits={"cpu": 1}))
    for _ in range(2):
        assert attempt("burn", "0.6").reason is None
    seen = state(attempt)
    assert seen["limits"]["cpu"][0] - seen["cpu_used"] > 0.9
    outcome = attempt("burn", "60")
    assert (outcome.reason, outcome.detail) == (Reason.CRASHED, "killed by SIGXCPU")


def test_a_command_sees_no_more_than_its_executor(
    bounded: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `command` starts has the clean environment, and none of the pipes to the worker."""
    monkeypatch.setenv("MWCTL_AUTH", "digest:secret")
    look = ["sh", "-c", "env; readlink /proc/$$/fd/*; true"]
    outcome = bounded(Sandbox(), configs={"command": {"allow": {"look": look}}})("command")
    seen = (outcome.result or b"").decode().splitlines()
    assert any(line.startswith("PATH=") for line in seen), outcome
    assert not [line for line in seen if "MWCTL" in line or "secret" in line]
    assert sum(line.startswith("pipe:") for line in seen) == 2, "its stdout and stderr"


# --- another user --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other() -> Iterator[sandbox.User]:
    """Another user as whom children can run here, if need be with a copy of this Python."""
    if os.geteuid() != 0:
        pytest.skip("only root can start processes as another user")
    with pytest.MonkeyPatch.context() as patch, _open_folder(0o755) as folder:
        patch.setenv("PYTHONPATH", open_python.packages())
        for python in open_python.candidates(folder):
            patch.setattr(sys, "executable", python)
            try:
                user = find_user(OTHER)
            except BadConfiguration as error:
                reason = str(error)
            else:
                yield user
                return
    pytest.skip(reason)


def test_children_run_as_another_user(bounded: Callable[..., Attempt], other: sandbox.User) -> None:
    """With its group and no other, its home, and a clean environment."""
    seen = state(bounded(Sandbox(user=other)))
    assert seen["ids"] == [[other.uid] * 3, [other.gid] * 3, []]
    assert seen["environment"]["HOME"] == pwd.getpwnam(OTHER).pw_dir
    assert seen["environment"]["USER"] == OTHER


def test_another_user_cannot_pry(bounded: Callable[..., Attempt], other: sandbox.User) -> None:
    """Neither the worker's memory and environment nor the guardian's is open to it."""
    attempt = bounded(Sandbox(user=other))
    opened = attempt("pry", json.dumps([os.getpid(), os.getppid()])).result
    assert json.loads(opened or b"") == []


def test_the_same_user_cannot_pry_either(other: sandbox.User, hosts: str) -> None:
    """`mwctl worker` hides the memory and the environment it was started with; its guardian's is
    empty. Both are what an executor of the worker's own user would look for."""
    command = [sys.executable, "-m", "masterworker", "worker", "--executor", "python"]
    worker = subprocess.Popen(
        [*command, "--hosts", hosts],
        env=os.environ | {"MWCTL_AUTH": "digest:secret"},
        stderr=subprocess.DEVNULL,
        user=other.uid,
        group=other.gid,
        extra_groups=(),
    )
    try:
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
        (guardian,) = eventually(lambda: guardians(children), 60, "it has its guardian")
        assert read_as(other, f"/proc/{worker.pid}/environ") is None
        assert read_as(other, f"/proc/{worker.pid}/maps") is None
        eventually(  # before that it is a copy of its worker, which is as closed
            lambda: read_as(other, f"/proc/{guardian}/environ") == b"", what="its own program runs"
        )
    finally:
        worker.kill()
        worker.wait()


def guardians(children: Path) -> list[str]:
    """Those of these processes that are guardians; the probe of the plugins is none."""
    return [
        pid
        for pid in children.read_text().split()
        if "guardian.py" in Path(f"/proc/{pid}/cmdline").read_text()
    ]


def read_as(user: sandbox.User, file: str) -> bytes | None:
    """What this user reads in a file; None if it may not."""
    done = subprocess.run(
        ["cat", file],
        capture_output=True,
        check=False,
        user=user.uid,
        group=user.gid,
        extra_groups=(),
    )
    return done.stdout if done.returncode == 0 else None


def test_the_worker_stops_an_attempt_of_another_user(
    bounded: Callable[..., Attempt], other: sandbox.User, guardian: Guardian, open_folder: Path
) -> None:
    """The guardian, which is still root, kills the whole group when the lease has ended."""
    attempt = bounded(Sandbox(user=other))
    file = open_folder / "pids"
    guardian.extend(0.0)  # ended long ago
    outcome = attempt("family", str(file))
    assert outcome.interrupted
    guardian.extend(float("inf"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may write to."""
    with _open_folder(0o777) as folder:
        yield folder


def test_a_dead_worker_takes_attempts_of_another_user_with_it(
    site: Path, other: sandbox.User, open_folder: Path
) -> None:
    """Killed without notice, it leaves neither the child nor the child's own child behind."""
    file = open_folder / "pids"
    worker = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(file)],
        env=os.environ | {"PYTHONPATH": f"{site}:{os.environ['PYTHONPATH']}"},
    )
    try:
        pids = eventually(lambda: file.exists() and file.read_text().split(), 60, "it runs")
        assert pids
        assert all(is_alive(int(pid)) for pid in pids)
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids} <= {0, other.uid}
    finally:
        worker.kill()
        worker.wait()
    eventually(lambda: not any(is_alive(int(pid)) for pid in pids), what="the group is dead")


DRIVER = f"""
import os, sys, threading
from masterworker import TaskContext
from masterworker.execution.attempts import Job
from masterworker.execution.guardian import Guardian
from masterworker.execution.plugins import Plugins
from masterworker.execution.sandbox import Sandbox, find_user
from masterworker.execution.slots import ProcessRunner
from masterworker.words.model import Task

guardian = Guardian()
executors = Plugins.probe().executors(["family"])
bounds = Sandbox(user=find_user("{OTHER}"))
environment = {{"PYTHONPATH": os.environ["PYTHONPATH"]}}
runner = ProcessRunner(executors, 1, guardian, print, environment=environment, sandbox=bounds)
payload = sys.argv[1].encode()
runner.start([Job(Task("t-1", "family"), payload, TaskContext("t-1", "family"))])
threading.Event().wait()
"""
"""A small worker whose one attempt, as another user, hangs."""


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["nofile", "nofile=", "nofile=-1", "nofile=many", "files=3", "nofile=3=4", "=3", ""]
)
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    """With what is expected, and what can be limited."""
    with pytest.raises(BadConfiguration, match=r"expected NAME=NUMBER .* nofile"):
        parse_limits([text])


def test_a_limit_above_the_workers_own_is_refused() -> None:
    """No child could have it; better to know at the start."""
    assert parse_limits(["nofile=1", "core=0", "nofile=2"]) == {"nofile": 2, "core": 0}
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for text in (f"nofile={hard + 1}", "nofile=unlimited"):
        with pytest.raises(BadConfiguration, match=f"the worker's own limit is {hard}"):
            parse_limits([text])


def test_a_variable_of_ours_is_never_passed() -> None:
    """Not even when the operator names it: credentials may be in it."""
    with pytest.raises(BadConfiguration, match="put the value into the executor's table"):
        Sandbox(pass_env=["HOME", "MWCTL_AUTH"])


def test_a_user_that_cannot_be_had_is_refused(
    monkeypatch: pytest.MonkeyPatch, other: sandbox.User
) -> None:
    """It is unknown, is root, or cannot run us, or the worker is not root: each says what to do."""
    with pytest.raises(BadConfiguration, match="no such user; create one with `useradd"):
        find_user("no-such-user")
    with pytest.raises(BadConfiguration, match="this is root"):
        find_user(pwd.getpwuid(0).pw_name)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(BadConfiguration, match="cannot run /nowhere/python"):
            find_user(other.name)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BadConfiguration, match="run it as root, or omit the option"):
        find_user(other.name)
