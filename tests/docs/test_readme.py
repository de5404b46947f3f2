"""The README is true: its commands run as shown, its figures are current, its links lead on."""

from __future__ import annotations

import ast
import hashlib
import re
import socket
import subprocess
import sys
import tomllib
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.docs import pages

README = pages.text(pages.ROOT / "README.md")
FILES = pages.files(README)
DEMO = pages.ROOT / "core" / "masterworker" / "dev" / "demo.py"

MARK = "\x1e"
"""Stands in the script's output before that of each command."""

NOT_RUN = ("make ", ". ", "pip ", "mwctl dev")
"""Commands that set up what the test has set up already, or that the whole tour runs inside."""

RUNS_ON = "mwctl worker "
"""Commands that a reader gives a terminal of their own."""

PREAMBLE = """\
again() {  # until there is a result: a person types more slowly than this script
    for _ in $(seq 100); do
        eval "$1" && return
        [ $? = 6 ] || exit 1
        sleep 0.1
    done
    exit 1
}
"""


def commands() -> list[tuple[str, str]]:
    """The tour's commands, each with the output shown below it."""
    found: list[tuple[str, str]] = []
    for block in pages.blocks(README, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def script() -> str:
    """The tour as one shell script."""
    lines = [PREAMBLE]
    for command, _ in commands():
        lines.append(f"printf '{MARK}'")
        if command.startswith(RUNS_ON):
            lines.append(f"{command} &")
        elif not command.startswith(NOT_RUN):
            lines.append(f"again '{command}'")
    lines.append("kill %1\nwait %1")  # a worker that drains ends with 0
    return "\n".join(lines)


def plain(output: str) -> list[str]:
    """The lines of an output without what differs between runs: ids, times, the machine."""
    output = output.replace(socket.gethostname(), "laptop")
    output = re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", output)
    output = re.sub(r"[0-9a-f]{16}-(\d+)", r"TASK-\1", output)
    output = re.sub(r"-(?:[0-9a-f]{12}|[0-9a-f]{8})\b", "-ID", output)
    output = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "TIME", output)
    output = re.sub(r"\b\d+s\b", "UP", output)
    output = re.sub(r"\b0/\d+ ", "0/SLOTS ", output)
    output = re.sub(r"\b\d{3,}\b", "NUMBER", output)
    return [" ".join(line.split()) for line in output.strip().splitlines()]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the README's files, and with what pip would have written beside them."""
    for name, source in FILES.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = tmp_path / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = project["entry-points"]["masterworker"].items()
    lines = "".join(f"{name} = {module}\n" for name, module in points)
    (info / "entry_points.txt").write_text(f"[masterworker]\n{lines}")
    return tmp_path


