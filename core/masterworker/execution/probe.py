"""Asks a probe process which executors the installed plugins have, so that none is imported here.

`probing.py` is the other side. A plugin that raises, exits, hangs or sends an invalid answer is
reported as broken, with the reason; it harms neither this process nor another plugin.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from ..words.errors import BadConfiguration, MasterworkerError
from ..words.executor import Offer
from ..words.limits import MAX_EXECUTORS
from . import frames
from .configuration import table_name
from .finding import Found
from .sandbox import Sandbox

logger = logging.getLogger(__name__)

PROBE_SECONDS: Final = 60.0
"""Seconds that one plugin may take to load."""

PARALLEL: Final = max(4, os.cpu_count() or 1)
"""Number of plugins loaded at a time."""

_SLACK: Final = 30.0  # seconds beyond the plugins' own limit until the probe's next message
_QUIET: Final = 5.0  # seconds after which a log line names the plugins still loading
_EXIT_SECONDS: Final = 2.0
_CHUNK: Final = 65_536
_MODULE: Final = "masterworker.execution.probing"


@dataclass(frozen=True, slots=True)
class Probed:
    """The result for one plugin: its executors, or why it is broken."""

    found: Found
    offers: tuple[Offer, ...] = ()
    broken: str = ""


class ProbeFailed(MasterworkerError):
    """The probe process itself failed."""


def probe(
    tables: Mapping[str, Mapping[str, Any] | None] | None = None,
    *,
    file: Path | None = None,
    only: Collection[str] | None = None,
    sandbox: Sandbox | None = None,
    seconds: float = PROBE_SECONDS,
) -> list[Probed]:
    """Find all plugins and load each in a process of its own, restricted by `sandbox`.

    `tables` are the executors whose configuration is checked, with the operator's table for each or
    None; `file` is the file they are from. Only the plugins named in `only` are loaded, or all.
    Each may take `seconds`. Raises ProbeFailed if the probe process cannot be used at all.
    """
    sandbox = sandbox or Sandbox()
    request = frames.pack(
        {
            "only": None if only is None else sorted(only),
            "parallel": PARALLEL,
            "seconds": seconds,
            "tables": _that_can_travel(tables or {}, file),
            **sandbox.bounds(),
        }
    )
    probed: dict[int, Probed] = {}
    with _Process(sandbox) as process:
        process.send(request)
        answers = process.answers()
        found = [Found(*row) for row in process.next(answers, seconds, [])["found"]]
        waited_for = {
            number: one
            for number, one in enumerate(found)
            if one.module and (only is None or one.name in only)
        }
        while waited_for:
            answer = process.next(answers, seconds, list(waited_for.values()))
            one = waited_for.pop(answer["number"])
            probed[answer["number"]] = _understand(one, answer)
    return [
        probed.get(number) or Probed(one, broken=one.broken) for number, one in enumerate(found)
    ]


def _that_can_travel(
    tables: Mapping[str, Mapping[str, Any] | None], file: Path | None
) -> dict[str, Any]:
    """The tables in the form in which the probe process receives them.

    A table with more than plain data is left out: it may be meant for an inline executor; if not,
    the worker refuses it.
    """
    given = {}
    for name, table in tables.items():
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            frames.pack({name: table})
            given[name] = [table, table_name(name, file)]
    return given


def _understand(found: Found, answer: Mapping[str, Any]) -> Probed:
    """Decode a plugin's answer. The plugin's own code may have written it."""
    printed = answer["printed"]
    if "broken" in answer:
        broken = answer["broken"] + (f"; its last output: {printed}" if printed else "")
        return Probed(found, broken=broken)
    if printed:
        logger.debug("%s printed while it was loaded: %s", found, printed)
    try:
        said = frames.unpack(answer["answer"], MAX_EXECUTORS)
        if "broken" in said:
            return Probed(found, broken=str(said["broken"]))
        return Probed(found, tuple(_offer(found, row) for row in said["executors"]))
    except (frames.BadFrame, BadConfiguration, KeyError, TypeError, ValueError) as error:
        return Probed(found, broken=f"its process sent an invalid answer: {error!r:.200}")


def _offer(found: Found, row: Sequence[Any]) -> Offer:
    name, inline, time_limit, attempts, refusal = row
    kinds = [(name, str), (inline, bool), (time_limit or 0.0, float), (refusal, str)]
    if not all(isinstance(value, kind) for value, kind in kinds) or type(attempts) is not int:
        raise TypeError(row)
    return Offer(
        name=name,
        inline=inline,
        time_limit=time_limit,
        attempts=attempts,
        plugin=found.name,
        module=found.module,
        refusal=refusal,
    )


class _Process:
    """The probe process, for as long as the `with` statement lasts."""

    def __init__(self, sandbox: Sandbox) -> None:
        user = sandbox.user
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._answers, answers = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(answers)],
                stdin=subprocess.PIPE,
                stdout=self._printed,
                stderr=self._printed,
                bufsize=0,
                pass_fds=(answers,),
                env=sandbox.environment(),
                start_new_session=True,  # a terminal's interrupts are for its parent
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=() if user else None,
            )
        except OSError as error:
            os.close(self._answers)
            self._printed.close()
            raise ProbeFailed(f"the plugins cannot be probed: {error}") from error
        finally:
            os.close(answers)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        """Let it kill the processes it started, and end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)
        self._printed.close()

    def send(self, request: bytes) -> None:
        """Send its request; if it is dead, the missing answer shows that."""
        if self._process.stdin is None:
            raise TypeError("the probe's stdin is not a pipe")
        left = memoryview(request)
        with contextlib.suppress(BrokenPipeError):
            while left:
                left = left[self._process.stdin.write(left) or 0 :]

    def answers(self) -> Iterator[bytes]:
        """Its messages; an empty one if none came for a while."""
        data = b""
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        while True:
            while len(data) >= frames.LENGTH.size:
                end = frames.LENGTH.size + frames.length(data[: frames.LENGTH.size])
                if len(data) < end:
                    break
                yield data[frames.LENGTH.size : end]
                data = data[end:]
            if not poll.poll(_QUIET * 1000):
                yield b""
            elif chunk := os.read(self._answers, _CHUNK):
                data += chunk
            else:
                return

    def next(
        self, answers: Iterator[bytes], seconds: float, waited_for: Sequence[Found]
    ) -> dict[str, Any]:
        """Its next message. Raises ProbeFailed if none comes."""
        deadline = time.monotonic() + seconds + _SLACK
        for answer in answers:
            if answer:
                return frames.unpack(answer)
            names = ", ".join(one.name for one in waited_for) or "the search for plugins"
            logger.warning("still waiting for %s (each plugin has %g s to load)", names, seconds)
            if time.monotonic() > deadline:
                break
        raise ProbeFailed(f"the plugins cannot be probed: {self._how_it_ended()}")

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            how = "the probe process does not answer"
        else:
            how = f"the probe process ended with exit code {code}"
        self._printed.seek(0)
        printed = self._printed.read()[-1_000:].decode(errors="replace").strip()
        return f"{how}; its last output: {printed.splitlines()[-1]}" if printed else how
