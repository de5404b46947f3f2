"""Names for results in a folder: each once, and none outside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from masterworker.cli.naming import LONGEST, Names

FOLDER = Path("/results")


def test_files_of_the_same_name_get_numbers() -> None:
    """Also where the numbered name is that of another file."""
    names = Names(FOLDER)
    files = ["a/photo.jpg", "photo-2.jpg", "b/photo.jpg", "c/photo.jpg", ".rc", "d/.rc"]
    assert [names.place(Path(file), "id").name for file in files] == [
        "photo.jpg",
        "photo-2.jpg",
        "photo-3.jpg",
        "photo-4.jpg",
        ".rc",
        ".rc-2",
    ]


def test_what_has_no_file_is_named_by_its_task() -> None:
    """Lines and stdin."""
    assert Names(FOLDER).place(None, "8f14e45fceea167a-1") == FOLDER / "8f14e45fceea167a-1"


@pytest.mark.parametrize(
    "name", ["..", ".", "/", "a/..", "../../etc", "\n", "-", os.fsdecode(b"\xff")]
)
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    """However odd it is."""
    assert Names(FOLDER).place(Path(name), "id").parent == FOLDER
    assert Names(FOLDER).place(Path(name), "id").name not in ("", ".", "..")


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "n" * 250 + ".jpg", "n." + "s" * 253])
def test_the_longest_names_stay_long_enough_and_no_longer(name: str) -> None:
    """A number still fits."""
    names = Names(FOLDER)
    places = {names.place(Path(name), "id") for _ in range(12)}
    assert len(places) == 12
    assert all(len(os.fsencode(place.name)) <= LONGEST for place in places)
