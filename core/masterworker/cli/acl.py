"""`mwctl acl`: access control lists in ZooKeeper."""

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
    """Manage access control lists in ZooKeeper.

    docs/security.md lists all permissions and explains step by step how to lock down a cluster.
    """


def _identities(name: str, text: str, *, required: bool, default: str = "") -> Callable[[F], F]:
    return click.option(
        f"--{name}",
        f"{name}s",
        multiple=True,
        required=required,
        metavar="ID",
        help=f"{text}, as digest:USER:HASH or x509:NAME. Repeatable.{default}",
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
@_identities("master", "Identity of masters", required=True)
@_identities("worker", "Identity of workers", required=True)
@_identities("client", "Identity of clients", required=True)
@_identities(
    "operator", "Identity with full access", required=False, default="  [default: your own]"
)
def init(
    hosts: str,
    login: Login,
    masters: Sequence[str],
    workers: Sequence[str],
    clients: Sequence[str],
    operators: Sequence[str],
) -> None:
    """Lock down the cluster: set the correct access list on every znode.

    To change permissions, run the command again with all identities. It is safe on a running
    cluster. Identities that you omit lose their access. The command reports its changes. Restart
    masters and workers afterwards, unless you changed only clients.
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
        click.echo("no changes: all access lists are correct")
    if not operators:
        say(f"the operator is your own identity, {me}")
    if denied:
        raise NotAuthorized(
            f"cannot change the access lists of {len(denied):,} znodes, such as {denied[0].path}: "
            "their creators denied access even to operators. All other access lists are correct. "
            "Delete these znodes with `deleteall` in zkCli.sh. If ZooKeeper refuses, log in as its "
            "super user (superDigest)"
        )


@acl.command("show", examples=["mwctl acl show", "mwctl acl show -o json | jq .deviating"])
@hosts_option
@login_options
@format_option
@click.pass_context
def show(ctx: click.Context, hosts: str, login: Login, form: str) -> None:
    """Show and verify all access lists.

    Only operators can run this command. The exit code is 1 if access is unrestricted, or if a znode
    has an incorrect access list. Permissions are c(reate), d(elete), r(ead), w(rite) and a(dmin).
    Create and delete apply to a znode's children.
    """
    with reading(hosts, login, Needs.SOME) as session:
        lockdown = Lockdown(session)
        who = lockdown.who()
        if who is not None and identify(session, login) not in who.operator:
            raise NotAuthorized(
                "only operators can read all access lists, and your identity is not an operator: "
                "use the credentials or certificate of one"
            )
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
        click.echo(
            "Access is unrestricted: every client of ZooKeeper can read and change everything. "
            "To lock down the cluster, see `mwctl acl init --help`."
        )
        return
    rows = [
        {"path": one.path, "identity": identity, "may": letters(granted)}
        for one in walked
        if one.path == one.kind  # only the folders: they may have millions of children
        for identity, granted in one.found.items()
    ]
    for line in table(rows, ["path", "identity", "may"]):
        click.echo(line)
    for kind, count in Counter(one.kind for one in walked if one.path != one.kind).items():
        click.echo(f"{kind}: {count:,} znodes")
    click.echo("")
    if not wrong:
        click.echo("All access lists are correct.")
    for one in wrong:
        found, wanted = _lettered(one.found), _lettered(one.wanted)
        click.echo(f"incorrect: {one.path} has {found}, expected {wanted}")


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
    """Print your identity as used in access lists.

    With credentials, the identity is computed locally. With a certificate, it comes from ZooKeeper.
    """
    if login.credentials is not None:
        click.echo(login.credentials.id)
        return
    servers = str(replace(parse(hosts), chroot=""))  # the chroot may not be readable for us
    with reading(servers, login, Needs.NOTHING) as session:
        me = identify(session, login)
    if not me:
        raise NotAuthorized(
            "ZooKeeper does not know your identity: use --credentials, or --tls-cert and --tls-key "
            "with a server whose zoo.cfg sets authProvider.x509"
        )
    click.echo(me)
