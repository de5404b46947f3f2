"""Process-wide state that an import, an attempt or a parent process can change for later attempts.

Signal dispositions, timers, the working folder, hooks and defaults belong to the process, and the
next attempt in it would inherit them. For example, a parent that ignores SIGCHLD makes `subprocess`
report exit code 0 for a command that failed. A process therefore starts from a known state
(`reset_signals`), takes a snapshot of it, and restores the snapshot after each attempt. Each kind
of state is one `Item` of a table. A change that cannot be undone, such as a thread that is still
running, is reported, and the process must not be used again.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import resource
import signal
import sys
import threading
import time
import warnings
from _signal import (  # type: ignore[import-not-found]  # signal's own make enums: 10 x the time
    getsignal,
    pthread_sigmask,
    set_wakeup_fd,
)
from _signal import signal as set_signal
from _thread import _count as count_threads
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple

from .sandbox import LIMITS

MOST_DESCRIPTORS: Final = 100
"""Descriptors that attempts may leave open in total before their process is replaced."""

_THREAD_SECONDS: Final = 0.05  # from an attempt's last statement to the end of its threads

_UNCATCHABLE: Final = frozenset({signal.SIGKILL, signal.SIGSTOP})
_SIGNALS: Final = sorted(signal.valid_signals() - _UNCATCHABLE)
_SIGCHLD: Final = int(signal.SIGCHLD)
_STANDARD: Final = [int(number) for number in _SIGNALS if number < signal.SIGRTMIN]

_PYTHON_IGNORES: Final = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""Python ignores these, so that the write fails with OSError. `subprocess` resets them."""

INTENDED: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
    }
)
"""Signals that a shell or nohup(1) deliberately ignores for a process in the background."""


class Item(NamedTuple):
    """One kind of state: how to read it, and how to restore an earlier value if possible.

    Two readings are equal if nothing has changed. `restore` may raise anything.
    """

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object] | None = None


