"""The options by which a command is let in. Secrets come from files and variables alone."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from masterworker import BadConfiguration, Credentials, Login, Tls
from masterworker.cli.login import login_options
from masterworker.roles.environment import read_secret


def login(*arguments: object, **variables: str) -> Login:
    """What a command gets that is called with these options and variables."""
    found: list[Login] = []

    @click.command()
    @login_options
    def command(login: Login) -> None:
        found.append(login)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        command.main([*map(str, arguments)], standalone_mode=False)
    return found[0]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with credentials, as it should be."""
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text("alice:secret\n")
    return file


def test_nothing_given() -> None:
    """Without options there are no credentials and no TLS."""
    assert login() == Login()


def test_a_file_wins_over_the_variable(secret: Path) -> None:
    """Credentials come from the file, or else from the variable."""
    others = {"MWCTL_USER_PASSWORD": "bob:other"}
    assert login(**others).credentials == Credentials("bob", "other")
    assert login("--credentials", secret, **others).credentials == Credentials("alice", "secret")


def test_tls_checks_the_host_unless_told_not_to(secret: Path) -> None:
    """All files are passed on, and only the one loud option turns the check off."""
    secret.write_text("pass phrase\n")
    files = ["--tls-ca", "ca", "--tls-cert", "cert", "--tls-key", "key"]
    full = login(*files, "--tls-key-password-file", secret).tls
    assert full == Tls("ca", "cert", "key", "pass phrase", check_hostname=True)
    assert login(*files, MWCTL_TLS_KEY_PASSWORD="it").tls == Tls("ca", "cert", "key", "it")
    loud = login("--tls-ca", "ca", "--tls-insecure-skip-host-check").tls
    assert loud == Tls("ca", check_hostname=False)


def test_a_certificate_needs_somebody_to_trust() -> None:
    """Options of TLS without --tls-ca are a mistake, not silently no TLS."""
    with pytest.raises(click.UsageError, match="--tls-ca"):
        login("--tls-cert", "cert", "--tls-key", "key")


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o602])
def test_a_file_that_others_can_get_at_is_refused(secret: Path, mode: int) -> None:
    """It says what to do, and does not show the secret."""
    secret.chmod(mode)
    with pytest.raises(BadConfiguration, match=f"chmod 600 {secret}") as refused:
        read_secret(secret)
    assert "alice" not in str(refused.value)


def test_a_group_may_read(secret: Path) -> None:
    """A service's own group may, as for any file in /etc that a service reads."""
    secret.chmod(0o640)
    assert read_secret(secret) == "alice:secret"


@pytest.mark.parametrize("data", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe"])
def test_a_file_without_a_secret_is_refused(secret: Path, data: bytes) -> None:
    """An empty file, one of several lines and one that is no text are told apart from a secret."""
    secret.write_bytes(data)
    with pytest.raises(BadConfiguration, match=str(secret)):
        read_secret(secret)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is named in the message."""
    with pytest.raises(BadConfiguration, match=r"nothing.*No such file"):
        read_secret(tmp_path / "nothing")
