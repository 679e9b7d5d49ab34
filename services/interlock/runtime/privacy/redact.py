"""Replacing personal data by placeholders, in a text and in a whole request."""

from collections import Counter
from dataclasses import dataclass

from interlock.bundles.privacy import PrivacySpec
from interlock.runtime.privacy.detect import EVERYTHING, detect
from interlock_contracts.base import MAX_TEXT_CHARS
from interlock_contracts.privacy import PLACEHOLDER, PersonalData, Values, restore
from interlock_contracts.request import Request


class TooLong(ValueError):
    """With its placeholders, a text is longer than a request may be."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without personal data. `values` has what each placeholder stands for.

    `values` is the secret: it goes into an event sealed, or not at all. `findings` are kinds
    and places in the original text, without values: fit for an event.
    """

    text: str
    values: Values
    findings: tuple[PersonalData, ...]


def redact(
    text: str,
    spec: PrivacySpec = EVERYTHING,
    *,
    known: Values | None = None,
    turn: int | None = None,
) -> Redacted:
    """`text` with a placeholder such as `[EMAIL_1]` for each value; equal values share one.

    `known` are the placeholders of earlier turns, so that a value keeps its own through a
    conversation. What already looks like a placeholder stays as it is, and its number is
    given to nothing else, so that putting back is exact. `turn` is noted in the findings.
    """
    values = dict(known or {})
    by_value = {value: placeholder for placeholder, value in values.items()}
    reserved = {match[0] for match in PLACEHOLDER.finditer(text)} - values.keys()
    numbers: Counter[str] = Counter()
    found, redacted = detect(text, spec), text
    # Without its neighbour a word can look different: until there is nothing more to find.
    while found:
        parts: list[str] = []
        end = 0
        for one in found:
            # The value in the original's words, should it hold placeholders made before.
            value = restore(redacted[one.start : one.end], values)
            placeholder = by_value.get(value)
            if placeholder is None:
                placeholder = _next(one.kind, numbers, values, reserved)
                values[placeholder], by_value[value] = value, placeholder
            parts += [redacted[end : one.start], placeholder]
            end = one.end
        redacted = "".join([*parts, redacted[end:]])
        found = detect(redacted, spec)
    return Redacted(redacted, values, _findings(redacted, values, turn))


def _next(kind: str, numbers: Counter[str], values: Values, reserved: set[str]) -> str:
    """The next free placeholder of a kind; `numbers` are those given so far."""
    while True:
        numbers[kind] += 1
        placeholder = f"[{kind}_{numbers[kind]}]"
        if placeholder not in values and placeholder not in reserved:
            return placeholder


def _findings(redacted: str, values: Values, turn: int | None) -> tuple[PersonalData, ...]:
    """Where the values stand in the text that `redacted` was made of."""
    found: list[PersonalData] = []
    longer = 0
    for match in PLACEHOLDER.finditer(redacted):
        value = values.get(match[0])
        if value is not None:
            start = match.start() + longer
            end = start + len(value)
            found.append(
                PersonalData(kind=match[1], placeholder=match[0], start=start, end=end, turn=turn)
            )
            longer += len(value) - len(match[0])
    return tuple(found)


@dataclass(frozen=True, slots=True)
class RedactedRequest:
    """A request with placeholders for personal data in its text and history."""

    request: Request
    values: Values
    findings: tuple[PersonalData, ...]


def redact_request(request: Request, spec: PrivacySpec) -> RedactedRequest:
    """`request` without personal data in text and history.

    Raises:
        PatternTimeout: a pattern of the bundle took too long.
        TooLong: a text is too long once it has its placeholders.
    """
    # A placeholder that somebody wrote, in any turn, is nobody's value in all of them.
    written = _written(request)
    values: Values = {placeholder: placeholder for placeholder in written}
    findings: list[PersonalData] = []
    turns = []
    for place, turn in enumerate(request.history):
        done = redact(turn.text, spec, known=values, turn=place)
        values = done.values
        findings += [one for one in done.findings if one.placeholder not in written]
        turns.append(turn.model_copy(update={"text": done.text}))
    done = redact(request.text, spec, known=values)
    findings += [one for one in done.findings if one.placeholder not in written]
    if any(len(text) > MAX_TEXT_CHARS for text in (done.text, *(turn.text for turn in turns))):
        raise TooLong(f"with placeholders a text has more than {MAX_TEXT_CHARS:,} characters")
    kept = {name: value for name, value in done.values.items() if name not in written}
    changed = {"text": done.text, "history": tuple(turns)}
    return RedactedRequest(request.model_copy(update=changed), kept, tuple(findings))


def _written(request: Request) -> set[str]:
    texts = (request.text, *(turn.text for turn in request.history))
    return {match[0] for text in texts for match in PLACEHOLDER.finditer(text)}
