"""The key file, the only source of encryption keys for clients and workers.

    # masterworker keys: ID KEY, one a line
    2026-11-22-9f3a  mJ0T...44 characters of base64...=

The first key seals new data; all keys open data. To rotate keys, append the new key to every file.
Once all files have it, move it to the first line in the clients' files. Remove the old key when no
task sealed with it is left.
"""

from __future__ import annotations

import binascii
import os
import stat
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Final

from ..words import limits
from ..words.errors import BadConfiguration
from ..words.paths import is_key_id
from ..words.sealing import KEY_BYTES, Keys

_MOST_BYTES: Final = 65_536


def load_keys(file: str | os.PathLike[str]) -> Keys:
    """The keys in a file. Raises BadConfiguration, which never shows a key."""
    try:
        with Path(file).open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(_MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"the key file {file} cannot be read: {error}") from None
    if stat.S_IMODE(mode) & 0o037:  # group read is allowed, for files of a service
        raise BadConfiguration(
            f"others can access the key file {file} (mode {stat.S_IMODE(mode):04o}): run "
            f"`chmod 600 {file}`, and create a new key if another user may have read it"
        )
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            key_id, key = _parse(words, f"{file}:{number}")
            if key_id in keys:
                raise BadConfiguration(f"{file}:{number}: key {key_id!r} appears twice")
            keys[key_id] = key
    if not 1 <= len(keys) <= limits.MAX_KEYS:
        raise BadConfiguration(
            f"the key file {file} has {len(keys)} keys, expected 1 to {limits.MAX_KEYS}: "
            "create one with `mwctl keys new`"
        )
    return Keys(keys, os.urandom)


def new_key(key_id: str = "") -> str:
    """A line for a key file with a new key; its id is made of the date unless given.

    Raises BadConfiguration if the id is invalid.
    """
    key_id = key_id or f"{time.strftime('%Y-%m-%d', time.gmtime())}-{os.urandom(2).hex()}"
    line = f"{key_id}  {b64encode(os.urandom(KEY_BYTES)).decode()}"
    _parse(line.split(), "--id")
    return line


def _parse(words: list[str], where: str) -> tuple[str, bytes]:
    if len(words) != 2 or not is_key_id(words[0]):
        raise BadConfiguration(
            f"{where}: expected ID KEY, the id of 1 to {limits.MAX_KEY_ID} lower-case letters, "
            "digits, '_', '.' and '-'"
        )
    try:
        key = b64decode(words[1], validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise BadConfiguration(
            f"{where}: the key {words[0]!r} is not {KEY_BYTES} bytes in base64: "
            "create one with `mwctl keys new`"
        )
    return words[0], key
