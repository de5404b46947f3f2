"""A session for commands that only look: they never write, not even a folder that is missing."""

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
    """A session that is started, where the hosts string leads to a cluster.

    Raises Unavailable if it does not, and also if the session breaks while it is used.
    """
    session = Session(hosts, login=login)
    patience = CLOSE_TIMEOUT
    session.start()
    try:
        if needs is not Needs.NOTHING:
            tree.require(session, incomplete=needs is Needs.SOME)
        yield session
    except (ConnectionLost, SessionLost) as error:
        raise Unavailable(f"ZooKeeper at {hosts}: {error}; ask again") from error
    except KeyboardInterrupt:
        patience = 0.5  # ZooKeeper may be what was waited for
        raise
    finally:
        session.close(patience)
