"""The types every contract is made of: a strict model, tokens, digests, bounded text, JSON."""

import base64
import binascii
import math
import operator
import re
import unicodedata
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    EncodedBytes,
    EncoderProtocol,
    Field,
    Strict,
    StringConstraints,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

MAX_TEXT_CHARS = 16_384
"""Longest text a producer may submit, in characters."""

MAX_REQUEST_BYTES = 262_144
"""Largest request event, in bytes of JSON, history included."""

MAX_EVENT_BYTES = 2_097_152
"""Largest event of any kind, in bytes of JSON; the broker's own limit is the same."""

MAX_SAFE_INTEGER = 2**53 - 1
"""Largest integer every JSON reader keeps exactly (RFC 7493 §2.2)."""

MAX_JSON_DEPTH = 64
"""Deepest nesting of a JSON value inside an event: arguments, outputs, facts."""

TEXT_INVALID = "text_invalid"
"""The type of the validation error for text with forbidden characters, or blank text."""

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_CONTROLS = bytes(code for code in range(128) if _FORBIDDEN.match(chr(code)))
_SHORT_CHARS = 64


class Model(BaseModel):
    """Base of every message: immutable, strict, and closed to unknown fields."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, ser_json_inf_nan="null", protected_namespaces=()
    )


is_none = partial(operator.is_, None)
"""For `exclude_if`: what is None is left out.

Bytes and digests of what was written before the field was known stay as they are. This and the next
two are called for every such field of everything that is written: none is a Python function.
"""

is_empty = operator.not_
"""For `exclude_if`: what is empty is left out."""

is_absent = partial(operator.contains, (None, (), {}))
"""For `exclude_if`: what is None or empty is left out."""


def _clean(text: str) -> str:
    # Most texts are fine, and this is a fifth of the time of reading: by length and alphabet the
    # quickest way of seeing it.
    if len(text) > _SHORT_CHARS and text.isascii():
        fine = len(text.encode().translate(None, _CONTROLS)) == len(text)
    else:
        fine = text.isprintable()
    if fine:
        return text
    found = _FORBIDDEN.search(text)
    if found:
        code = ord(found.group())
        name = unicodedata.name(found.group(), "control character")
        raise PydanticCustomError(
            TEXT_INVALID,
            "U+{code} ({name}) at offset {offset} is not allowed in text",
            {"code": f"{code:04X}", "name": name, "offset": found.start()},
        )
    return text


def cleaned(text: str) -> str:
    """A text with a blank for everything that `CleanText` refuses."""
    return text if text.isprintable() else _FORBIDDEN.sub(" ", text)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError(TEXT_INVALID, "the text is empty")
    return text


def _json(value: Any) -> Any:
    _check_json(value, MAX_JSON_DEPTH)
    return value


def _check_json(value: Any, depth: int) -> None:
    """Refuse what canonical JSON cannot carry; the messages never show the value."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        # isascii is O(1); only other text can hold a lone surrogate, which has no UTF-8 form.
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise PydanticCustomError("not_json", "a lone surrogate has no JSON form")
    elif isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise PydanticCustomError("not_json", "integers beyond 2^53-1 are not exact in JSON")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise PydanticCustomError("not_json", "NaN and infinity have no JSON form")
    elif depth == 0:
        raise PydanticCustomError(
            "not_json", "nested deeper than {most} levels", {"most": MAX_JSON_DEPTH}
        )
    elif isinstance(value, list):
        for item in value:
            _check_json(item, depth - 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise PydanticCustomError("not_json", "the names in a JSON object are strings")
            _check_json(key, depth)
            _check_json(item, depth - 1)
    else:
        raise PydanticCustomError(
            "not_json", "a Python {kind} has no JSON form", {"kind": type(value).__name__}
        )


_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _rfc_3339(value: Any, info: ValidationInfo) -> Any:
    """Times are RFC 3339 in JSON and aware `datetime`s in Python, nothing else.

    Pydantic alone would read the string "5" as five seconds after 1970. A validator that runs
    before another loses the strict JSON mode, so strictness is held here.
    """
    fits = (
        isinstance(value, str) and _RFC_3339.fullmatch(value) is not None
        if info.mode == "json"
        else isinstance(value, datetime)
    )
    if not fits:
        raise PydanticCustomError("time_invalid", "not an RFC 3339 time with an offset")
    return value


class _Base64(EncoderProtocol):
    """RFC 4648 §4, padded, without line breaks, and refusing everything else.

    Pydantic's own encoder skips foreign characters: raw bytes given by mistake would be
    silently mangled.
    """

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error:
            raise PydanticCustomError("base64_invalid", "not base64") from None

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return base64.b64encode(value)

    @classmethod
    def get_json_format(cls) -> str:
        return "base64"


CleanText = Annotated[str, AfterValidator(_clean)]
"""Text without control characters (tab and line breaks are fine) or lone surrogates."""

RequestText = Annotated[
    str,
    StringConstraints(max_length=MAX_TEXT_CHARS),
    AfterValidator(_clean),
    AfterValidator(_not_blank),
]
"""What a person wrote: clean, not blank, at most `MAX_TEXT_CHARS` characters."""

Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""One token of a subject: tenant, tool, stage, step."""

RequestId = Annotated[str, StringConstraints(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
"""A ULID in Crockford base 32; also the idempotency key of a request."""

DIGEST = r"^sha256:[0-9a-f]{64}$"

Digest = Annotated[str, StringConstraints(pattern=DIGEST)]
"""`sha256:` and 64 lower-case hex digits, over canonical JSON (RFC 8785) or over raw bytes."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_clean)]
"""A short human-chosen name: a user id, a role, a document id."""

Score = Annotated[float, Field(allow_inf_nan=False)]
"""A finite score; the model that carries it says what it measures."""

Time = Annotated[AwareDatetime, Strict(False), BeforeValidator(_rfc_3339)]
"""A moment with its offset; in JSON an RFC 3339 string."""

Json = Annotated[Any, AfterValidator(_json)]
"""Any JSON value, as Python's `json` reads it, that canonical JSON can carry exactly: integers
within 2^53-1, finite floats, lists (not tuples), string keys, at most `MAX_JSON_DEPTH` deep."""

JsonObject = Annotated[dict[str, Any], AfterValidator(_json)]
"""A JSON object of `Json` values."""

Base64 = Annotated[bytes, EncodedBytes(encoder=_Base64)]
"""Bytes that travel as base64: validated from the encoded form (also in Python), read decoded."""
