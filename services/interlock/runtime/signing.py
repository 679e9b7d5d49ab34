"""Ed25519 signatures: the contract-validator's on grants, an operator's on bundles."""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from interlock.runtime.keyfile import load_key, load_or_create_key, save_key
from interlock_contracts.actions import Grant, effect_key
from interlock_contracts.canonical import digest
from interlock_contracts.failures import FailureCode


class GrantInvalid(Exception):
    """This grant must not be acted on. `code` is grant_invalid or grant_expired."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def key_id_of(public: bytes) -> str:
    """The name of a key: the first 16 hex digits of SHA-256 over its 32 public bytes."""
    return hashlib.sha256(public).hexdigest()[:16]


class SigningKey:
    """The private half; it never shows itself in `repr`, logs or messages."""

    __slots__ = ("_key", "key_id", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()
        self.key_id = key_id_of(self.public)

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is not pickled")

    @property
    def public_text(self) -> str:
        """The public half as base64, for the settings of an executor."""
        return base64.b64encode(self.public).decode()

    @classmethod
    def generate(cls) -> Self:
        """A fresh key that is kept nowhere."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key file; raises as `load_key`."""
        return cls(load_key(path))

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Read a key file, made where there is none; raises as `load_or_create_key`."""
        return cls(load_or_create_key(path))

    def save(self, path: Path) -> None:
        """Keep it in a file where there is none; raises as `save_key`."""
        save_key(path, self._key)

    def sign(self, grant: Grant) -> Grant:
        """The grant with this key's id and its signature."""
        named = grant.model_copy(update={"key_id": self.key_id})
        return named.model_copy(update={"signature": self.signature(named.signed_bytes())})

    def signature(self, signed: bytes) -> str:
        """The signature over these bytes, as base64."""
        return base64.b64encode(self._key.sign(signed)).decode()


class Verifier:
    """Checks signatures by the public keys that are trusted now; several while they rotate."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        """`keys` are raw public keys of 32 bytes."""
        self._keys = {key_id_of(key): Ed25519PublicKey.from_public_bytes(key) for key in keys}

    @classmethod
    def from_text(cls, keys: Iterable[str]) -> Self:
        """From base64 as `SigningKey.public_text` gives it; raises `ValueError`."""
        return cls(base64.b64decode(key, validate=True) for key in keys)

    def verify(self, grant: Grant, *, tool: str, tenant: str, now: datetime) -> None:
        """Return only if this grant lets `tool` run for `tenant` at `now`.

        Whether its epoch is over is looked at when the effect is reserved.

        Raises:
            GrantInvalid: grant_invalid for anything forged, altered or meant for another tool
                or tenant; grant_expired for a good one that is too old.
        """
        if not self.signed(grant.key_id, grant.signature, grant.signed_bytes()):
            raise GrantInvalid(FailureCode.GRANT_INVALID, "the signature does not fit the grant")
        if grant.tool != tool or grant.tenant != tenant:
            raise GrantInvalid(
                FailureCode.GRANT_INVALID, "the grant is for another tool or another tenant"
            )
        expected = effect_key(grant.tenant, grant.request_id, grant.tool, grant.arguments)
        if grant.arguments_digest != digest(grant.arguments) or grant.effect_key != expected:
            raise GrantInvalid(FailureCode.GRANT_INVALID, "the digests do not fit the arguments")
        if now >= grant.expires_at:
            raise GrantInvalid(FailureCode.GRANT_EXPIRED, f"expired at {grant.expires_at}")

    def signed(self, key_id: str, signature: str, signed: bytes) -> bool:
        """Whether a trusted key of this name signed these bytes."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            given = base64.b64decode(signature, validate=True)
            # Base64 has spare bits: only the one canonical spelling of a signature counts.
            if base64.b64encode(given).decode() != signature:
                return False
            key.verify(given, signed)
        except (binascii.Error, ValueError, InvalidSignature):
            return False
        return True
