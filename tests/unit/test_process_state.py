"""What an import, an attempt or the worker's parent does to a process reaches no later attempt."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from masterworker.execution.attempts import Outcome
from masterworker.execution.guardian import Guardian
from masterworker.execution.slots import ProcessRunner
from masterworker.words.executor import Offer
from tests.unit.attempts_support import Outcomes, is_alive, job
from tests.unit.throwaway_plugin import install
from tests.waiting import eventually

PLUGIN = '''
"""Changes at import what it can; its executor runs any code."""
import asyncio, contextvars, ctypes, decimal, faulthandler, gc, json, locale, logging
import multiprocessing, os, random, resource, signal, socket, subprocess, sys, threading, time
import warnings
from masterworker import hookimpl

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
signal.setitimer(signal.ITIMER_REAL, 1000)
os.chdir("/")
os.umask(0o777)
helper = subprocess.Popen(["sleep", "1000"])
variable = contextvars.ContextVar("variable", default=0)
forever = threading.Event().wait

def run(payload, task):
    names = dict(globals())
    exec(payload.decode(), names)
    return json.dumps([os.getpid(), names.get("seen")]).encode()

@hookimpl
def masterworker_register_executors(register):
    register("run", run)
    register("hurried", run, time_limit=0.9)
'''

EXIT_CODES = "[subprocess.call(['sh', '-c', code]) for code in ('exit 3', 'kill -9 $$')]"
NATIVE_IGNORE = "ctypes.CDLL(None).signal(int(signal.SIGCHLD), ctypes.c_void_p(1))"
SIGNALS = "[signal.getsignal(n).__repr__() for n in sorted(signal.valid_signals())]"

UNDONE: dict[str, tuple[str, str]] = {
    "SIGCHLD": ("signal.signal(signal.SIGCHLD, signal.SIG_IGN)", EXIT_CODES),
    "SIGCHLD, natively": (NATIVE_IGNORE, EXIT_CODES),
    "a reaper": (
        "signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))",
        EXIT_CODES,
    ),
    "handlers": ("signal.signal(signal.SIGUSR1, print); signal.signal(12, print)", SIGNALS),
    "mask": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [10, 15]); os.kill(os.getpid(), 10)",
        "[int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])]",
    ),
    "timer": ("signal.setitimer(signal.ITIMER_REAL, 60)", "signal.getitimer(signal.ITIMER_REAL)"),
    "alarm": ("signal.alarm(60)", "signal.alarm(0)"),
    "wakeup": (
        (
            "pair = socket.socketpair(); pair[1].setblocking(False)\n"
            "signal.set_wakeup_fd(os.dup(pair[1].fileno()))"
        ),
        "signal.set_wakeup_fd(-1)",
    ),
    "folder": ("os.chdir('/usr')", "os.getcwd()"),
    "umask": ("os.umask(0o12)", "os.umask(0o77)"),
    "limits": (
        (
            "resource.setrlimit(resource.RLIMIT_NOFILE, "
            "(64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))"
        ),
        "resource.getrlimit(resource.RLIMIT_NOFILE)",
    ),
    "limits that only the table of the sandbox names": (
        (
            "resource.setrlimit(resource.RLIMIT_STACK, "
            "(4 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))"
        ),
        "resource.getrlimit(resource.RLIMIT_STACK)",
    ),
    "the limit of processor time": (
        (
            "resource.setrlimit(resource.RLIMIT_CPU, "
            "(1000, resource.getrlimit(resource.RLIMIT_CPU)[1]))"
        ),
        "resource.getrlimit(resource.RLIMIT_CPU)",
    ),
    "processors": ("os.sched_setaffinity(0, {0})", "sorted(os.sched_getaffinity(0))"),
    "environment": (
        (
            "os.environ['LEFT'] = 'here'; os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()\n"
            "del os.environ['PATH']; os.environ = {}"
        ),
        "[dict(os.environ), list(time.tzname), subprocess.getoutput('env | sort')]",
    ),
    "path": ("sys.path = ['/tmp']; sys.argv.append('x')", "[sys.path, sys.argv]"),
    "streams": ("import io; sys.stdout = sys.stderr = io.StringIO()", "repr(sys.stdout)"),
    "hooks": (
        (
            "sys.excepthook = threading.excepthook = print; sys.settrace(print); "
            "threading.setprofile(print)"
        ),
        (
            "[repr(sys.excepthook), repr(threading.excepthook), repr(sys.gettrace()), "
            "repr(threading.getprofile())]"
        ),
    ),
    "interpreter": (
        (
            "gc.disable(); gc.set_threshold(1); sys.setrecursionlimit(5000); "
            "sys.set_int_max_str_digits(0); faulthandler.disable()"
        ),
        (
            "[gc.isenabled(), gc.get_threshold(), sys.getrecursionlimit(), "
            "sys.get_int_max_str_digits(), faulthandler.is_enabled()]"
        ),
    ),
    "warnings": ("warnings.simplefilter('error')", "[list(map(repr, warnings.filters))]"),
    "logging": (
        "logging.disable(); logging.getLogger().handlers.clear(); logging.getLogger().setLevel(50)",
        "[logging.root.manager.disable, len(logging.root.handlers), logging.root.level]",
    ),
    "timeout": ("socket.setdefaulttimeout(0.5)", "socket.getdefaulttimeout()"),
    "start method": (
        "multiprocessing.set_start_method('spawn')",
        "multiprocessing.get_start_method(allow_none=True)",
    ),
    "event loop": (
        "asyncio.run(asyncio.sleep(0))",
        "repr(type(asyncio.events._event_loop_policy))",
    ),
    "locale": ("locale.setlocale(locale.LC_ALL, 'C.UTF-8')", "locale.setlocale(locale.LC_ALL)"),
    "context": (
        "variable.set(1); decimal.getcontext().prec = 3",
        "[variable.get(), decimal.getcontext().prec]",
    ),
}

NOT_UNDONE = {
    "a thread": "threading.Thread(target=forever, daemon=True).start()",
    "a thread of another make": (
        "import _thread; _thread.start_new_thread(forever, ()); time.sleep(0.05)"
    ),
    "descriptors": "seen = [os.dup(0) for _ in range(200)]",
    "a standard descriptor": "os.dup2(os.open('/dev/zero', os.O_WRONLY), 1)",
    "a closed stream": "sys.stdout.close()",
    "a lowered limit": "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))",
    "a lowered limit of processor time": "resource.setrlimit(resource.RLIMIT_CPU, (900, 900))",
    "the user": "os.setgroups([1]) if os.getuid() == 0 else sys.stdout.close()",
}

Run = Callable[..., tuple[int, object]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs code as an attempt; returns the child's pid and what the code called `seen`.

    One child process serves all of them, unless it must be replaced.
    """
    folder = tmp_path_factory.mktemp("plugins")
    site = install(folder, "stains", PLUGIN, distribution="stains", version="1.0")
    offers = {
        name: Offer(name, plugin="stains", module="stains", time_limit=limit)
        for name, limit in (("run", None), ("hurried", 0.9))
    }
    outcomes, guardian = Outcomes(), Guardian()
    runner = ProcessRunner(offers, 1, guardian, outcomes, environment={"PYTHONPATH": str(site)})

    def run(code: str, executor: str = "run") -> tuple[int, object]:
        one = job(executor, code)
        runner.start([one])
        outcome: Outcome = outcomes.of(one)
        assert outcome.reason is None, outcome
        pid, seen = json.loads(outcome.result or b"")
        return pid, seen

    yield run
    runner.close()
    guardian.close()


