"""An interpreter like the one that runs the tests, where every user can reach it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

_LEFT_OUT = ("site-packages", "__pycache__", "test", "idlelib", "tkinter", "ensurepip", "config-*")
_BESIDE = b"$ORIGIN/../lib"  # for the dynamic loader: where our copy of libpython lies
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def candidates(folder: Path) -> Iterator[str]:
    """The interpreters to try: our own, the system's if it has our version, a copy in `folder`.

    A standard library fits one version only: never run an interpreter of another one.
    """
    yield sys.executable
    if (system := Path("/usr/bin", VERSION)).exists():
        yield str(system)
    yield _copy(folder)


def packages() -> str:
    """PYTHONPATH with what we import beside the standard library."""
    ours = [entry for entry in sys.path if entry]
    return ":".join(entry for entry in ours if not Path(entry).is_relative_to(sys.base_prefix))


def _copy(folder: Path) -> str:
    """Copy this interpreter and its standard library, some 30 MB."""
    base = Path(sys.base_prefix)
    shutil.copytree(
        base / "lib" / VERSION,
        folder / "lib" / VERSION,
        ignore=shutil.ignore_patterns(*_LEFT_OUT),
        symlinks=True,
    )
    for library in base.glob("lib/libpython3*"):
        shutil.copy(library, folder / "lib")
    # The program looks for a shared libpython where it was installed, which is out of reach.
    program = (base / "bin" / VERSION).read_bytes()
    installed = os.fsencode(base / "lib")
    if len(installed) >= len(_BESIDE):
        program = program.replace(installed + b"\0", _BESIDE.ljust(len(installed) + 1, b"\0"))
    copy = folder / "bin" / VERSION
    copy.parent.mkdir()
    copy.write_bytes(program)
    copy.chmod(0o755)
    return str(copy)
