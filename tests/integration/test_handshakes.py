"""A silent connection costs a part of a session's time, and never keeps one alive."""

from __future__ import annotations

import threading
import time

from masterworker.words import paths
from masterworker.zookeeper.operations import Create
from masterworker.zookeeper.session import Session
from tests.faults.proxy import Proxy
from tests.integration.roles import NOISE, TICK
from tests.waiting import eventually

TIMEOUT = 1.5  # seconds
PATIENT = 12.0
"""Seconds; of a session that is to survive a hole of two thirds, and what a busy machine adds."""


def test_handshake_without_an_answer_is_given_up_early(proxy: Proxy, chroot: str) -> None:
    """A server that takes a connection and stays silent is tried again within the timeout."""
    proxy.hold()
    session = Session(proxy.hosts(chroot), timeout=10.0)
    starting = threading.Thread(target=session.start, args=(20.0,))
    began = time.monotonic()
    starting.start()
    try:
        eventually(lambda: proxy.accepted == 2, what="the first try is given up for another")
        assert 1.5 < time.monotonic() - began < 10.0
        proxy.release()
        eventually(lambda: session.connected, what="the next try succeeds")
    finally:
        starting.join()
        session.close()


def test_session_whose_handshakes_all_go_unanswered_ends(
    proxy: Proxy, hosts: str, chroot: str
) -> None:
    """Behind a hole to the client only, reconnecting does not keep the session alive for ever."""
    witness = Session(hosts)
    witness.start()
    session = Session(proxy.hosts(chroot), timeout=TIMEOUT)
    session.start()
    try:
        witness.ensure_tree()
        assert session.commit([Create(paths.MASTER, ephemeral=True)]).wait() is None
        proxy.hold("to_client")
        began = time.monotonic()
        eventually(lambda: session.lost, what="the session is given up")
        gone = lambda: not witness.read([paths.MASTER])[0]  # noqa: E731
        eventually(gone, what="the server ends it, for nobody renews it")
        # Kazoo notices the hole within T, handshakes are sent for T, the last one renews for T.
        assert time.monotonic() - began < 3 * TIMEOUT + TICK + NOISE
    finally:
        session.close(timeout=0.1)
        witness.close()


def test_silence_shorter_than_the_timeout_ends_nothing(proxy: Proxy, hosts: str) -> None:
    """A stall of a good half of the timeout is survived by the same session."""
    session = Session(proxy.hosts(), timeout=PATIENT)
    session.start()
    try:
        identity = session.identity
        proxy.hold()
        eventually(lambda: not session.connected, what="the hole is noticed")
        proxy.release()
        eventually(lambda: session.connected, what="it is connected again")
        assert (session.lost, session.identity) == (False, identity)
    finally:
        session.close()
