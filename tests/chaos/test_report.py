"""The report says what was found, in a page, in data and in a picture."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.chaos import report
from tests.chaos.journals import Fault, Journals, Settings
from tests.chaos.judge import judge
from tests.chaos.scene import BEGAN, Scene
from tests.chaos.verdict import Promise, Verdict

SVG = "{http://www.w3.org/2000/svg}"


def lost_and_struck() -> Verdict:
    """One task is lost, one done; the primary was killed and another one elected."""
    scene = Scene()
    scene.finish(1)
    scene.assign(scene.submit(2), scene.one)
    died = scene.now
    scene.elect(0x11, pid=11)
    faults = [
        Fault(1, "kill", "master-1", died, died, pid=10),
        Fault(2, "quorum-loss", "ensemble", BEGAN, BEGAN + 1),
        Fault(3, "stop", "client-1", BEGAN, BEGAN, skipped="it was not there"),
    ]
    settings = Settings(seed=7, began=BEGAN, settled=BEGAN + 30)
    processes = {10: "master-1", 11: "master-2"}
    return judge(scene.transactions, Journals(settings, faults, processes))


def test_report_in_three_files(tmp_path: Path) -> None:
    """What was broken, what was done, and how long the recovery took."""
    verdict = lost_and_struck()
    report.write(tmp_path, verdict)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["ok"] is False
    assert data["broken"]["lost"] == 1
    assert [finding["promise"] for finding in data["findings"]] == ["lost"]
    assert data["faults"] == {"kill": 1, "quorum-loss": 1}
    assert data["recoveries"]["next epoch, disturbed"]["count"] == 1
    page = (tmp_path / "report.md").read_text()
    assert "seed 7: BROKEN" in page
    assert verdict.findings.of(Promise.LOST)[0].what in page
    assert "| next epoch | yes | 1 |" in page


def test_picture_shows_terms_incarnations_and_faults(tmp_path: Path) -> None:
    """A bar for each term and each incarnation, a mark for each fault carried out."""
    report.write(tmp_path, lost_and_struck())
    picture = ET.parse(tmp_path / "timeline.svg").getroot()  # noqa: S314 - our own
    styles = [
        shape.get("class")
        for shape in picture.iter(f"{SVG}rect")
        if shape.find(f"{SVG}title") is not None
    ]
    assert styles.count("term") == 2
    assert styles.count("life") == 2
    marks = [path.get("class") for path in picture.iter(f"{SVG}path") if path.get("transform")]
    assert [mark for mark in marks if mark and "mark" in mark] == ["mark group", "mark killed"]
    rows = [text.text for text in picture.iter(f"{SVG}text") if text.get("class") == "end"]
    assert rows[:5] == ["master-1", "master-2", "worker-1", "worker-2", "groups"]


def test_picture_of_next_to_nothing(tmp_path: Path) -> None:
    """A run without faults and without a finished task has a picture, too."""
    report.write(tmp_path, judge(Scene().transactions, Journals()))
    ET.parse(tmp_path / "timeline.svg")  # noqa: S314 - our own


def test_spread() -> None:
    """The median, the value that 99 of 100 do not exceed, the most, and those over the bound."""
    found = report.spread([float(number) for number in range(1, 201)], bound=195.0)
    assert found == report.Spread(count=200, median=100.5, p99=198.0, most=200.0, late=5)
    assert report.spread([], bound=1.0) is None
