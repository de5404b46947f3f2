"""The options by which a command is let into ZooKeeper, turned into one `login`.

No secret is ever an option, since everyone on the machine can read a command line. It comes from a
file that others cannot read, or from the environment.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from ..words.errors import BadConfiguration
from ..words.login import Credentials, Login, Tls
from .sections import ConnectionOption

USER_PASSWORD: Final = "MWCTL_USER_PASSWORD"  # noqa: S105 - the variable's name
"""The environment variable that can hold `user:password` itself."""

KEY_PASSWORD: Final = "MWCTL_TLS_KEY_PASSWORD"  # noqa: S105 - the variable's name
"""The environment variable that can hold the password of the TLS key."""

MOST: Final = 4_096
"""Characters of a secret."""

_FILE: Final = click.Path(path_type=Path)

OPTIONS: Final = (
    click.option(
        "--credentials",
        cls=ConnectionOption,
        type=_FILE,
        metavar="FILE",
        help="A file with user:password that others cannot read; "
        f"{USER_PASSWORD} can hold the text itself.",
    ),
    click.option(
        "--tls-ca",
        cls=ConnectionOption,
        type=_FILE,
        metavar="FILE",
        help="Use TLS, and trust only servers signed by an authority in this PEM file.",
    ),
    click.option(
        "--tls-cert",
        cls=ConnectionOption,
        type=_FILE,
        metavar="FILE",
        help="The client certificate, a PEM file, for servers that ask for one.",
    ),
    click.option(
        "--tls-key",
        cls=ConnectionOption,
        type=_FILE,
        metavar="FILE",
        help="Its key, a PEM file.",
    ),
    click.option(
        "--tls-key-password-file",
        cls=ConnectionOption,
        type=_FILE,
        metavar="FILE",
        help=f"A file with the key's password, if it is encrypted; {KEY_PASSWORD} can hold the "
        "password itself.",
    ),
    click.option(
        "--tls-insecure-skip-host-check",
        cls=ConnectionOption,
        is_flag=True,
        help="Accept a server whose certificate names another host.",
    ),
)


def login_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options; its function gets `login`. Raises BadConfiguration."""

    @functools.wraps(function)
    def with_login(
        *args: Any,
        credentials: Path | None,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        tls_key_password_file: Path | None,
        tls_insecure_skip_host_check: bool,
        **others: Any,
    ) -> Any:
        text = _secret(credentials, USER_PASSWORD)
        if tls_ca is None and (tls_cert or tls_key or tls_insecure_skip_host_check):
            raise click.UsageError("TLS needs --tls-ca, the authorities to trust")
        tls = None
        if tls_ca is not None:
            tls = Tls(
                ca=str(tls_ca),
                cert=str(tls_cert or ""),
                key=str(tls_key or ""),
                key_password=_secret(tls_key_password_file, KEY_PASSWORD),
                check_hostname=not tls_insecure_skip_host_check,
            )
        login = Login(Credentials.parse(text) if text else None, tls)
        return function(*args, login=login, **others)

    for option in reversed(OPTIONS):
        with_login = option(with_login)
    return with_login


def _secret(file: Path | None, variable: str) -> str:
    """A secret from its file, else from the environment, else nothing."""
    return os.environ.get(variable, "") if file is None else read_secret(file)


def read_secret(file: Path) -> str:
    """The one line of a file that nobody beyond its owner and its group can read.

    Raises BadConfiguration, which never shows what stands in it.
    """
    try:
        with file.open(encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(MOST).strip("\r\n")
    except OSError as error:
        raise BadConfiguration(f"cannot read the secret in {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadConfiguration(f"the secret in {file} is not text in UTF-8") from None
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise BadConfiguration(
            f"others can get at the secret in {file}: run `chmod 600 {file}`, and change the secret"
        )
    if not text or "\n" in text:
        raise BadConfiguration(f"{file} must hold one line, the secret")
    return text
