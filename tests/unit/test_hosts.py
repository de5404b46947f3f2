"""The hosts string: what it says, and how a malformed one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masterworker import Client
from masterworker.cli import main
from masterworker.words.errors import BadConfiguration
from masterworker.words.hosts import MAX_CHROOT, MOST_SERVERS, Hosts, parse
from masterworker.zookeeper.session import Session
from tests.unit import strategies  # noqa: F401 - sets the profile

RIGHT = "zk1:2181,zk2:2181/production"

GOOD = {
    "zk1:2181": "zk1:2181",
    "zk1": "zk1:2181",
    "zk1:2181/": "zk1:2181",
    "zk1,zk2:2182": "zk1:2181,zk2:2182",
    "zk1:2181,zk2:2181/prod": "zk1:2181,zk2:2181/prod",
    "127.0.0.1:1/a/b.c/d_e-f": "127.0.0.1:1/a/b.c/d_e-f",
    "zk-1.example.com.:65535/..x": "zk-1.example.com.:65535/..x",
    "my_zk_1:2181": "my_zk_1:2181",
    "[::1]:2181": "[::1]:2181",
    "[::1]": "[::1]:2181",
    "[fe80::1%eth0]:2181,[::1]:2182/x": "[fe80::1%eth0]:2181,[::1]:2182/x",
    "zk1:2181/zookeepers": "zk1:2181/zookeepers",
}

BAD = {
    # the path, in the midst or repeated
    "zk1:2181/prod,zk2:2181/prod": "behind the last server: zk1:2181,zk2:2181/prod;",
    "zk1:2181/prod,zk2:2181": "behind the last server: zk1:2181,zk2:2181/prod;",
    "zk1:2181/a,zk2:2181/b": "the path stands once",
    "zk1:2181/a,b": "the path stands once",
    # servers
    "": "it is empty",
    ",": "a server's name is missing",
    "zk1:2181,": "a server's name is missing",
    ",zk1:2181": "a server's name is missing",
    "zk1:2181,,zk2:2181": "a server's name is missing",
    "/prod": "a server's name is missing",
    ":2181": "names no host",
    "-zk1:2181": "not the name or address of a host",
    "zk1..com:2181": "not the name or address of a host",
    "zk1\\prod:2181": "not the name or address of a host",
    "zk1;zk2": "not the name or address of a host",
    "zké:2181": "not the name or address of a host",
    "z" * 64 + ".com": "not the name or address of a host",  # getaddrinfo raises UnicodeError
    "z." * 127: "not the name or address of a host",
    ",".join(["zk"] * (MOST_SERVERS + 1)): "65 servers",
    # ports
    "zk1:": "no port from 1 to 65535",
    "zk1:0": "no port from 1 to 65535",
    "zk1:65536": "no port from 1 to 65535",
    "zk1:-1": "no port from 1 to 65535",
    "zk1:+1": "no port from 1 to 65535",
    "zk1:1_0": "no port from 1 to 65535",
    "zk1:client": "no port from 1 to 65535",
    "zk1:٣": "no port from 1 to 65535",
    "zk1:" + "9" * 5_000: "no port from 1 to 65535",
    "zk1?2181": "not the name or address of a host",
    # IPv6
    "::1": "an IPv6 address stands in brackets",
    "::1:2181": "an IPv6 address stands in brackets",
    "[::1:2181": "lacks the bracket",
    "::1]:2181": "an IPv6 address stands in brackets",
    "[::1]2181": "stands behind the bracket",
    "[::1]:": "no port from 1 to 65535",
    "[::1]:0": "no port from 1 to 65535",
    "[]:2181": "not an IPv6 address",
    "[zk1]:2181": "not an IPv6 address",
    # what does not belong
    "zk1:2181 ,zk2:2181": "blanks or control characters",
    " zk1:2181": "blanks or control characters",
    "zk1:2181\n": "blanks or control characters",
    "zk1:2181/pr\tod": "blanks or control characters",
    "zk1:2181/\x00": "blanks or control characters",
    "zk1:2181/\u202e": "blanks or control characters",
    "zk1:2181\ud800": "blanks or control characters",
    "zk://zk1:2181": "no scheme",
    "http://zk1:2181/prod": "no scheme",
    "zk1:2181,zk://zk2:2181": "no scheme",
    "user:secret@zk1:2181": "no user and no password",
    # the path
    "zk1:2181/prod/": "a '/' too many",
    "zk1:2181//": "a '/' too many",
    "zk1:2181//prod": "a '/' too many",
    "zk1:2181/prod//x": "a '/' too many",
    "zk1:2181/.": "neither '.' nor '..'",
    "zk1:2181/prod/../x": "neither '.' nor '..'",
    "zk1:2181/pröd": "printable ASCII",
    "zk1:2181/" + "x" * 201: "1 to 200 printable",
    "zk1:2181" + "/x" * MAX_CHROOT: "2,000 characters",
    "zk1:2181/zookeeper": "belongs to ZooKeeper itself",
    "zk1:2181/zookeeper/quota": "belongs to ZooKeeper itself",
}


@pytest.mark.parametrize(("text", "same"), GOOD.items())
def test_a_hosts_string_is_understood(text: str, same: str) -> None:
    """Ports that are left out are 2181; what comes out is a hosts string again."""
    hosts = parse(text)
    assert str(hosts) == same
    assert parse(str(hosts)) == hosts
    session = Session(text)
    assert session._kazoo.hosts == list(hosts.servers)
    assert session.chroot == hosts.chroot


@pytest.mark.parametrize(("text", "why"), BAD.items())
def test_a_malformed_one_is_refused_with_the_right_form(text: str, why: str) -> None:
    """The error quotes it, says what is wrong, and shows how it should be."""
    with pytest.raises(BadConfiguration) as caught:
        parse(text)
    message = str(caught.value)
    assert why in message
    assert RIGHT in message
    assert message.isprintable()
    assert len(message) < 1_000
    assert "secret" not in message
    assert caught.value.exit_code == 78


@given(st.text(st.sampled_from("zk1:,/[].@ \n-") | st.characters(), max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """Nothing else is raised, and what is understood says the same when written again."""
    try:
        hosts = parse(text)
    except BadConfiguration:
        return
    assert isinstance(hosts, Hosts)
    assert parse(str(hosts)) == hosts


@pytest.mark.parametrize(
    "command",
    [["status"], ["tasks", "list"], ["audit"], ["master"], ["submit", "--payload", "/dev/null"]],
)
def test_every_command_refuses_it(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it comes from, the command ends at once with exit code 78."""
    wrong = "zk1:2181/prod,zk2:2181/prod"
    assert main([*command, "--hosts", wrong]) == 78
    assert "zk1:2181,zk2:2181/prod;" in capsys.readouterr().err
    monkeypatch.setenv("MWCTL_HOSTS", wrong)
    assert main(command) == 78


def test_a_client_refuses_it() -> None:
    """At once, not in its thread."""
    with pytest.raises(BadConfiguration, match="zk1:2181,zk2:2181/prod;"):
        Client("zk1:2181/prod,zk2:2181/prod")
