"""The authentication and TLS options of commands, combined into one `login`.

No option takes a secret, because every user of the machine can read command lines. Secrets come
from a file that others cannot read, or from the environment.
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
        help="File with user:password, not accessible to others. Alternatively, set "
        f"{USER_PASSWORD} to user:password.",
    ),
    click.option(
        "--tls-ca",
        cls=ConnectionOption,
        type=_FILE,
        metavar="FILE",
        help="Use TLS, and trust only servers with a certificate from a CA in this PEM file.",
    ),
    click.option(
        "--tls-cert",
        cls=ConnectionOption,
        type=_FILE,
        metavar="FILE",
        help="PEM file with the client certificate.",
    ),
    click.option(
        "--tls-key",
        cls=ConnectionOption,
        type=_FILE,
        metavar="FILE",
        help="PEM file with the key of the client certificate.",
    ),
    click.option(
        "--tls-key-password-file",
        cls=ConnectionOption,
        type=_FILE,
        metavar="FILE",
        help="File with the password of an encrypted key. Alternatively, set "
        f"{KEY_PASSWORD} to the password.",
    ),
    click.option(
        "--tls-insecure-skip-host-check",
        cls=ConnectionOption,
        is_flag=True,
        help="Accept server certificates issued for other hosts.",
    ),
)


def login_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add these options to a command; its function gets `login`. Raises BadConfiguration."""

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
            raise click.UsageError("TLS options need --tls-ca, the PEM file of the CAs to trust")
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
