"""Sealing: content that can be made unreadable for ever, under hashes that stay true.

A record's content (its headers and body) is encrypted with AES-256-GCM under the key of the person
it is about. The tree's leaf covers what stays readable, a salted commitment to the content, and the
hash of the sealed bytes:

    commitment = SHA-256("interlock.content.v2" ‖ salt ‖ content)
    leaf       = RFC 6962 leaf hash over ("interlock.audit.v2", every readable column, commitment,
                 SHA-256(sealed)), each part preceded by its length in 8 bytes

The salt (32 random bytes) is inside the seal. So the tree can be checked without any key; a content
can be proven to others by its salt alone; and once the key is gone, the commitment is as good as
random: the content cannot be guessed from it, however short it is.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.audit_sink.merkle import leaf_hash

SALT_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Sealed:
    """Content under a key: the bytes, their hash, and the commitment to what is in them."""

    payload: bytes
    seal: bytes
    commitment: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """What was sealed. `headers` is their JSON text as bytes; `salt` opens the commitment."""

    headers: bytes
    data: bytes
    salt: bytes


def seal(headers: bytes, data: bytes, key: AESGCM, sequence: int) -> Sealed:
    """Seal the content of the record at `sequence`; the seal opens for no other record."""
    random = os.urandom(SALT_BYTES + _NONCE_BYTES)
    salt, nonce = random[:SALT_BYTES], random[SALT_BYTES:]
    content = salt + len(headers).to_bytes(8) + headers + data
    payload = nonce + key.encrypt(nonce, content, sequence.to_bytes(8))
    return Sealed(payload, hashlib.sha256(payload).digest(), _commitment(content))


def unseal(payload: bytes, key: AESGCM, sequence: int) -> Content | None:
    """What is in a seal; None if it is not one of this key and record."""
    nonce, sealed = payload[:_NONCE_BYTES], payload[_NONCE_BYTES:]
    try:
        content = key.decrypt(nonce, sealed, sequence.to_bytes(8))
    except (InvalidTag, ValueError):
        return None
    body = SALT_BYTES + 8
    headers = int.from_bytes(content[SALT_BYTES:body])
    return Content(content[body : body + headers], content[body + headers :], content[:SALT_BYTES])


def commitment_of(content: Content) -> bytes:
    """The commitment that this content, with its salt, was recorded under."""
    length = len(content.headers).to_bytes(8)
    return _commitment(content.salt + length + content.headers + content.data)


def _commitment(content: bytes) -> bytes:
    return hashlib.sha256(b"interlock.content.v2" + content).digest()


def record_leaf(sequence: int, texts: Iterable[bytes], commitment: bytes, seal: bytes) -> bytes:
    """The leaf hash of a record. `texts` are its readable columns in the order of the table."""
    return _leaf(b"interlock.audit.v2", sequence, (*texts, commitment, seal))


def record_leaf_v1(sequence: int, texts: Iterable[bytes], headers: bytes, data: bytes) -> bytes:
    """The leaf of a record from before contents were sealed: over the content itself.

    `texts`: subject, type, id, tenant, request id and time.
    """
    return _leaf(b"interlock.audit.v1", sequence, (*texts, headers, data))


def _leaf(name: bytes, sequence: int, parts: tuple[bytes, ...]) -> bytes:
    """Every part with its length in front, so that no two records share their bytes."""
    framed = [name, sequence.to_bytes(8), *parts]
    return leaf_hash(b"".join([len(part).to_bytes(8) + part for part in framed]))