@pytest.mark.timeout(300)
def test_the_tour_runs_as_shown(site: Path) -> None:
    """Every command of the tour works, and its output is the one shown."""
    programs = Path(sys.executable).parent
    # The plugin is for the tour's own worker: those of `mwctl dev` start before pip has run.
    installed = ("command", "echo", "python", "read")
    dev = [str(programs / "mwctl"), "dev", "--config=worker.toml"]
    dev += [f"--executor={name}" for name in installed]
    done = subprocess.run(
        [*dev, "--", "bash", "-c", script()],
        cwd=site,
        env={
            "PATH": f"{programs}:/usr/bin:/bin",
            "PYTHONPATH": str(site),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=240,  # a dozen and more processes start, one after another
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = done.stdout.split(MARK)[1:]
    for (command, shown), output in zip_longest(commands(), outputs, fillvalue=("", "")):
        assert plain(str(output)) == plain(shown), f"$ {command}\n{output}\n{done.stderr}"


def test_the_tour_is_one() -> None:
    """The commands were found: a tour of none would prove nothing."""
    words = {word for command, _ in commands() for word in re.findall(r"mwctl (\w+)", command)}
    assert words == {"dev", "submit", "tasks", "status", "audit", "worker"}
    assert sorted(FILES) == ["checksums.py", "pyproject.toml", "shout.py", "worker.toml"]


def test_the_package_holds_its_module() -> None:
    """pyproject.toml builds the very module that it announces and the README has."""
    document = tomllib.loads(FILES["pyproject.toml"])
    modules = document["tool"]["setuptools"]["py-modules"]
    assert modules == list(document["project"]["entry-points"]["masterworker"].values())
    assert {f"{module}.py" for module in modules} < FILES.keys()


def test_normalizing_keeps_what_counts() -> None:
    """What is compared without ids and times is still compared: other words differ."""
    assert plain("09f57e1e77fe9447-1  done") == plain("aaf57e1e77fe9447-1 done")
    assert plain("09f57e1e77fe9447-1  done") != plain("09f57e1e77fe9447-1  failed")
    assert plain("lost 0") != plain("lost 1")


def test_the_digests_shown_are_those_of_the_files(site: Path) -> None:
    """A reader who saves the README's files gets the very digests it shows."""
    (shown,) = (output for command, output in commands() if command == "python checksums.py")
    assert shown.splitlines() == [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.name}"
        for file in sorted(site.glob("*.toml"))
    ]


def test_the_figures_are_those_of_the_campaigns() -> None:
    """The tasks and faults in the README are the sums over all campaigns of docs/reliability.md."""
    reliability = pages.text(pages.DOCS / "reliability.md")
    head = next(line for line in reliability.splitlines() if line.startswith("| | seed"))
    figures = {
        row[0].strip("*"): [int(cell.replace(",", "")) for cell in row[1:]]
        for row in pages.rows(reliability, head)
        if all(cell.replace(",", "").isdigit() for cell in row[1:])
    }
    assert len(figures["lost"]) == head.count("seed")
    tasks, faults = sum(figures["tasks accepted"]), sum(figures["faults injected"])
    lost, twice = sum(figures["lost"]), sum(figures["recorded twice"])
    assert (
        f"**{tasks:,} tasks under {faults:,} injected faults: "
        f"{lost} tasks were lost, and {twice} were recorded twice**"
    ) in " ".join(README.split())


def test_the_demo_is_shown_as_it_speaks() -> None:
    """Each line of the demo's output has the form of something that the demo tells."""
    (shown,) = (block for block in pages.blocks(README, "text") if "kill -9" in block)
    lines = [line.partition(" s  ")[2] for line in shown.splitlines()]
    told = [
        re.compile("".join(_pattern(part) for part in _parts(call.args[0])))
        for call in ast.walk(ast.parse(pages.text(DEMO)))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "tell"
    ]
    assert [line for line in lines if not any(form.fullmatch(line) for form in told)] == []
    assert len(lines) > 10


def _parts(text: ast.expr) -> list[ast.expr]:
    return text.values if isinstance(text, ast.JoinedStr) else [text]


def _pattern(part: ast.expr) -> str:
    """What a part of an f-string looks like once it is filled in."""
    if isinstance(part, ast.Constant) and isinstance(part.value, str):
        return re.escape(part.value)
    return ".+"


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link on the page names a file that is there, and a heading in it."""
    dead = []
    for link in pages.links(pages.text(page)):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in pages.anchors(pages.text(path))):
            dead.append(link)
    assert dead == []


def test_pages_have_links() -> None:
    """The links were found: pages without any would prove nothing."""
    assert {"docs/protocol.md", "CONTRIBUTING.md"} <= set(pages.links(README))
    assert "what-is-not-promised" in pages.anchors(pages.text(pages.DOCS / "protocol.md"))


def test_the_promise_in_its_words() -> None:
    """The promise about execution is given in its own words, everywhere."""
    assert "Execution is at least once; recording is exactly once." in README
    for page in pages.pages():
        assert "exactly-once execution" not in pages.text(page).lower()
