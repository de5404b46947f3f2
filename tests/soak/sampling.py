"""What one moment of a running cluster looks like, in figures: /proc, and ZooKeeper's `mntr`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from masterworker.dev.server import ask

T = TypeVar("T")
Figures = dict[str, float]

_STATUS = re.compile(r"^(Threads|VmRSS):\s+(\d+)", re.MULTILINE)
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
_TENURED = re.compile(r"tenured generation +total \d+K, used (\d+)K")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_MNTR: Final = {
    "zk_znode_count": "znodes",
    "zk_watch_count": "watches",
    "zk_ephemerals_count": "ephemerals",
    "zk_num_alive_connections": "connections",
    "zk_approximate_data_size": "data",
    "zk_outstanding_requests": "requests",
}


def process_figures(name: str, pid: int) -> Figures:
    """Memory (bytes), CPU (seconds), threads, descriptors, children of a process; {} if gone."""
    try:
        status = _status(pid)
        pss = _pss(pid)
        cpu = _cpu(pid)
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        children = list(_children(pid))
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {
        f"{name}.rss": status["VmRSS"] * 1024,
        f"{name}.pss": pss,
        f"{name}.cpu": cpu,
        f"{name}.threads": status["Threads"],
        f"{name}.descriptors": descriptors,
        f"{name}.children": len(children),
        f"{name}.childrens-memory": sum(_pss_if_there(child) for child in children),
    }


def server_figures(port: int) -> Figures:
    """What ZooKeeper counts: znodes, watches, ephemerals, connections, bytes of data."""
    figures: Figures = {}
    for line in ask(port, "mntr").splitlines():
        key, _, value = line.partition("\t")
        if key in _MNTR:
            figures[f"zookeeper.{_MNTR[key]}"] = float(value)
    return figures


def jvm_figures(pid: int) -> Figures:
    """Descriptors, threads and memory of ZooKeeper's JVM, whose memory has bounds of its own."""
    figures = process_figures("zookeeper-jvm", pid)
    if "zookeeper-jvm.rss" in figures:
        figures["zookeeper-jvm.resident"] = figures.pop("zookeeper-jvm.rss")
        del figures["zookeeper-jvm.pss"]
    return figures


def heap_figures(pid: int) -> Figures:
    """Bytes of live objects in a JVM; {} where there is no `jcmd` (it comes with a JDK).

    A full collection of the serial collector leaves them all in the tenured generation, and what is
    created before we come to look lies in the new one.
    """
    jcmd = shutil.which("jcmd")
    if jcmd is None:
        return {}
    for what in ("GC.run", "GC.heap_info"):
        command = [jcmd, str(pid), what]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = _TENURED.search(told.stdout)
    return {"zookeeper-jvm.heap": int(found[1]) * 1024} if found else {}


def load_figures(lines: Path) -> Figures:
    """The latest counts that the load has written."""
    try:
        written = lines.read_bytes().rpartition(b"\n")[0].rpartition(b"\n")[2]
    except FileNotFoundError:
        return {}
    counts: Mapping[str, float] = json.loads(written) if written else {}
    return {f"tasks.{name}": value for name, value in counts.items()}


def _status(pid: int) -> dict[str, int]:
    text = Path(f"/proc/{pid}/status").read_text()
    found = {key: int(value) for key, value in _STATUS.findall(text)}
    if "VmRSS" not in found:
        raise ProcessLookupError(pid)  # a zombie: it has no memory any more
    return found


def _cpu(pid: int) -> float:
    """Seconds in user and system mode: fields 14 and 15 of proc(5), the 12th after the name's )."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


def _pss(pid: int) -> int:
    found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return int(found[1]) * 1024 if found else 0


def _pss_if_there(pid: int) -> int:
    return _unless_gone(lambda: _pss(pid)) or 0


def _children(pid: int) -> Iterator[int]:
    """Every thread of a process has children of its own."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        children = _unless_gone((thread / "children").read_text)
        yield from map(int, (children or "").split())


def _unless_gone(look: Callable[[], T]) -> T | None:
    try:
        return look()
    except (FileNotFoundError, ProcessLookupError):
        return None
