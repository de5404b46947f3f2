"""The product's own log is of no use here: faults are what we are here for."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nothing is logged during a test of the model, and everything again after it."""
    logger = logging.getLogger("masterworker")
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(logging.NOTSET)
