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
    "zk1:2181/prod,zk2:2181/prod": "after the last server: zk1:2181,zk2:2181/prod;",
    "zk1:2181/prod,zk2:2181": "after the last server: zk1:2181,zk2:2181/prod;",
    "zk1:2181/a,zk2:2181/b": "the path must appear only once",
    "zk1:2181/a,b": "the path must appear only once",
    # servers
    "": "it is empty",
    ",": "a server is missing",
    "zk1:2181,": "a server is missing",
    ",zk1:2181": "a server is missing",
    "zk1:2181,,zk2:2181": "a server is missing",
    "/prod": "a server is missing",
    ":2181": "has no host",
    "-zk1:2181": "is not a valid host name or address",
    "zk1..com:2181": "is not a valid host name or address",
    "zk1\\prod:2181": "is not a valid host name or address",
    "zk1;zk2": "is not a valid host name or address",
    "zké:2181": "is not a valid host name or address",
    "z" * 64 + ".com": "is not a valid host name or address",  # getaddrinfo raises UnicodeError
    "z." * 127: "is not a valid host name or address",
    ",".join(["zk"] * (MOST_SERVERS + 1)): "65 servers",
    # ports
    "zk1:": "needs a port from 1 to 65535",
    "zk1:0": "needs a port from 1 to 65535",
    "zk1:65536": "needs a port from 1 to 65535",
    "zk1:-1": "needs a port from 1 to 65535",
    "zk1:+1": "needs a port from 1 to 65535",
    "zk1:1_0": "needs a port from 1 to 65535",
    "zk1:client": "needs a port from 1 to 65535",
    "zk1:٣": "needs a port from 1 to 65535",
    "zk1:" + "9" * 5_000: "needs a port from 1 to 65535",
    "zk1?2181": "is not a valid host name or address",
    # IPv6
    "::1": "put IPv6 addresses in brackets",
    "::1:2181": "put IPv6 addresses in brackets",
    "[::1:2181": "has no closing bracket",
    "::1]:2181": "put IPv6 addresses in brackets",
    "[::1]2181": "after the closing bracket",
    "[::1]:": "needs a port from 1 to 65535",
    "[::1]:0": "needs a port from 1 to 65535",
    "[]:2181": "not an IPv6 address",
    "[zk1]:2181": "not an IPv6 address",
    # what does not belong
    "zk1:2181 ,zk2:2181": "spaces or control characters",
    " zk1:2181": "spaces or control characters",
    "zk1:2181\n": "spaces or control characters",
    "zk1:2181/pr\tod": "spaces or control characters",
    "zk1:2181/\x00": "spaces or control characters",
    "zk1:2181/\u202e": "spaces or control characters",
    "zk1:2181\ud800": "spaces or control characters",
    "zk://zk1:2181": "must not contain a scheme",
    "http://zk1:2181/prod": "must not contain a scheme",
    "zk1:2181,zk://zk2:2181": "must not contain a scheme",
    "user:secret@zk1:2181": "must not contain a user or password",
    # the path
    "zk1:2181/prod/": "an extra '/'",
    "zk1:2181//": "an extra '/'",
    "zk1:2181//prod": "an extra '/'",
    "zk1:2181/prod//x": "an extra '/'",
    "zk1:2181/.": "must not be '.' or '..'",
    "zk1:2181/prod/../x": "must not be '.' or '..'",
    "zk1:2181/pröd": "printable ASCII",
    "zk1:2181/" + "x" * 201: "1 to 200 printable",
    "zk1:2181" + "/x" * MAX_CHROOT: "2,000 characters",
    "zk1:2181/zookeeper": "is reserved by ZooKeeper",
    "zk1:2181/zookeeper/quota": "is reserved by ZooKeeper",
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
