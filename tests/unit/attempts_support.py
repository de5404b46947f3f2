"""What the tests of runners share: a plugin whose executors misbehave, jobs, collected outcomes."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

from masterworker import TaskContext
from masterworker.execution.attempts import Job, Outcome
from masterworker.words.model import Task
from tests.waiting import eventually

PLUGIN = '''
import gc, json, logging, os, re, signal, subprocess, sys, time
from masterworker import hookimpl

def echo(payload, task):
    return payload

def fail(payload, task):
    raise ValueError("no " + payload.decode())

def exit_(payload, task):
    print("last words", file=sys.stderr)
    os._exit(int(payload))

def leave(payload, task):
    sys.exit("out of here")

def out_of_memory(payload, task):
    raise MemoryError("no room")

def kill_self(payload, task):
    os.kill(os.getpid(), int(payload))

def hang_in_c(payload, task):
    re.match(r"(a+)+$", "a" * 64 + "b")  # backtracks for ages, and holds the GIL

def family(payload, task):
    """Start a grandchild, write down both pids, hang."""
    grandchild = subprocess.Popen(["sleep", "1000"])
    with open(payload.decode() + ".new", "w") as file:
        json.dump([os.getpid(), grandchild.pid], file)
    os.rename(payload.decode() + ".new", payload.decode())
    time.sleep(1000)

def leftover(payload, task):
    return json.dumps([os.getpid(), subprocess.Popen(["sleep", "1000"]).pid]).encode()

def pid(payload, task):
    return str(os.getpid()).encode()

def look(payload, task):
    """What this process can see of its worker's."""
    descriptors = {fd: os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd")
                   if os.path.exists("/proc/self/fd/" + fd)}
    return json.dumps({
        "environment": dict(os.environ),
        "descriptors": descriptors,
        "inheritable": [fd for fd in map(int, descriptors) if fd > 2 and os.get_inheritable(fd)],
        "modules": sorted(sys.modules),
        "ours": os.getpgrp() == os.getpid(),
        "context": [task.task_id, task.executor, task.worker, task.attempt, task.submitted,
                    dict(task.options), task.config],
    }).encode()

def noisy(payload, task):
    """Print on every channel there is, and read the one there is not."""
    print("to stdout " * 200)
    os.write(1, b"raw to 1\\n" + b"x" * 200_000)
    os.write(2, b"\\nraw to 2\\n")
    subprocess.run(["echo", "from a command"])
    return sys.stdin.buffer.read() + payload

def talk(payload, task):
    """Say something on every level."""
    logging.warning("careful\\nsecond line")
    logging.getLogger("of.mine").error("broken")
    print("printed")
    os.write(1, b"no line end")
    return b""

def flood(payload, task):
    print("x\\n" * int(payload), end="")
    return b""

def chatter(payload, task):
    """Print once more while the process is restored."""
    class Chatty:
        flush = int
        @property
        def closed(self):
            time.sleep(0.2)
            os.write(1, b"chat\\n")
    sys.stdout = Chatty()
    return b""

def fork(payload, task):
    """Let a fork escape into the child's own loop, and wait until it is gone."""
    forked = os.fork()
    if forked:
        return str(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])).encode()
    return b"from the fork"

def orphan(payload, task):
    """Die, while a fork goes on holding every pipe open."""
    if os.fork():
        os._exit(7)
    time.sleep(1000)

def text(payload, task):
    return "text"

def too_much(payload, task):
    return bytes(900_001)

def scribble(payload, task):
    """Write nonsense to every descriptor, the pipe for answers among them."""
    for descriptor in sorted(map(int, os.listdir("/proc/self/fd")))[3:]:
        try:
            os.write(descriptor, b"\\xff" * 64)
        except OSError:
            pass
    return b""

def answer(payload, task):
    """Give an answer of its own making, on the pipe that is not its business."""
    while payload:
        payload = payload[os.write(int(sys.argv[2]), payload):]
    time.sleep(1000)

def check_table(table):
    return {"checked": dict(table)}

@hookimpl
def masterworker_register_executors(register):
    for run in (echo, fail, exit_, leave, out_of_memory, kill_self, family, leftover, pid, noisy,
                talk, flood, chatter, fork, orphan, text, too_much, scribble, answer):
        register(run.__name__.rstrip("_"), run)
    register("hang_in_c", hang_in_c, time_limit=0.5)
    register("look", look, config=check_table)
'''

_numbers = itertools.count(1)


def job(executor: str, payload: bytes | str = b"", task_id: str = "") -> Job:
    """A job with a task id of its own."""
    payload = payload.encode() if isinstance(payload, str) else payload
    task_id = task_id or f"task-{next(_numbers)}"
    context = TaskContext(
        task_id, executor, worker="w1", attempt=2, submitted=3.5, options={"key": "value"}
    )
    return Job(Task(id=task_id, executor=executor), payload, context)


class Outcomes:
    """A runner's `on_outcome`: keeps what it is given, by task and by batch."""

    def __init__(self) -> None:
        self.batches: list[list[Outcome]] = []
        self._by_task: dict[str, Outcome] = {}
        self._lock = threading.Lock()

    def __call__(self, outcomes: list[Outcome]) -> None:
        with self._lock:
            self.batches.append(outcomes)
            for outcome in outcomes:
                assert outcome.task_id not in self._by_task, "two outcomes for one job"
                self._by_task[outcome.task_id] = outcome

    def get(self, task_id: str) -> Outcome | None:
        return self._by_task.get(task_id)

    def of(self, one: Job) -> Outcome:
        """The outcome of a job, waited for."""
        outcome = eventually(lambda: self.get(one.task.id), 60, f"the outcome of {one.task}")
        assert outcome is not None
        return outcome


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    return _state(pid) not in ("", "Z", "X")


def is_stopped(pid: int) -> bool:
    """Whether a process is held by SIGSTOP."""
    return _state(pid) == "T"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return ""
