"""Signed checkpoints: the tree's size and root as a C2SP signed note (tlog-checkpoint).

    interlock/audit
    1042
    qINS1GRFHWHwdkUeqLEoP4yEMkTBBzxBkGwGQlVlVcs=

    — interlock/audit 8wGMyW1h…

Format: c2sp.org/tlog-checkpoint and c2sp.org/signed-note, Ed25519 (signature type 1).
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from interlock.audit_sink.merkle import HASH_BYTES

ORIGIN = "interlock/audit"
"""Names the log in a checkpoint; the key has the same name."""


class CheckpointInvalid(Exception):
    """A checkpoint that is malformed, of another log, or not signed by the expected key."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A promise about the first `size` records: their root (32 bytes)."""

    size: int
    root: bytes


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey, origin: str = ORIGIN) -> str:
    """The checkpoint as a signed note."""
    root = base64.b64encode(checkpoint.root).decode()
    text = f"{origin}\n{checkpoint.size}\n{root}\n"
    signature = _key_id(key.public_key(), origin) + key.sign(text.encode())
    return f"{text}\n— {origin} {base64.b64encode(signature).decode()}\n"


def open_note(note: str, key: Ed25519PublicKey, origin: str = ORIGIN) -> Checkpoint:
    """The checkpoint in a signed note; raises `CheckpointInvalid`."""
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    prefix = f"— {origin} "
    expected = _key_id(key, origin)
    for line in signatures.splitlines():
        signature = _base64(line.removeprefix(prefix)) if line.startswith(prefix) else b""
        if signature.startswith(expected):
            break
    else:
        raise CheckpointInvalid("the checkpoint has no signature of this key")
    try:
        key.verify(signature[len(expected) :], text.encode())
    except InvalidSignature:
        raise CheckpointInvalid("the checkpoint's signature is not valid") from None
    lines = text.split("\n")
    if len(lines) < 4 or lines[0] != origin or not (lines[1].isascii() and lines[1].isdigit()):
        raise CheckpointInvalid("the checkpoint is not of this log")
    root = _base64(lines[2])
    if len(root) != HASH_BYTES:
        raise CheckpointInvalid("the checkpoint has no root")
    return Checkpoint(int(lines[1]), root)


def verifier_key(key: Ed25519PublicKey, origin: str = ORIGIN) -> str:
    """The public key as a signed note's verifier key: name, key id, key; on one line."""
    public = base64.b64encode(b"\x01" + key.public_bytes_raw()).decode()
    return f"{origin}+{_key_id(key, origin).hex()}+{public}"


def read_verifier_key(text: str) -> Ed25519PublicKey:
    """The key in a verifier key, or in PEM; raises `ValueError` if it is neither."""
    if text.startswith("-----BEGIN"):
        found = load_pem_public_key(text.encode())
        if not isinstance(found, Ed25519PublicKey):
            raise ValueError("not an Ed25519 public key")
        return found
    origin, _, rest = text.strip().partition("+")
    id_, _, public = rest.partition("+")
    raw = _base64(public)
    if len(raw) != 33 or raw[0] != 1:
        raise ValueError("neither a signed note's verifier key nor a public key in PEM")
    key = Ed25519PublicKey.from_public_bytes(raw[1:])
    if _key_id(key, origin).hex() != id_:
        raise ValueError("the key id is not that of the key")
    return key


def _key_id(key: Ed25519PublicKey, origin: str) -> bytes:
    raw = key.public_bytes_raw()
    return hashlib.sha256(origin.encode() + b"\n\x01" + raw).digest()[:4]


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
