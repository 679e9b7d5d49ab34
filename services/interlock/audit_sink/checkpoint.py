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
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from interlock.audit_sink.merkle import HASH_BYTES
from interlock.runtime.errors import UserError

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


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """The signing key in a PEM file, made with mode 0600 when there is none.

    Raises:
        UserError: the file holds no Ed25519 private key, or others may read it.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        # linked into place, so that of two that start at once both use the same, whole key
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if path.stat().st_mode & 0o077:
        raise UserError(f"{path} may be read by others: chmod 600 it")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError:
        raise UserError(f"{path} is not a private key in PEM form") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path} is not an Ed25519 key")
    return key


def _key_id(key: Ed25519PublicKey, origin: str) -> bytes:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(origin.encode() + b"\n\x01" + raw).digest()[:4]


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
