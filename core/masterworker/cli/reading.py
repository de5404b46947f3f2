"""A session for commands that only look: they never write, not even a folder that is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..words.errors import ConnectionLost, SessionLost, Unavailable
from ..words.login import Login
from ..zookeeper.session import Session


@contextmanager
def reading(hosts: str, login: Login) -> Iterator[Session]:
    """A session that is started. Raises Unavailable, also if it breaks while it is used."""
    session = Session(hosts, login=login)
    session.start()
    try:
        yield session
    except (ConnectionLost, SessionLost) as error:
        raise Unavailable(f"ZooKeeper at {hosts}: {error}; ask again") from error
    finally:
        session.close()
