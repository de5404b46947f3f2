"""The page for operators and its systemd units: what they start is what `mwctl` understands."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from masterworker.cli import cli
from masterworker.execution.configuration import load_configuration
from masterworker.execution.plugins import Plugins
from tests.docs import pages

PAGE = pages.text(pages.DOCS / "production.md")
UNITS = sorted((pages.DOCS / "systemd").glob("*.service"))
OURS = [unit for unit in UNITS if unit.name.startswith("masterworker-")]


def command(name: str) -> click.Command:
    """A command of `mwctl`."""
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, name
    return found


def service(unit: Path) -> configparser.SectionProxy:
    """The section of a unit that says what runs; of what is given twice, the last."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(pages.text(unit))
    return parser["Service"]


@pytest.mark.parametrize("unit", OURS, ids=lambda unit: unit.name)
def test_units_start_what_mwctl_understands(unit: Path) -> None:
    """The command line of a unit is parsed without complaint."""
    _, role, *arguments = shlex.split(service(unit)["ExecStart"])
    command(role).make_context(role, arguments, resilient_parsing=False).close()


def test_worker_unit_gives_the_worker_time_to_drain() -> None:
    """systemd signals the worker alone, and kills it only after its grace period."""
    (unit,) = (unit for unit in UNITS if "@" in unit.name)
    grace = re.search(r"--grace=(\d+)", service(unit)["ExecStart"])
    assert grace is not None
    assert int(service(unit)["TimeoutStopSec"]) > int(grace[1])
    assert service(unit)["KillMode"] == "mixed"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_units(unit: Path, tmp_path: Path) -> None:
    """systemd itself finds nothing to complain of, but that nothing is installed here."""
    installed = re.sub(r"(?<=ExecStart=)\S+", "/bin/true", pages.text(unit))
    copy = tmp_path / unit.name
    copy.write_text(installed, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, str(copy) in done.stderr) == (0, False), done.stderr


def test_environment_variables_are_options() -> None:
    """Every variable in the environment file is that of an option of a master or a worker."""
    options = {option.envvar for role in ("master", "worker") for option in command(role).params}
    used = set(re.findall(r"^(MWCTL_\w+)=", PAGE, re.MULTILINE))
    assert used
    assert used <= options


def test_the_configuration_is_accepted(tmp_path: Path) -> None:
    """The included executors take the tables of the example."""
    (table,) = pages.blocks(PAGE, "toml")
    path = tmp_path / "worker.toml"
    path.write_text(table)
    raw = load_configuration(path)
    assert sorted(raw) == ["command", "python"]
    assert sorted(Plugins.probe(sorted(raw), raw).executors(sorted(raw))) == sorted(raw)
