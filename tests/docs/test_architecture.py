"""The page on the architecture lists every module and no other; its pictures are sound."""

from __future__ import annotations

import ast
import re
from xml.etree import ElementTree as ET

from tests.docs import pages

CORE = pages.ROOT / "core" / "masterworker"
PAGE = pages.text(pages.DOCS / "architecture.md")


def named() -> set[str]:
    """The modules that the page's tables have a row for."""
    return set(re.findall(r"^\| `([\w/]+\.py)` \|", PAGE, re.MULTILINE))


def modules() -> set[str]:
    """The modules there are; a package's own only if there is more in it than a docstring."""
    return {
        str(path.relative_to(CORE))
        for path in CORE.glob("*/*.py")
        if path.name != "__init__.py" or len(ast.parse(pages.text(path)).body) > 1
    }


def test_every_module_has_its_row() -> None:
    """A module that is added, renamed or removed has to be so on the page too."""
    assert named() == modules()


def test_pictures_are_sound() -> None:
    """The pictures are well-formed, described in words, used, and need no other file."""
    pictures = sorted((pages.DOCS / "pictures").glob("*.svg"))
    shown = {
        (page.parent / link).resolve()
        for page in pages.pages()
        for link in pages.links(pages.text(page))
    }
    assert set(pictures) <= shown
    for picture in pictures:
        source = pages.text(picture)
        root = ET.fromstring(source)  # noqa: S314 - our own file
        assert root.find("{http://www.w3.org/2000/svg}desc") is not None, picture
        assert "prefers-color-scheme: dark" in source, picture
        assert re.findall(r"https?://[^\"]+|@import|href", source) == ["http://www.w3.org/2000/svg"]