class ProcessState:
    """A snapshot of some items, taken and restored on the main thread."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._reads = [item.read for item in items]
        self._taken = [read() for read in self._reads]

    def restore(self) -> list[str]:
        """Restore everything; return the names of items that could not be. Takes microseconds."""
        with contextlib.suppress(Exception):
            if self._taken == [read() for read in self._reads]:
                return []
        pairs = zip(self._items, self._taken, strict=True)
        return [item.name for item, was in pairs if not _restored(item, was)]


def reset_signals(keep: Iterable[int] = ()) -> None:
    """Unblock all signals, and stop ignoring any that neither Python ignores itself nor `keep` has.
    Both are inherited from the parent process. Call it on the main thread only.
    """
    kept = frozenset(keep)
    for number in _SIGNALS:
        if number in kept and getsignal(number) == signal.SIG_IGN:
            continue
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        elif number in _PYTHON_IGNORES:
            signal.signal(number, signal.SIG_IGN)
        else:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # delivers a pending signal, such as SIGTERM


def _restored(item: Item, was: Any) -> bool:
    """Whether the item is unchanged, if necessary after restoring it."""
    with contextlib.suppress(Exception):
        if was == item.read():
            return True
    if item.restore is None:
        return False
    try:
        item.restore(was)
        return bool(was == item.read())
    except Exception:  # noqa: BLE001 - whatever the cause, the item is not as it was
        return False


# --- state in the kernel -----------------------------------------------------------------------


def _handlers() -> list[Any]:
    # SIGCHLD is set and not compared: native code can have changed the kernel's own setting.
    if getsignal(_SIGCHLD) == 0:
        set_signal(_SIGCHLD, 0)
    return [getsignal(number) for number in _STANDARD]


def _set_handlers(was: list[Any]) -> None:
    for number, handler in zip(_STANDARD, was, strict=True):
        # A handler that is None was installed by native code; it can only be left as it is.
        if handler is not None and getsignal(number) != handler:
            signal.signal(number, handler)
    if faulthandler.is_enabled():  # its handlers are native, and have just been replaced
        faulthandler.disable()
        faulthandler.enable()


_BLOCK: Final = int(signal.SIG_BLOCK)


def _mask() -> set[int]:
    mask: set[int] = pthread_sigmask(_BLOCK, ())
    return mask


def _set_mask(was: Iterable[int]) -> None:
    pending = signal.sigpending() - set(was)
    while pending and signal.sigtimedwait(pending, 0):  # if unblocked, it would be delivered now
        pending = signal.sigpending() - set(was)
    signal.pthread_sigmask(signal.SIG_SETMASK, was)


_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def _timers() -> list[tuple[float, float]]:
    return [signal.getitimer(timer) for timer in _TIMERS]


def _stop_timers(_was: object) -> None:
    for timer in _TIMERS:
        signal.setitimer(timer, 0)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_LIMITS: Final = [limit for name, limit in LIMITS.items() if name != "cpu"]


def _limits() -> tuple[int, list[tuple[int, int]]]:
    # Of processor time only the hard limit: `allow_cpu` sets the soft one for each attempt.
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    return hard, [resource.getrlimit(limit) for limit in _LIMITS]


def _set_limits(was: tuple[int, list[tuple[int, int]]]) -> None:
    for limit, bounds in zip(_LIMITS, was[1], strict=True):
        resource.setrlimit(limit, bounds)


def _identity() -> tuple[object, ...]:
    return os.getresuid(), os.getresgid(), os.getgroups()


def _standard_files() -> list[tuple[int, int]]:
    # That of stdin is looked at with the open descriptors.
    return [(seen.st_dev, seen.st_ino) for seen in (os.fstat(1), os.fstat(2))]


def _wakeup_is_off() -> bool:
    return bool(set_wakeup_fd(-1) >= -1)  # reading it changes it


KERNEL: Final = (
    Item("a timer", _timers, _stop_timers),
    Item("a signal's handler", _handlers, _set_handlers),
    Item("the signal mask", _mask, _set_mask),
    Item("the wakeup descriptor", _wakeup_is_off),
    Item("the working folder", os.getcwd, os.chdir),
    Item("the umask", _umask, os.umask),
    Item("resource limits", _limits, _set_limits),
    Item(
        "the priority",
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        lambda was: os.setpriority(os.PRIO_PROCESS, 0, was),
    ),
    Item(
        "the processors it may use",
        lambda: os.sched_getaffinity(0),
        lambda was: os.sched_setaffinity(0, was),
    ),
    Item("the user", _identity),
    Item("the standard descriptors", _standard_files),
)
"""What the kernel keeps. An import must not change it either."""


# --- what the interpreter keeps ----------------------------------------------------------------


_environ: Final = os.environ
_path: Final = sys.path
_argv: Final = sys.argv


def _environment() -> tuple[bool, dict[Any, Any]]:
    # The mapping of bytes behind os.environ: to decode it all would take longer than all the rest.
    return os.environ is _environ, vars(_environ)["_data"].copy()


def _set_environment(was: tuple[bool, dict[Any, Any]]) -> None:
    os.environ = _environ  # noqa: B003 - it is the mapping that was there
    for name in vars(_environ)["_data"].keys() - was[1].keys():
        del _environ[os.fsdecode(name)]
    for name, value in was[1].items():
        _environ[os.fsdecode(name)] = os.fsdecode(value)
    time.tzset()


def _lists() -> tuple[bool, list[str], list[str]]:
    return sys.path is _path and sys.argv is _argv, _path.copy(), _argv.copy()


def _set_lists(was: tuple[bool, list[str], list[str]]) -> None:
    sys.path, sys.argv = _path, _argv
    _, _path[:], _argv[:] = was


def _streams() -> list[tuple[Any, bool]]:
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return [(stream, stream.closed) for stream in streams]


def _set_streams(was: list[tuple[Any, bool]]) -> None:
    (sys.stdin, _), (sys.stdout, _), (sys.stderr, _) = was


def _hooks() -> tuple[Any, ...]:
    return (
        sys.excepthook,
        sys.unraisablehook,
        sys.displayhook,
        sys.breakpointhook,
        threading.excepthook,
        sys.gettrace(),
        sys.getprofile(),
        threading.gettrace(),
        threading.getprofile(),
    )


def _set_hooks(was: tuple[Any, ...]) -> None:
    sys.excepthook, sys.unraisablehook, sys.displayhook, sys.breakpointhook = was[:4]
    threading.excepthook = was[4]
    sys.settrace(was[5])
    sys.setprofile(was[6])
    threading.settrace(was[7])
    threading.setprofile(was[8])


def _interpreter() -> tuple[Any, ...]:
    faulthandler.cancel_dump_traceback_later()  # it could end the process in the next attempt
    return (
        gc.isenabled(),
        gc.get_threshold(),
        gc.get_debug(),
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        sys.get_int_max_str_digits(),
        faulthandler.is_enabled(),
    )


def _set_interpreter(was: tuple[Any, ...]) -> None:
    (gc.enable if was[0] else gc.disable)()
    gc.set_threshold(*was[1])
    gc.set_debug(was[2])
    sys.setrecursionlimit(was[3])
    sys.setswitchinterval(was[4])
    sys.set_int_max_str_digits(was[5])
    if was[6]:
        faulthandler.enable()


def _warnings() -> tuple[list[Any], Any]:
    return list(warnings.filters), warnings.showwarning


def _set_warnings(was: tuple[list[Any], Any]) -> None:
    warnings.resetwarnings()  # which also makes what was decided by the old filters void
    warnings.filters[:] = was[0]  # type: ignore[index]
    warnings.showwarning = was[1]


def _logging() -> tuple[Any, ...]:
    root = logging.getLogger()
    return root.handlers.copy(), root.level, root.manager.disable, logging.raiseExceptions


def _set_logging(was: tuple[Any, ...]) -> None:
    root = logging.getLogger()
    root.handlers[:] = was[0]
    root.setLevel(was[1])
    logging.disable(was[2])
    logging.raiseExceptions = was[3]


def _loaded(name: str) -> ModuleType | None:
    """A module that nothing here imports: unless an executor did, it has no state."""
    return sys.modules.get(name)


def _defaults() -> tuple[Any, ...]:
    """Defaults of modules, each as it is when nothing has been set if the module is not loaded."""
    socket, multiprocessing = _loaded("socket"), _loaded("multiprocessing")
    events = _loaded("asyncio.events")
    return (
        socket and socket.getdefaulttimeout(),
        multiprocessing and multiprocessing.get_start_method(allow_none=True),
        getattr(events, "_event_loop_policy", None),  # and with it the loop that is the current one
    )


def _set_defaults(was: tuple[Any, ...]) -> None:
    if socket := _loaded("socket"):
        socket.setdefaulttimeout(was[0])
    if multiprocessing := _loaded("multiprocessing"):
        multiprocessing.set_start_method(was[1], force=True)
    if events := _loaded("asyncio.events"):
        events.set_event_loop_policy(was[2])


def _locale() -> str | None:
    locale = _loaded("locale")
    return None if locale is None else str(locale.setlocale(locale.LC_ALL))


def _set_locale(was: str | None) -> None:
    if (locale := _loaded("locale")) and was is not None:
        locale.setlocale(locale.LC_ALL, was)


INTERPRETER: Final = (
    Item("the environment", _environment, _set_environment),
    Item("sys.path or sys.argv", _lists, _set_lists),
    Item("the standard streams", _streams, _set_streams),
    Item("hooks", _hooks, _set_hooks),
    Item("settings of the interpreter", _interpreter, _set_interpreter),
    Item("warning filters", _warnings, _set_warnings),
    Item("the root logger", _logging, _set_logging),
    Item("a module's defaults", _defaults, _set_defaults),
    Item("the locale", _locale, _set_locale),
)
"""What the interpreter keeps. An import may change it: a plugin's attempts are to find it so."""


