"""The page for plugin authors, taken at its word: its files are built, and its examples run."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from masterworker import Register, TaskContext
from masterworker.execution.configuration import configure, load_configuration
from masterworker.execution.plugins import Plugins
from masterworker.words.executor import Executor

PAGE = (Path(__file__).parents[2] / "docs" / "writing-an-executor.md").read_text(encoding="utf-8")

MULTILINE = re.DOTALL | re.MULTILINE

FILES = dict(re.findall(r"`(\w+\.\w+)`[^`]*:\n\n```\w+\n(.*?)^```$", PAGE, MULTILINE))
"""The blocks that an introduction with a file's name stands before, by that name."""

SNIPPETS = [
    block
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, MULTILINE)
    if block not in FILES.values()
]
"""The other Python on the page: each a whole plugin's module."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the page's files, and with what pip would have written beside them."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    (group,) = project["entry-points"]
    (entry,) = project["entry-points"][group].items()
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry[0]} = {entry[1]}\n")
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    return tmp_path


def python(site: Path, *arguments: str) -> str:
    """What a Python with `site` on its path prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=site,
        env=os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def registered(source: str) -> dict[str, Executor]:
    """The executors that a module of this source registers."""
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # noqa: S102 - our own page
    executors: dict[str, Executor] = {}

    def register(name: str, run: Any, **settings: Any) -> None:
        executors[name] = Executor(name, run, **settings)

    namespace["masterworker_register_executors"](register)
    return executors


def test_the_page_has_its_files() -> None:
    """The extraction finds what the page promises; without it, nothing below proves anything."""
    assert sorted(FILES) == ["masterworker_wordcount.py", "pyproject.toml", "test_wordcount.py"]
    assert len(SNIPPETS) == 2


def test_the_plugin_is_found_and_runs(site: Path) -> None:
    """The page's plugin is loaded through its entry point, and gives the result the page shows."""
    program = """
from masterworker import TaskContext
from masterworker.execution.loading import load
from masterworker.execution.plugins import Plugins
plugins = Plugins.probe()
(row,) = (row for row in plugins.records if row.name == "wordcount")
print(row.distribution, row.version, row.status, *row.executors)
offer = plugins.executor("wordcount")
run = load(offer.plugin, offer.module)["wordcount"].run
print(run(b"to be or not to be", TaskContext("task-1", "wordcount")).decode())
"""
    assert python(site, "-c", program).splitlines() == [
        "masterworker-wordcount 1.0.0 ok wordcount",
        "6",
    ]


def test_its_test_passes(site: Path) -> None:
    """The test on the page is one, and passes."""
    out = python(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_wordcount.py")
    assert "1 passed" in out


def test_the_package_holds_its_module() -> None:
    """pyproject.toml builds and announces the very module the page has."""
    project = tomllib.loads(FILES["pyproject.toml"])
    (module,) = project["project"]["entry-points"]["masterworker"].values()
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["only-include"] == [f"{module}.py"]
    assert f"{module}.py" in FILES


def test_settings_snippet() -> None:
    """The example of the settings registers what the text around it says."""
    executors = registered(SNIPPETS[0])
    assert executors["upper"].inline
    assert (executors["fetch"].time_limit, executors["fetch"].attempts) == (30, 3)


def test_configuration_snippet(tmp_path: Path) -> None:
    """The page's table is accepted by the page's function, and reaches the task."""
    executors = registered(SNIPPETS[1])
    (table,) = re.findall(r"^```toml\n(\[executors\..*?)^```$", PAGE, MULTILINE)
    path = tmp_path / "worker.toml"
    path.write_text(table)
    config = configure(executors, load_configuration(path))["shout"]
    task = TaskContext("task-1", "shout", config=config)
    assert executors["shout"].run(b"what", task) == b"WHAT?!"


def test_settings_table_is_complete() -> None:
    """The table of settings has every setting that `register` takes, and no other."""
    parameters = inspect.signature(Register.__call__).parameters.values()
    settings = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    table = PAGE.partition("| setting |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == settings


def test_context_table_is_complete() -> None:
    """The table of the context has every field of TaskContext, in its order."""
    table = PAGE.partition("| field |")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == TaskContext.__slots__


def test_the_words_that_must_stand_here() -> None:
    """The promise about execution is given in its own words."""
    assert "Execution is at least once; recording is exactly once." in PAGE
    assert "exactly-once execution" not in PAGE


def test_the_executor_names_it_uses_are_free() -> None:
    """The page's plugin does not collide with an included executor."""
    assert not {"wordcount", "upper", "fetch", "shout"} & set(Plugins.probe().names())
