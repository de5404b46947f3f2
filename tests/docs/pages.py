"""The documentation as tests read it: its pages, their code blocks, headings and links."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="([\w-]+)"></a>')
_EVIDENCE = re.compile(r'^- <a id="([\w-]+)"></a>\*\*\w+\*\*: (.+)$', re.MULTILINE)
_TESTS = re.compile(r"\[[\w./]+\]\(\.\./(tests/[\w/]+\.py)\): ((?:`\w+`(?:, )?)+)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    """Every page of the documentation."""
    return sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])


def text(path: Path) -> str:
    """A page as it stands."""
    return path.read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The page's code blocks in this language."""
    return [block for found, block in _FENCE.findall(page) if found == language]


def files(page: str) -> dict[str, str]:
    """The code blocks that a line ending in a file's name (`name`:) stands before, by that name."""
    return dict(
        re.findall(r"`([\w.]+\.\w+)`:\n\n```\w+\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    )


def links(page: str) -> list[str]:
    """Where the page's links and pictures lead, except to other sites."""
    targets = _LINK.findall(_FENCE.sub("", page))
    return [target for target in targets if "://" not in target]


def anchors(page: str) -> set[str]:
    """The anchors of a page: those GitHub makes for its headings, and those it sets itself."""
    plain = _FENCE.sub("", page)
    return set(_ANCHOR.findall(plain)) | {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(plain)
    }


def evidence(page: str) -> dict[str, str]:
    """The items of a page's list of tests, by the anchor to which the tables link."""
    return dict(_EVIDENCE.findall(page))


def named_tests(item: str) -> list[tuple[str, str]]:
    """The tests that an item of such a list names: each one's file and function.

    Raises ValueError if there is anything else in the item.
    """
    if not re.fullmatch(rf"(?:{_TESTS.pattern}(?:; )?)+", item):
        raise ValueError(f"not a list of tests: {item}")
    return [
        (file, name) for file, names in _TESTS.findall(item) for name in re.findall(r"\w+", names)
    ]


def defines(file: str, name: str) -> bool:
    """Whether a Python file of the repository defines this function at its top level."""
    module = ast.parse(text(ROOT / file))
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in module.body)


def rows(page: str, head: str) -> Iterator[list[str]]:
    """The cells of the table that begins with the line `head`, without their backticks."""
    lines = page.partition(head + "\n")[2].splitlines()[1:]
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
