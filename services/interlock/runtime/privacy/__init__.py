"""Personal data: found, replaced by reversible placeholders, and put back.

    redacted = redact("Write to ana@example.com")       # "Write to [EMAIL_1]"
    restore(redacted.text, redacted.values)             # the text again

A library without a network or a model; it knows patterns, checksums and the shapes of names.
"""

from interlock.runtime.privacy.detect import Custom, Finding, detect
from interlock.runtime.privacy.redact import Redacted, redact, restore, restore_json

__all__ = ["Custom", "Finding", "Redacted", "detect", "redact", "restore", "restore_json"]