def test_an_import_cannot_have_commands_reported_as_done(run: Run) -> None:
    """A plugin that ignores and blocks SIGCHLD at import changes no exit code, and no folder."""
    _, seen = run(f"seen = [{EXIT_CODES}, os.getcwd(), os.umask(0o22), signal.getitimer(0)]")
    assert seen == [[3, -9], str(Path.cwd()), _umask(), [0.0, 0.0]]


@pytest.mark.parametrize("what", UNDONE)
def test_an_attempt_leaves_the_process_as_it_was(run: Run, what: str) -> None:
    """What an attempt changes is undone before the next, in the same process."""
    change, look = UNDONE[what]
    before, expected = run(f"seen = {look}")
    assert run(change)[0] == before
    after, seen = run(f"seen = {look}")
    assert (after, seen) == (before, expected)


@pytest.mark.parametrize("what", NOT_UNDONE)
def test_a_process_that_cannot_be_restored_serves_no_other_attempt(run: Run, what: str) -> None:
    """The attempt has its result, its process ends at once, and the next one gets a new one."""
    before, _ = run(NOT_UNDONE[what])
    eventually(lambda: not is_alive(before))
    after, _ = run("")
    assert after != before
    assert run("")[0] == after


def test_tidying_up_costs_the_next_attempt_no_time(run: Run) -> None:
    """An attempt that takes longer to undo than the next one may run does not end that one."""
    slow = (
        "class Slow:\n"
        "    flush = int\n"
        "    closed = property(lambda _: time.sleep(0.6))\n"
        "sys.stdout = Slow()"
    )
    before, _ = run(slow)
    assert run("seen = 1", "hurried") == (before, 1)


def test_a_thread_that_ends_with_its_attempt_costs_nothing(run: Run) -> None:
    """A pool that was shut down leaves threads that are about to end: the process stays."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "ThreadPoolExecutor(4).map(time.sleep, [0] * 4)"
    )
    assert run(code)[0] == run("")[0]


def test_processes_end_with_the_attempt_that_started_them(run: Run) -> None:
    """Also a daemon that left the group and its parent. Without such, an import's helper stays."""
    assert run("seen = helper.poll()") == run("seen = helper.poll()")
    daemon = "setsid sh -c 'sleep 1000 >/dev/null 2>&1 & echo $!'"
    code = f"seen = [helper.pid, subprocess.Popen(['sleep', '1000']).pid, {_output(daemon)}]"
    pid, seen = run(code)
    assert isinstance(seen, list)
    family = [pid, *map(int, seen)]
    eventually(lambda: not any(map(is_alive, family)))


def test_multiprocessing_works_in_every_attempt(run: Run) -> None:
    """A fork server that is killed with its attempt is not what the next attempt talks to."""
    code = (
        "import multiprocessing\n"
        "context = multiprocessing.get_context('forkserver')\n"
        "process = context.Process(target=time.sleep, args=(0,))\n"
        "process.start(); process.join(); seen = process.exitcode"
    )
    assert [run(code)[1] for _ in range(2)] == [0, 0]


def test_a_handler_that_an_attempt_left_cannot_harm_the_next(run: Run) -> None:
    """An alarm that raises after its attempt has ended is dropped with its handler."""
    code = (
        "def late(*_): raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGALRM, late); signal.setitimer(signal.ITIMER_REAL, 0.02)"
    )
    before, _ = run(code)
    assert run("time.sleep(0.05); seen = 1") == (before, 1)


def _output(command: str) -> str:
    return f"subprocess.run([{command!r}], shell=True, capture_output=True, text=True).stdout"


def _umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask
