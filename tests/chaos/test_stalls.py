"""The stall detection notices that the disk stands still."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.chaos.journals import read
from tests.chaos.stalls import BEAT, SHARE, Lookout

TIMEOUT = 1.0  # seconds; of a session
LONG = BEAT + TIMEOUT * SHARE


def test_an_fsync_that_takes_long_is_a_stall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the journal from before its beginning to after its end, as soon as it is over."""
    (tmp_path / "settings.json").write_text("{}")
    asked, answer = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        asked.set()
        assert answer.wait(60)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    with Lookout(tmp_path, TIMEOUT):
        assert asked.wait(60)
        began = time.time()
        time.sleep(2 * LONG)
        ended = time.time()
        monkeypatch.undo()
        answer.set()
    assert any(stall.began <= began and ended <= stall.ended for stall in read(tmp_path).stalls)
