"""Which keys executors trust for grants, which one the gate signs with, and the grants' epoch."""

from typing import Literal

from pydantic import Field

from interlock_contracts.base import CleanText, Model, Name, Token
from interlock_contracts.canonical import canonical_json

KEYRING = "grants"
"""In the subject of a keyring, in the place of the request; the step is its number."""

How = Literal["rotate", "retire", "revoke"]
"""What an operator did."""


class Keyring(Model):
    """What grants must be signed with from here on, and why. The whole state: the last one holds.

    `keys` are the public keys executors trust: Ed25519, 32 bytes, base64. `signing` is the id of
    the one the gate signs with: the first 16 hex digits of SHA-256 over its bytes. A grant of
    an earlier `epoch` is revoked, whoever signed it. `retired` are the ids of keys that were
    trusted once. The operator's Ed25519 `signature` (base64), by the key `signed_by`, covers every
    other field; see `signed_bytes`.
    """

    number: int = Field(ge=1)
    how: How
    keys: tuple[CleanText, ...] = Field(min_length=1)
    signing: Token
    epoch: int = Field(ge=0)
    retired: tuple[Token, ...] = ()
    by: Name
    reason: CleanText
    signed_by: Token
    signature: CleanText

    def signed_bytes(self) -> bytes:
        """The bytes under the signature: canonical JSON of all fields but the signature."""
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}))