# --- what grows --------------------------------------------------------------------------------


class _Threads:
    """The threads there are, equal to later ones if none was added."""

    def __init__(self) -> None:
        self._count = count_threads()  # also knows those that `threading` does not
        self._known = set(threading.enumerate()) if self._count else set()

    def __eq__(self, later: object) -> bool:
        if not isinstance(later, _Threads):
            return NotImplemented
        return later._count <= self._count and later._known <= self._known

    def __hash__(self) -> int:
        return hash(self._count)


class _Descriptors:
    """The lowest free descriptor, equal to later ones as long as few were added."""

    def __init__(self) -> None:
        self._free = os.dup(0)
        os.close(self._free)

    def __eq__(self, later: object) -> bool:
        if not isinstance(later, _Descriptors):
            return NotImplemented
        return later._free <= self._free + MOST_DESCRIPTORS

    def __hash__(self) -> int:
        return hash(self._free)


def _wait_for_threads(_was: object) -> None:
    time.sleep(_THREAD_SECONDS)  # those of an executor pool that was just shut down are ending


GROWING: Final = (
    Item("threads", _Threads, _wait_for_threads),
    Item("open descriptors", _Descriptors),
)
"""What may be there after loading, and must not grow."""

EVERYTHING: Final = KERNEL + INTERPRETER + GROWING
