"""The sealed form of payloads, results and evidence, which ZooKeeper's operator cannot read.

    offset 0   u8         the scheme, 1
           1   12 bytes   a random nonce
          13   bytes      the ciphertext of AES-256-GCM, and its tag of 16 bytes

Each task has a key of its own: one block of HKDF-Expand (RFC 5869) with SHA-256, of the shared key
over the task's id. A shared key can therefore serve any number of tasks: AES-GCM with random nonces
is safe for 2^32 messages of one key (NIST SP 800-38D, 8.3), and a task has only a few. The sealed
data is also bound to its direction and the task's executor, as associated data, so it cannot be
exchanged or reversed. A sealed payload includes the task's options.

The only randomness is from `random`. `cryptography` is imported only when keys are used.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgpack

from . import evidence, limits
from .errors import BadConfiguration, NotAuthorized, Refused, SealBroken
from .model import Attempt

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
"""The length of a key in bytes."""

_SCHEME: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_EVIDENCE: Final = "sealed:"  # the prefix of sealed evidence, which is in base64
_MOST_EVIDENCE: Final = (
    (limits.MAX_DETAIL - len(_EVIDENCE)) // 4 * 3 - len(_SCHEME) - _NONCE_BYTES - _TAG_BYTES
)


class Keys:
    """Keys by id. The first key encrypts; all keys decrypt.

    `random` returns the given number of unpredictable bytes. Raises BadConfiguration if
    `cryptography` is not installed.
    """

    def __init__(self, keys: Mapping[str, bytes], random: Callable[[int], bytes]) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise BadConfiguration(
                f"a key file is given, but encryption is not installed ({error}). Run "
                "pip install 'masterworker[encryption]'"
            ) from None
        self._aead = AESGCM
        self._keys = dict(keys)
        self._random = random
        self.ids = tuple(keys)

    def seal(self, task_id: str, executor: str, key_id: str = "") -> Seal:
        """The seal for this task, with the key of this id, or by default the first key.

        Raises NotAuthorized if the key is missing.
        """
        key_id = key_id or self.ids[0]
        key = self._keys.get(key_id)
        if key is None:
            held = ", ".join(self.ids)
            raise NotAuthorized(
                f"task {task_id} is encrypted with key {key_id!r}, but the key file has only {held}"
            )
        own = hmac.digest(key, b"masterworker " + task_id.encode() + b"\x01", "sha256")
        return Seal(key_id, task_id, executor, self._aead(own), self._random)


class Seal:
    """Seals and opens the data of one task. Opening raises SealBroken. Made by `Keys.seal`."""

    def __init__(
        self,
        key_id: str,
        task_id: str,
        executor: str,
        cipher: AESGCM,
        random: Callable[[int], bytes],
    ) -> None:
        self.key_id = key_id
        self._task_id = task_id
        self._executor = executor
        self._cipher = cipher
        self._random = random

    def payload(self, payload: bytes, options: Mapping[str, str]) -> bytes:
        """Seal a payload together with the task's options."""
        return self._seal("payload", msgpack.packb([dict(options), payload]))

    def open_payload(self, sealed: bytes) -> tuple[bytes, Mapping[str, str]]:
        """Open a sealed payload; return the payload and the options."""
        try:
            options, payload = msgpack.unpackb(self._open("payload", sealed))
            limits.check_options(options)
            return bytes(memoryview(payload)), options
        except (ValueError, TypeError, AttributeError, Refused) as error:
            raise SealBroken(f"the encrypted payload of task {self._task_id} is invalid") from error

    def result(self, result: bytes) -> bytes:
        """Seal a result."""
        return self._seal("result", result)

    def open_result(self, sealed: bytes) -> bytes:
        """Open a sealed result."""
        return self._open("result", sealed)

    def evidence(self, detail: str, number: int) -> str:
        """Truncate and seal an attempt's evidence; `number` is its place in the history."""
        plain = evidence.bounded(detail, _MOST_EVIDENCE).encode()
        return _EVIDENCE + base64.b64encode(self._seal(f"evidence {number}", plain)).decode()

    def open_history(self, history: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
        """A task's history with its evidence opened. Entries by a master are never sealed."""
        return tuple(
            replace(attempt, detail=self._open_evidence(attempt.detail, number))
            if attempt.detail.startswith(_EVIDENCE)
            else attempt
            for number, attempt in enumerate(history)
        )

    def _open_evidence(self, detail: str, number: int) -> str:
        try:
            sealed = base64.b64decode(detail.removeprefix(_EVIDENCE), validate=True)
            return self._open(f"evidence {number}", sealed).decode(errors="ignore")
        except (ValueError, SealBroken):
            return f"evidence that cannot be decrypted with key {self.key_id!r}"

    def _seal(self, what: str, plain: bytes) -> bytes:
        nonce = self._random(_NONCE_BYTES)
        return _SCHEME + nonce + self._cipher.encrypt(nonce, plain, self._bound_to(what))

    def _open(self, what: str, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] == _SCHEME and len(rest) >= _TAG_BYTES:
                return self._cipher.decrypt(nonce, rest, self._bound_to(what))
        except InvalidTag:
            pass
        raise SealBroken(
            f"the {what} of task {self._task_id} cannot be decrypted with key {self.key_id!r}: it "
            "was altered or encrypted without the key, or this key file has another key with "
            "this id"
        )

    def _bound_to(self, what: str) -> bytes:
        return f"{what}\n{self._executor}".encode()


def conceal(history: tuple[Attempt, ...], key_id: str) -> tuple[Attempt, ...]:
    """A history as shown to a user without the key."""
    concealed = f"encrypted with key {key_id!r}: pass its file with --key-file"
    return tuple(
        replace(attempt, detail=concealed) if attempt.detail.startswith(_EVIDENCE) else attempt
        for attempt in history
    )
