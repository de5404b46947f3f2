"""`.ci/setup`: when it keeps a virtual environment, and when it makes it anew."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PIP = """
import os, pathlib, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "checkout.pth").write_text(os.path.abspath("core"))
"""
"""Stands for pip: an editable installation of the checkout, without its dependencies."""

ANOTHER_PYTHON = """#!/bin/sh
case "$2" in *base_prefix*) echo another; exit;; esac
exec {python} "$@"
"""

Setup = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with little in it."""
    checkout = tmp_path / "checkout"
    (checkout / "core/masterworker").mkdir(parents=True)
    (checkout / "core/masterworker/__init__.py").touch()
    (checkout / "pyproject.toml").touch()
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    (tmp_path / "stubs/pip").mkdir(parents=True)
    (tmp_path / "stubs/pip/__main__.py").write_text(PIP)
    return checkout


@pytest.fixture
def setup(checkout: Path, tmp_path: Path) -> Setup:
    """Runs `.ci/setup` of a checkout; the interpreter is ours unless another is asked for."""
    venv = tmp_path / "venv.sh"  # venv without pip, which takes seconds
    python = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    venv.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "-m venv" ] && exec {python} -m venv --without-pip "$3"\n'
        f'exec {python} "$@"\n'
    )
    venv.chmod(0o755)

    def run(checkout: Path = checkout, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [checkout / ".ci/setup"],
            env=os.environ
            | {"PYTHON": str(venv), "VENV": ".venv", "PYTHONPATH": str(tmp_path / "stubs")}
            | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_sound_environment_is_kept(checkout: Path, setup: Setup) -> None:
    """A second run changes nothing and says nothing."""
    assert setup().returncode == 0
    made = (checkout / ".venv/pyvenv.cfg").stat().st_mtime_ns
    again = setup()
    assert (again.returncode, again.stderr) == (0, "")
    assert (checkout / ".venv/pyvenv.cfg").stat().st_mtime_ns == made


def test_another_interpreter_makes_it_anew(checkout: Path, setup: Setup, tmp_path: Path) -> None:
    """`make test PYTHON=...` runs that interpreter, not the one that made the environment."""
    setup()
    (checkout / ".venv/old").touch()
    another = tmp_path / "another.sh"
    another.write_text(ANOTHER_PYTHON.format(python=tmp_path / "venv.sh"))
    another.chmod(0o755)
    done = setup(PYTHON=str(another))
    assert done.returncode == 0, done.stderr
    assert "making .venv anew" in done.stderr
    assert not (checkout / ".venv/old").exists()


@pytest.mark.parametrize("how", ["copied", "upgraded"])
def test_an_environment_that_runs_something_else_is_made_anew(
    checkout: Path, setup: Setup, how: str
) -> None:
    """A copy of a checkout would test the original; an upgraded Python finds no packages."""
    setup()
    if how == "copied":
        copy = shutil.copytree(checkout, checkout.with_name("copy"), symlinks=True)
    else:
        copy = checkout
        (installed,) = (checkout / ".venv/lib").iterdir()
        installed.rename(checkout / ".venv/lib/python3.0")
    done = setup(copy)
    assert done.returncode == 0, done.stderr
    assert "making .venv anew" in done.stderr
    assert setup(copy).stderr == ""


def test_what_cannot_be_made_harms_nothing(checkout: Path, setup: Setup) -> None:
    """A mistyped PYTHON leaves the environment alone, a mistyped VENV the folder of that name."""
    setup()
    done = setup(PYTHON="python3.999")
    assert done.returncode == 1
    assert "no Python 3.11 or later among python3.999" in done.stderr
    assert (checkout / ".venv/bin/python").exists()
    done = setup(VENV="core")
    assert done.returncode == 1
    assert "core is there and is not a virtual environment" in done.stderr
    assert (checkout / "core/masterworker/__init__.py").exists()
