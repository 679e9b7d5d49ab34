"""Canonical JSON (RFC 8785, JCS) and the digests taken over it."""

import hashlib
import math
from collections.abc import Iterable
from json.encoder import encode_basestring
from typing import Any

from pydantic import BaseModel

from interlock_contracts.base import MAX_SAFE_INTEGER


def _number(value: float) -> str:
    """A float as ECMAScript's Number::toString writes it (RFC 8785 §3.2.2.3)."""
    if not math.isfinite(value):
        raise ValueError(f"{value} has no JSON form")
    if value == 0:
        return "0"
    mantissa, _, exponent = float.__repr__(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0)
    if whole == "0":
        point -= len(fraction) - len(fraction.lstrip("0")) + 1
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        text = digits + "0" * (point - count)
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        tail = f".{digits[1:]}" if count > 1 else ""
        text = f"{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"-{text}" if value < 0 else text


def _write(value: Any, parts: list[str]) -> None:
    """The parts of `value` as canonical JSON; what occurs most is looked for first."""
    if isinstance(value, str):
        parts.append(encode_basestring(value))
    elif isinstance(value, dict):
        before = "{"
        for key in _in_order(value):
            parts.append(f"{before}{encode_basestring(key)}:")
            _write(value[key], parts)
            before = ","
        parts.append("}" if value else "{}")
    elif value is None:
        parts.append("null")
    elif value is True:
        parts.append("true")
    elif value is False:
        parts.append("false")
    elif isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise ValueError("an integer beyond 2^53-1 is not exact as a JSON number (RFC 8785)")
        parts.append(int.__repr__(value))
    elif isinstance(value, (list, tuple)):
        before = "["
        for item in value:
            parts.append(before)
            _write(item, parts)
            before = ","
        parts.append("]" if value else "[]")
    elif isinstance(value, float):
        parts.append(_number(value))
    elif isinstance(value, BaseModel):
        _write(value.model_dump(mode="json"), parts)
    else:
        raise TypeError(f"{type(value).__name__} has no JSON form")


def _in_order(names: Iterable[str]) -> list[str]:
    """By UTF-16 code unit, which is the order of code points up to U+FFFF."""
    try:
        only_ascii = "".join(names).isascii()  # almost always, and quickly told
    except TypeError:
        raise TypeError("the names in a JSON object are strings") from None
    return sorted(names) if only_ascii else sorted(names, key=lambda one: one.encode("utf-16-be"))


def canonical_json(value: Any) -> bytes:
    """`value` as canonical JSON: UTF-8, members sorted by UTF-16 code unit, shortest numbers.

    Takes what `json` takes, and Pydantic models (as their JSON form).

    Raises:
        ValueError: a number that JSON cannot carry exactly, a lone surrogate, or nesting too deep.
        TypeError: something that has no JSON form.
    """
    parts: list[str] = []
    try:
        _write(value, parts)
    except RecursionError:
        raise ValueError("nested too deep for JSON") from None
    return "".join(parts).encode()


def digest(value: Any) -> str:
    """`sha256:<hex>` over the canonical JSON of `value`; raises as `canonical_json` does."""
    return digest_bytes(canonical_json(value))


def digest_bytes(data: bytes) -> str:
    """`sha256:<hex>` over raw bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
