"""`mwctl acl`: permissions in the tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import click

from ..words.access import Identities, check_identity, letters
from ..words.errors import NotAuthorized
from ..words.hosts import parse
from ..words.login import Login
from ..zookeeper.acls import identify
from ..zookeeper.lockdown import Listed, Lockdown
from .command import Group, hosts_option
from .login import login_options
from .output import format_option, say, table, write_document
from .reading import Needs, reading

F = TypeVar("F", bound=Callable[..., Any])


@click.group(
    cls=Group,
    examples=[
        "mwctl acl id --credentials operator.secret",
        "mwctl acl init --master x509:CN=master --worker x509:CN=worker --client x509:CN=alice",
        "mwctl acl show",
    ],
)
def acl() -> None:
    """Set and show permissions in ZooKeeper.

    docs/security.md lists all permissions, and explains step by step how to lock a cluster down.
    """


def _identities(name: str, text: str, *, required: bool) -> Callable[[F], F]:
    return click.option(
        f"--{name}",
        f"{name}s",
        multiple=True,
        required=required,
        metavar="ID",
        help=f"{text}: digest:USER:HASH or x509:NAME; repeatable.",
    )


@acl.command(
    "init",
    examples=[
        "mwctl acl init --credentials operator.secret --master digest:master:0DPiKu... \\",
        "    --worker digest:worker:kXg2Zz... --client digest:alice:vPq1Nc...",
        "mwctl acl init --tls-ca ca.pem --tls-cert op.crt --tls-key op.key \\",
        "    --master x509:CN=master --worker x509:CN=worker --client x509:CN=alice",
    ],
)
@hosts_option
@login_options
@_identities("master", "An identity that masters have", required=True)
@_identities("worker", "An identity that workers have", required=True)
@_identities("client", "An identity that clients have", required=True)
@_identities("operator", "An identity that may do everything  [default: yours]", required=False)
def init(
    hosts: str,
    login: Login,
    masters: Sequence[str],
    workers: Sequence[str],
    clients: Sequence[str],
    operators: Sequence[str],
) -> None:
    """Lock the tree down: give each znode the access list it should have.

    You can run it again, also while the cluster works: identities that you no longer name lose
    their rights. It reports what it changed. Restart masters and workers afterwards, unless you
    changed only clients.
    """
    for identity in (*masters, *workers, *clients, *operators):
        check_identity(identity)
    with reading(hosts, login, Needs.NOTHING) as session:
        me = identify(session, login)
        who = Identities(tuple(masters), tuple(workers), tuple(clients), tuple(operators) or (me,))
        changed, denied = Lockdown(session).lock(who, me)
    for kind, count in Counter(one.kind for one in changed).items():
        click.echo(f"{kind}: {count:,} changed")
    if not changed and not denied:
        click.echo("every znode had the access list it should have")
    if not operators:
        say(f"the operator is you, {me}")
    if denied:
        raise NotAuthorized(
            f"{len(denied):,} znodes keep even operators out, {denied[0].path} the first: whoever "
            "made them chose such a list. All others are as they should be. Delete these with "
            "`deleteall` of zkCli.sh, as ZooKeeper's super user (superDigest) where it is refused"
        )


@acl.command("show", examples=["mwctl acl show", "mwctl acl show -o json | jq .deviating"])
@hosts_option
@login_options
@format_option
@click.pass_context
def show(ctx: click.Context, hosts: str, login: Login, form: str) -> None:
    """Show the permissions stored in ZooKeeper, and whether they are as they should be.

    This command is for operators. The exit code is 1 if the tree is open, or if a znode has a wrong
    access list; the output says which. Permissions are c(reate), d(elete), r(ead), w(rite) and
    a(dmin); the first two apply to a znode's children.
    """
    with reading(hosts, login, Needs.SOME) as session:
        lockdown = Lockdown(session)
        who = lockdown.who()
        if who is not None and identify(session, login) not in who.operator:
            raise NotAuthorized("only an operator can read every access list: you are none")
        walked = list(lockdown.walk(who or Identities()))
    wrong = [one for one in walked if not one.sound]
    if form == "table":
        _show(who, walked, wrong)
    else:
        write_document(_document(who, walked, wrong), form)
    if who is None or wrong:
        ctx.exit(1)


def _document(
    who: Identities | None, walked: Iterable[Listed], wrong: Iterable[Listed]
) -> dict[str, Any]:
    def roles(one: Identities) -> dict[str, list[str]]:
        return {name: list(getattr(one, name)) for name in Identities.__slots__}

    return {
        "locked": who is not None,
        "identities": roles(who or Identities()),
        "lists": {one.path: _lettered(one.found) for one in walked},
        "deviating": [
            {"path": one.path, "found": _lettered(one.found), "wanted": _lettered(one.wanted)}
            for one in wrong
        ],
    }


def _lettered(entries: dict[str, int]) -> dict[str, str]:
    return {identity: letters(granted) for identity, granted in entries.items()}


def _show(who: Identities | None, walked: Sequence[Listed], wrong: Sequence[Listed]) -> None:
    if who is None:
        click.echo("The tree is open: everybody may do everything. See `mwctl acl init --help`.")
        return
    rows = [
        {"path": one.path, "identity": identity, "may": letters(granted)}
        for one in walked
        if one.path == one.kind  # the folders; below them lies too much to be shown
        for identity, granted in one.found.items()
    ]
    for line in table(rows, ["path", "identity", "may"]):
        click.echo(line)
    for kind, count in Counter(one.kind for one in walked if one.path != one.kind).items():
        click.echo(f"{kind}: {count:,} znodes")
    click.echo("")
    if not wrong:
        click.echo("Everything is as it should be.")
    for one in wrong:
        found, wanted = _lettered(one.found), _lettered(one.wanted)
        click.echo(f"deviates: {one.path} has {found}, and should have {wanted}")


@acl.command(
    "id",
    examples=[
        "mwctl acl id --credentials alice.secret",
        "mwctl acl id --hosts zk1:2281 --tls-ca ca.pem --tls-cert alice.crt --tls-key alice.key",
    ],
)
@hosts_option
@login_options
def show_id(hosts: str, login: Login) -> None:
    """Print the identity by which access lists know you.

    For credentials, it is computed locally. For a certificate, ZooKeeper is asked.
    """
    if login.credentials is not None:
        click.echo(login.credentials.id)
        return
    servers = str(replace(parse(hosts), chroot=""))  # below the chroot, we may be unwelcome
    with reading(servers, login, Needs.NOTHING) as session:
        me = identify(session, login)
    if not me:
        raise NotAuthorized(
            "you are nobody to ZooKeeper: give --credentials, or --tls-cert and --tls-key at a "
            "server whose zoo.cfg has authProvider.x509"
        )
    click.echo(me)
