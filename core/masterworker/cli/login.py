"""The options by which a command is let into ZooKeeper, turned into one `login`.

No secret is ever an option, since everyone on the machine can read a command line. It comes from a
file that others cannot read, or from the environment.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from ..roles.environment import KEY_PASSWORD, USER_PASSWORD, make_login
from .sections import ConnectionOption

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
        if tls_ca is None and (tls_cert or tls_key or tls_insecure_skip_host_check):
            raise click.UsageError("TLS needs --tls-ca, the authorities to trust")
        login = make_login(
            credentials=credentials,
            tls_ca=tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_key_password_file=tls_key_password_file,
            check_hostname=not tls_insecure_skip_host_check,
        )
        return function(*args, login=login, **others)

    for option in reversed(OPTIONS):
        with_login = option(with_login)
    return with_login
