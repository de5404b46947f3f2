"""Writes a client's ledger from outside the client.

A client keeps several batches under way; each expects the version that its predecessor creates, one
above the last. If an outside write also increased the version by one, a batch whose predecessor was
refused could mistake it for that predecessor, and the ledger would be wrong. An outside write
therefore increases the version by more than the maximum number of batches under way.
"""

from __future__ import annotations

from ..words import records
from ..words.limits import CLIENT_WINDOW
from ..words.model import Ledger
from .operations import Set


def write_aside(folder: str, ledger: Ledger, version: int) -> list[Set]:
    """The operations of one `multi` that replace the ledger of this version.

    The version increases by the number of operations.
    """
    data = records.encode_ledger(ledger)
    return [Set(folder, data, version), *[Set(folder, data)] * CLIENT_WINDOW]
