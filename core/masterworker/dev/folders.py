"""Temporary folders that are removed however their owner ends, SIGKILL included."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import janitor


class TemporaryFolder:
    """A new folder at `path`, removed by `close` or when this process ends."""

    def __init__(self, prefix: str) -> None:
        """Make the folder. Raises OSError if that cannot be done."""
        self.path = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
        try:
            self._janitor = subprocess.Popen(
                [sys.executable, "-I", "-S", janitor.__file__, str(self.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def close(self) -> None:
        """Remove the folder. It can be called twice."""
        if self._janitor.stdin is not None:
            self._janitor.stdin.close()
        self._janitor.wait(2 * janitor.PATIENCE)
        shutil.rmtree(self.path, ignore_errors=True)  # if something has killed the janitor
