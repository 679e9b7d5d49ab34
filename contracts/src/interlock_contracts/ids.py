"""Identifiers: ULIDs for requests, deterministic ids for events."""

import hashlib
import os
import time

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in _CROCKFORD for b in _CROCKFORD)
_SHIFTS = range(120, -1, -10)


def _base32(bits: int) -> str:
    """Crockford base 32 of a number of 130 bits: 26 characters, two at a time."""
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])


def new_request_id() -> str:
    """A fresh ULID: 48 bits of milliseconds and 80 random bits, 26 characters."""
    milliseconds = time.time_ns() // 1_000_000
    return _base32(milliseconds << 80 | int.from_bytes(os.urandom(10)))


def event_id(cause: str, stage: str, event: str, step: str) -> str:
    """The id of the event that `stage` makes of the event with id `cause`.

    Every redelivery and every replay computes the same id: 130 bits of SHA-256 over the
    four parts, as 26 characters of Crockford base 32.
    """
    hashed = hashlib.sha256("\0".join((cause, stage, event, step)).encode()).digest()
    return _base32(int.from_bytes(hashed[:17]) >> 6)
