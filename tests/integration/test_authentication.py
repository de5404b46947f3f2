"""A ZooKeeper that requires its clients to authenticate."""

from __future__ import annotations

from pathlib import Path

import pytest

from masterworker import Client
from masterworker.cli import main
from masterworker.dev.server import ZooKeeperServer
from masterworker.words.errors import NotAuthorized
from masterworker.words.login import Credentials, Login
from masterworker.zookeeper.session import Session

DIGEST = {"enforce.auth.enabled": "true", "enforce.auth.schemes": "digest"}
LOGIN = Login(Credentials("somebody", "secret"))


def test_credentials_are_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Without them every command ends with exit code 77 and says what to give; with them it works.

    The server has enforce.auth.enabled for the scheme digest.
    """
    with ZooKeeperServer(settings=DIGEST) as server:
        for command in (["status"], ["master"], ["worker"]):
            assert main([*command, "--hosts", server.hosts]) == 77
            said = capsys.readouterr().err
            assert "requires its clients to authenticate" in said
            assert "--credentials" in said
        with pytest.raises(NotAuthorized, match="--credentials"):
            Client(server.hosts)
        session = Session(server.hosts, login=LOGIN)
        session.start()
        session.ensure_tree()
        session.close()
        file = tmp_path / "credentials"
        file.write_text("somebody:secret")
        file.chmod(0o600)
        assert main(["status", "--hosts", server.hosts, "--credentials", str(file)]) == 0
