"""A session for read-only commands. They never write, not even to create a missing folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from ..words.errors import ConnectionLost, SessionLost, Unavailable
from ..words.login import Login
from ..zookeeper import tree
from ..zookeeper.session import CLOSE_TIMEOUT, Session


class Needs(Enum):
    """How much of a cluster's tree a command must find."""

    ALL = "all"
    SOME = "some"
    NOTHING = "nothing"


@contextmanager
def reading(hosts: str, login: Login, needs: Needs = Needs.ALL) -> Iterator[Session]:
    """A started session with an existing cluster.

    Raises Unavailable if there is no cluster at `hosts`, or if the session breaks during use.
    """
    session = Session(hosts, login=login)
    patience = CLOSE_TIMEOUT
    session.start()
    try:
        if needs is not Needs.NOTHING:
            tree.require(session, incomplete=needs is Needs.SOME)
        yield session
    except (ConnectionLost, SessionLost) as error:
        raise Unavailable(f"ZooKeeper at {hosts}: {error}. Try again") from error
    except KeyboardInterrupt:
        patience = 0.5  # ZooKeeper itself may be unresponsive
        raise
    finally:
        session.close(patience)
