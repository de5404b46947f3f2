"""A log that nobody reads, or that cannot be written, keeps no role from its work or its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from masterworker.cli import log_writer
from masterworker.cli.log_writer import LogWriter
from masterworker.cli.logs import TextFormatter
from masterworker.dev.processes import masterworker_command
from tests.cli.calling import OWN
from tests.integration.running import tree
from tests.waiting import DEADLINE, eventually


def writer(descriptor: int) -> tuple[logging.Logger, LogWriter]:
    """A logger with a writer of its own."""
    handler = LogWriter(descriptor)
    handler.setFormatter(TextFormatter())
    logger = logging.getLogger(f"test.{descriptor}")
    logger.propagate = False
    logger.handlers = [handler]
    return logger, handler


def test_every_line_arrives_in_order_and_the_last_before_the_end() -> None:
    """What is logged is written once `flush` returns, which the end of a process calls."""
    reading, writing = os.pipe()
    logger, handler = writer(writing)
    for number in range(200):
        logger.warning("line %d", number)
    handler.flush()
    lines = os.read(reading, 100_000).decode().splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [str(number) for number in range(200)]


def test_lines_that_nobody_reads_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full pipe holds up no thread that logs; a reader that comes back is told the number."""
    monkeypatch.setattr(log_writer, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(log_writer, "MOST_WAITING", 100)
    reading, writing = os.pipe()
    logger, handler = writer(writing)
    for number in range(5_000):
        logger.warning("%d %s", number, "x" * 100)
    handler.flush()
    read = bytearray()

    def told() -> bool:
        logger.warning("another")
        handler.flush()
        read.extend(os.read(reading, 100_000))
        return b"log lines were dropped" in read

    eventually(told)


def test_a_disk_that_is_full_is_no_error() -> None:
    """Nothing is raised and nothing waits."""
    with Path("/dev/full").open("wb") as full:
        logger, handler = writer(full.fileno())
        for _ in range(10):
            logger.warning("lost")
            handler.flush()


PLUGINS = """
import logging, sys, threading
from masterworker import cli
from masterworker.cli import logs

class Stuck(logging.Handler):
    def flush(self):
        threading.Event().wait()

def run(arguments, invocation):
    global handlers
    logs.start("info", "text")
    handlers = [Stuck() for _ in sys.argv[1:]]
    invocation.runs_plugins = True
    threading.Thread(target=threading.Event().wait).start()
    for number in range(2000):
        logging.info("line %d", number)
    return 7

cli._run = run
sys.exit(cli.main())
"""
"""A command whose plugins leave a thread, and with an argument a log handler that hangs."""


@pytest.mark.parametrize("handlers", [[], ["stuck"]])
def test_the_last_lines_are_written_although_a_plugin_left_a_thread(handlers: list[str]) -> None:
    """The process cannot end normally then, and no handler of the plugin may hold it."""
    ended = subprocess.run(
        [sys.executable, "-c", PLUGINS, *handlers],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ended.returncode == 7
    lines = ended.stderr.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [str(number) for number in range(2000)]


@pytest.mark.parametrize(
    ("role", "stderr"),
    [
        ("worker", "a full pipe"),
        ("worker", "closed"),
        ("master", "a full disk"),
        ("master", "a broken pipe"),
    ],
)
def test_a_role_whose_log_nobody_reads_works_and_stops(hosts: str, role: str, stderr: str) -> None:
    """It registers, and SIGTERM ends it at once with exit code 0."""
    reading, writing = os.pipe()
    if stderr == "a full pipe":
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, bytes(4096))
        os.set_blocking(writing, True)
    elif stderr == "a full disk":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    elif stderr == "a broken pipe":
        os.close(reading)
    command = masterworker_command(role)
    if stderr == "closed":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    env = OWN | {"MWCTL_HOSTS": hosts}
    with tree(hosts) as kazoo, subprocess.Popen(command, stderr=writing, env=env) as process:
        try:
            path = "/workers" if role == "worker" else "/masters"
            eventually(lambda: kazoo.exists(path) and kazoo.get_children(path))
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()
