"""Calling `mwctl` as people do: as a process, with what it writes and its exit code to judge."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from masterworker.dev.processes import masterworker_command

OWN = {name: value for name, value in os.environ.items() if not name.startswith("MWCTL_")}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call of `mwctl` ended; `err` is its stderr as text."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of its stdout."""
        return self.out.decode().splitlines()


def mwctl(
    *arguments: object, stdin: bytes = b"", env: Mapping[str, str] | None = None, limit: float = 30
) -> Ended:
    """Call `mwctl` and return how it ended, which must be within `limit` seconds."""
    ended = subprocess.run(
        masterworker_command(*map(str, arguments)),
        input=stdin,
        capture_output=True,
        env=OWN | dict(env or {}),
        timeout=limit,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr.decode())
