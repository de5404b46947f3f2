"""Temporary folders that are removed even if their owner is killed with SIGKILL."""

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
        """Create the folder. Raises OSError."""
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
        """Remove the folder. Further calls have no effect."""
        if self._janitor.stdin is not None:
            self._janitor.stdin.close()
        self._janitor.wait(2 * janitor.PATIENCE)
        shutil.rmtree(self.path, ignore_errors=True)  # in case the janitor was killed
