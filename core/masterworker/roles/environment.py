"""Connection settings from environment variables, the same for `mwctl` and for programs.

Each connection option of `mwctl` can be given by a variable: MWCTL_ and the option's name. A Client
reads them for arguments that are not given.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..words.errors import BadConfiguration
from ..words.login import Credentials, Login, Tls

DEFAULT_HOSTS: Final = "127.0.0.1:2181"
"""The default address of ZooKeeper."""

HOSTS: Final = "MWCTL_HOSTS"
CREDENTIALS: Final = "MWCTL_CREDENTIALS"
TLS_CA: Final = "MWCTL_TLS_CA"
TLS_CERT: Final = "MWCTL_TLS_CERT"
TLS_KEY: Final = "MWCTL_TLS_KEY"
TLS_KEY_PASSWORD_FILE: Final = "MWCTL_TLS_KEY_PASSWORD_FILE"  # noqa: S105 - the variable's name
TLS_SKIP_HOST_CHECK: Final = "MWCTL_TLS_INSECURE_SKIP_HOST_CHECK"
KEY_FILE: Final = "MWCTL_KEY_FILE"

USER_PASSWORD: Final = "MWCTL_USER_PASSWORD"  # noqa: S105 - the variable's name
"""The environment variable that can hold `user:password` itself."""

KEY_PASSWORD: Final = "MWCTL_TLS_KEY_PASSWORD"  # noqa: S105 - the variable's name
"""The environment variable that can hold the password of the TLS key."""

MOST: Final = 4_096
"""Maximum length of a secret, in characters."""

_TRUE: Final = ("1", "true", "t", "yes", "y", "on")
_FALSE: Final = ("", "0", "false", "f", "no", "n", "off")


def hosts() -> str:
    """The ZooKeeper servers, and the chroot of the cluster."""
    return os.environ.get(HOSTS) or DEFAULT_HOSTS


def key_file() -> str | None:
    """The file with the encryption keys, if any."""
    return os.environ.get(KEY_FILE) or None


def login() -> Login:
    """The login from the environment. Raises BadConfiguration."""
    given = os.environ
    return make_login(
        credentials=_path(given, CREDENTIALS),
        tls_ca=_path(given, TLS_CA),
        tls_cert=_path(given, TLS_CERT),
        tls_key=_path(given, TLS_KEY),
        tls_key_password_file=_path(given, TLS_KEY_PASSWORD_FILE),
        check_hostname=not _flag(given, TLS_SKIP_HOST_CHECK),
    )


def make_login(
    *,
    credentials: Path | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_key_password_file: Path | None,
    check_hostname: bool,
) -> Login:
    """A login from the given files; a secret without a file may be in the environment.

    Raises BadConfiguration.
    """
    text = _secret(credentials, USER_PASSWORD)
    tls = None
    if tls_ca is not None:
        tls = Tls(
            ca=str(tls_ca),
            cert=str(tls_cert or ""),
            key=str(tls_key or ""),
            key_password=_secret(tls_key_password_file, KEY_PASSWORD),
            check_hostname=check_hostname,
        )
    elif tls_cert or tls_key or not check_hostname:
        raise BadConfiguration(
            f"the certificates to trust are missing: for TLS, set --tls-ca or {TLS_CA}"
        )
    return Login(Credentials.parse(text) if text else None, tls)


def _path(given: Mapping[str, str], variable: str) -> Path | None:
    text = given.get(variable)
    return Path(text) if text else None


def _flag(given: Mapping[str, str], variable: str) -> bool:
    text = given.get(variable, "").strip().lower()
    if text not in _TRUE + _FALSE:
        raise BadConfiguration(f"{variable}={text!r:.100}: expected true or false")
    return text in _TRUE


def _secret(file: Path | None, variable: str) -> str:
    """A secret from its file, else from the environment, else empty."""
    return os.environ.get(variable, "") if file is None else read_secret(file)


def read_secret(file: Path) -> str:
    """The single line of a file that only its owner and group can read.

    Raises BadConfiguration, which never shows the file's content.
    """
    try:
        with file.open(encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(MOST).strip("\r\n")
    except OSError as error:
        raise BadConfiguration(f"cannot read the secret in {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadConfiguration(f"the secret in {file} is not UTF-8 text") from None
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise BadConfiguration(
            f"others can read the secret in {file}: run `chmod 600 {file}`, and change the secret"
        )
    if not text or "\n" in text:
        raise BadConfiguration(f"{file} must contain exactly one line, the secret")
    return text
