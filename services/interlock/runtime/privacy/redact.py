"""Replacing personal data by placeholders, and putting it back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interlock.runtime.privacy.detect import PLACEHOLDER, Custom, Finding, detect


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without personal data. `values` has what each placeholder stands for.

    `values` is the secret: it belongs beside the sealed original, never into an event.
    `findings` are kinds and places in the original text, without values: fit for an event.
    """

    text: str
    values: Mapping[str, str]
    findings: tuple[Finding, ...]


def redact(
    text: str,
    custom: Sequence[Custom] = (),
    *,
    names: bool = True,
    known: Mapping[str, str] | None = None,
) -> Redacted:
    """`text` with a placeholder such as `[EMAIL_1]` for each value; equal values share one.

    `known` are the placeholders of earlier turns, so that a value keeps its own through a
    conversation. What already looks like a placeholder stays as it is, and its number is
    given to nothing else, so that putting back is exact.
    """
    values = dict(known or {})
    by_value = {value: placeholder for placeholder, value in values.items()}
    reserved = {match[0] for match in PLACEHOLDER.finditer(text)} - values.keys()
    first = detect(text, custom, names=names)
    found, redacted = first, text
    # Without its neighbour a word can look different: until there is nothing more to find.
    while found:
        parts: list[str] = []
        end = 0
        for one in found:
            # The value in the original's words, should it hold placeholders made before.
            value = restore(redacted[one.start : one.end], values)
            placeholder = by_value.get(value)
            if placeholder is None:
                placeholder = _next(one.kind, values, reserved)
                values[placeholder], by_value[value] = value, placeholder
            parts += [redacted[end : one.start], placeholder]
            end = one.end
        redacted = "".join([*parts, redacted[end:]])
        found = detect(redacted, custom, names=names)
    return Redacted(redacted, values, first)


def _next(kind: str, values: Mapping[str, str], reserved: set[str]) -> str:
    number = 1
    while (placeholder := f"[{kind}_{number}]") in values or placeholder in reserved:
        number += 1
    return placeholder


def restore(text: str, values: Mapping[str, str]) -> str:
    """`text` with the values for the placeholders that are known, in one pass."""
    return PLACEHOLDER.sub(lambda match: values.get(match[0], match[0]), text)


def restore_json(value: Any, values: Mapping[str, str]) -> Any:
    """The same for every text within a JSON value, such as the arguments of an action."""
    if isinstance(value, str):
        return restore(value, values)
    if isinstance(value, list):
        return [restore_json(item, values) for item in value]
    if isinstance(value, dict):
        return {name: restore_json(item, values) for name, item in value.items()}
    return value
