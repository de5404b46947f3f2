"""Checks that a cluster's tree exists at a hosts string, before anything is looked up.

Masters and workers create the tree. All other commands require it: otherwise a typo in the chroot
would look like a healthy cluster without work.
"""

from __future__ import annotations

from ..words import paths
from ..words.errors import ConnectionLost, SessionLost, Unavailable
from .session import Session


def require(session: Session, *, incomplete: bool = False) -> None:
    """Raise Unavailable, naming what to check, if the tree is missing.

    With `incomplete`, a part of the tree is enough.
    """
    try:
        _require(session, incomplete=incomplete)
    except (ConnectionLost, SessionLost) as error:
        raise Unavailable(f"ZooKeeper at {session.hosts} is not answering: {error}") from error


def _require(session: Session, *, incomplete: bool) -> None:
    missing = _missing(session)
    if len(missing) == len(paths.FOLDERS):
        raise Unavailable(_nothing(session))
    if missing and not incomplete:
        raise Unavailable(
            f"the cluster's tree at {session.hosts} is incomplete: {', '.join(missing)} is "
            "missing. Start a master there, which creates it again, and run `mwctl audit`"
        )


def _missing(session: Session) -> list[str]:
    found = session.read(paths.FOLDERS)
    return [path for path, znode in zip(paths.FOLDERS, found, strict=True) if znode is None]


def _nothing(session: Session) -> str:
    chroot = session.chroot
    if chroot and session.read([""])[0] is None:
        what = f"{chroot} does not exist in ZooKeeper"
    else:
        what = f"{chroot or '/'} in ZooKeeper has none of a cluster's folders, such as /tasks"
    return (
        f"no cluster at {session.hosts}: {what}. Check the path at the end of the hosts string "
        "(--hosts, MWCTL_HOSTS); for a new cluster, start a master, which creates the tree"
    )
