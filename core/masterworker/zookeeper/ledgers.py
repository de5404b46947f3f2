"""Writing a client's ledger from outside the chain of its batches.

A client keeps several batches under way, each expecting the version that the one before it makes,
one above the last. A write from outside that moved the version on by one as well could be taken for
such a predecessor by a batch whose own was refused, and the books would be wrong. So it moves the
version on by more than there can be batches under way.
"""

from __future__ import annotations

from ..words import records
from ..words.limits import CLIENT_WINDOW
from ..words.model import Ledger
from .operations import Set


def write_aside(folder: str, ledger: Ledger, version: int) -> list[Set]:
    """Operations of one `multi` that replace the ledger of this version.

    They move the version on by as many as they are.
    """
    data = records.encode_ledger(ledger)
    return [Set(folder, data, version), *[Set(folder, data)] * CLIENT_WINDOW]
