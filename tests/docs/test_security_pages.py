"""The pages on executors' bounds and on encryption, held against the code."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from masterworker.execution.sandbox import LIMITS, Sandbox
from masterworker.roles.keyfile import load_keys
from masterworker.words import limits
from masterworker.words.sealing import Keys
from tests.docs import pages

SANDBOX = pages.text(pages.DOCS / "sandbox.md")
ENCRYPTION = pages.text(pages.DOCS / "encryption.md")


def test_every_limit_is_described() -> None:
    """The table of limits has each that can be set, and no other."""
    shown = {row[0] for row in pages.rows(SANDBOX, "| Name | What | One that exceeds it |")}
    assert {name for names in shown for name in names.split(", ")} == LIMITS.keys()


def test_the_variables_named_are_given() -> None:
    """What the page says that every child sees."""
    (sentence,) = re.findall(
        r"A small environment\*\*: (.*?) and\s+the variables", SANDBOX, re.DOTALL
    )
    named = [name.replace("*", "ALL") for name in re.findall(r"`([A-Z_*]+)`", sentence)]
    assert len(named) == 8
    assert all(Sandbox()._is_given(name) for name in named)


def test_the_key_file_shown_is_one(tmp_path: Path) -> None:
    """The example is accepted as it stands, and the bounds on the page are the code's."""
    (example,) = re.findall(r"^    # ID KEY.*?\n\n", ENCRYPTION, re.DOTALL | re.MULTILINE)
    file = tmp_path / "keys"
    file.touch(0o600)
    file.write_text(textwrap.dedent(example))
    assert load_keys(file).ids == ("2026-11-22-9f3a",)
    assert f"up to {limits.MAX_KEYS}" in ENCRYPTION
    assert f"up to {limits.MAX_KEY_ID} letters" in ENCRYPTION


def test_sealing_costs_the_bytes_it_says() -> None:
    """33 to 36 for a payload, 29 for a result."""
    seal = Keys({"k": bytes(32)}, bytes).seal("t-1", "echo")
    assert len(seal.result(b"")) == 29
    for size in (0, 100, 10_000, limits.MAX_PAYLOAD):
        assert 33 <= len(seal.payload(bytes(size), {})) - size <= 36
    assert "grows by 33 to 36 bytes and its options, a result by 29" in " ".join(ENCRYPTION.split())
