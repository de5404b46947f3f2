"""Certificates for tests: an authority, and what it signs, as PEM files in a folder."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFE = dt.timedelta(days=1)


class Authority:
    """A certificate authority that keeps its files in `folder`; `file` has its certificate."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.file.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))

    def sign(
        self,
        name: str,
        *,
        addresses: Sequence[str] = (),
        expired: bool = False,
        password: str = "",
    ) -> tuple[Path, Path]:
        """Make a key and sign its certificate; the files of both.

        `addresses` are the IP addresses it is for. The key is encrypted if there is a `password`.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), self._name, key.public_key(), expired=expired)
        if addresses:
            names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = self._folder / f"{name}.crt"
        certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        file = self._folder / f"{name}.key"
        encryption = (
            serialization.BestAvailableEncryption(password.encode())
            if password
            else serialization.NoEncryption()
        )
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
            )
        )
        return certificate, file

    def key_store(self, name: str, *, addresses: Sequence[str], expired: bool = False) -> Path:
        """A PEM key store for a ZooKeeper server: its key and its certificate in one file."""
        certificate, key = self.sign(name, addresses=addresses, expired=expired)
        store = self._folder / f"{name}.pem"
        store.write_bytes(key.read_bytes() + certificate.read_bytes())
        return store


def _name(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    expired: bool = False,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * LIFE)
        .not_valid_after(now - LIFE if expired else now + LIFE)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
