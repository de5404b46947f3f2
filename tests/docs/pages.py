"""The documentation as tests read it: its pages, their code blocks, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
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
    """The anchors of a page's headings, as GitHub makes them."""
    plain = _FENCE.sub("", page)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(plain)
    }


def rows(page: str, head: str) -> Iterator[list[str]]:
    """The cells of the table that begins with the line `head`, without their backticks."""
    lines = page.partition(head + "\n")[2].splitlines()[1:]
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
