"""The types every contract is made of: a strict model, tokens, digests, bounded text."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

MAX_TEXT_CHARS = 16_384
"""Longest text a producer may submit, in characters."""

MAX_REQUEST_BYTES = 262_144
"""Largest request event, in bytes of JSON, history included."""

MAX_EVENT_BYTES = 2_097_152
"""Largest event of any kind, in bytes of JSON; the broker's own limit is the same."""

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Model(BaseModel):
    """Base of every message: immutable, strict, and closed to unknown fields."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, ser_json_inf_nan="null", protected_namespaces=()
    )


def _clean(text: str) -> str:
    found = _FORBIDDEN.search(text)
    if found:
        code = ord(found.group())
        name = unicodedata.name(found.group(), "control character")
        raise ValueError(f"U+{code:04X} ({name}) at offset {found.start()} is not allowed in text")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    return text


CleanText = Annotated[str, AfterValidator(_clean)]
"""Text without control characters (tab and line breaks are fine) or lone surrogates."""

RequestText = Annotated[
    CleanText, StringConstraints(max_length=MAX_TEXT_CHARS), AfterValidator(_not_blank)
]
"""What a person wrote: clean, not blank, at most `MAX_TEXT_CHARS` characters."""

Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""One token of a subject: tenant, tool, stage, step."""

RequestId = Annotated[str, StringConstraints(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
"""A ULID in Crockford base 32; also the idempotency key of a request."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""`sha256:` and 64 lower-case hex digits, over canonical JSON (RFC 8785) or over raw bytes."""

Name = Annotated[CleanText, StringConstraints(min_length=1, max_length=128)]
"""A short human-chosen name: a user id, a role, a document id."""

Score = Annotated[float, Field(allow_inf_nan=False)]
"""A finite score; the model that carries it says what it measures."""
