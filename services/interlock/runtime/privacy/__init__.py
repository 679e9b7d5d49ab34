"""Personal data: found, replaced by reversible placeholders, and put back.

    redacted = redact("Write to ana@example.com")       # "Write to [EMAIL_1]"
    restore(redacted.text, redacted.values)             # the text again

A library without a network or a model; it knows patterns, checksums and the shapes of names.
"""

from interlock.runtime.privacy.detect import EVERYTHING, MAX_CHARS, VERSION, Finding, detect
from interlock.runtime.privacy.redact import (
    Redacted,
    RedactedRequest,
    TooLong,
    redact,
    redact_request,
)

__all__ = [
    "EVERYTHING",
    "MAX_CHARS",
    "VERSION",
    "Finding",
    "Redacted",
    "RedactedRequest",
    "TooLong",
    "detect",
    "redact",
    "redact_request",
]
