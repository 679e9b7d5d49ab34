"""Identifiers: ULIDs for requests, deterministic ids for events."""

import base64
import hashlib
import os
import time

_CROCKFORD = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"


_TO_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", _CROCKFORD)


def _base32(data: bytes) -> str:
    """Crockford base 32 of the first 130 bits of `data` (20 bytes): 26 characters."""
    return base64.b32encode(data)[:26].translate(_TO_CROCKFORD).decode()


def new_request_id() -> str:
    """A fresh ULID: 48 bits of milliseconds and 80 random bits, 26 characters."""
    milliseconds = time.time_ns() // 1_000_000
    # A ULID is right-aligned: 128 bits in 130, two zero bits in front.
    bits = (milliseconds << 80 | int.from_bytes(os.urandom(10))) << 30
    return _base32(bits.to_bytes(20))


def event_id(cause: str, stage: str, event: str, step: str) -> str:
    """The id of the event that `stage` makes of the event with id `cause`.

    Every redelivery and every replay computes the same id: 130 bits of SHA-256 over the
    four parts, as 26 characters of Crockford base 32.
    """
    hashed = hashlib.sha256("\0".join((cause, stage, event, step)).encode()).digest()
    return _base32(hashed[:20])
