"""Personal data: the placeholders that stand for it on the log, and where they stood.

The router replaces personal data in a request by placeholders such as `[EMAIL_1]`; equal values
share one. From then on only the request itself holds the values, and an approved action whose
tool needs one. Who has the request can put them back: `values_in` and `restore`.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import Field

from interlock_contracts.base import CleanText, Model, Token

PLACEHOLDER = re.compile(r"\[([A-Z][A-Z0-9_]*)_[1-9][0-9]*\]")
"""A placeholder; group 1 is its kind."""

ModelT = TypeVar("ModelT", bound=Model)

Values = Mapping[str, str]
"""What each placeholder stands for."""


class PersonalData(Model):
    """Something personal in a request: its kind and place, never its value.

    `start` and `end` are offsets (code points, end exclusive) into the text as it was submitted:
    `request.text`, or that of turn `turn` of the history (counted from 0).
    """

    kind: Token
    placeholder: CleanText
    start: int = Field(ge=0)
    end: int = Field(gt=0)
    turn: int | None = Field(default=None, ge=0)


def findings_in(findings: Iterable[PersonalData], texts: Iterable[str]) -> tuple[PersonalData, ...]:
    """The first finding of each placeholder that occurs in `texts`."""
    first = {one.placeholder: one for one in reversed(tuple(findings))}
    if not first:
        return ()
    used = {match[0] for text in texts for match in PLACEHOLDER.finditer(text)}
    return tuple(one for name, one in sorted(first.items()) if name in used)


def values_in(
    text: str, history: Sequence[str], findings: Iterable[PersonalData]
) -> dict[str, str]:
    """The values by placeholder, from the texts as they were submitted.

    A finding that points outside of them is left out.
    """
    texts: dict[int | None, str] = {None: text, **dict(enumerate(history))}
    found = {
        one.placeholder: texts.get(one.turn, "")[one.start : one.end]
        for one in reversed(tuple(findings))
    }
    return {placeholder: value for placeholder, value in found.items() if value}


def restore(text: str, values: Values) -> str:
    """`text` with the values for the placeholders that are known, in one pass."""
    return PLACEHOLDER.sub(lambda match: values.get(match[0], match[0]), text)


SHORT = 6
"""A value of fewer characters is concealed only where it stands as a word of its own."""

_SHORTEST_CUT = 3


def conceal(text: str, values: Values) -> str:
    """`text` with the placeholder wherever one of the values stands.

    Also where a text was cut short with "…" within a value.
    """
    if not values:
        return text
    by_value = {value: placeholder for placeholder, value in values.items()}
    longest_first = sorted(by_value, key=lambda value: (-len(value), value))
    found = "|".join(
        re.escape(value) if len(value) >= SHORT else rf"(?<!\w){re.escape(value)}(?!\w)"
        for value in longest_first
    )
    concealed = re.sub(found, lambda match: by_value[match[0]], text)
    if "…" in concealed:
        for value in longest_first:
            for length in range(len(value) - 1, _SHORTEST_CUT - 1, -1):
                concealed = concealed.replace(f"{value[:length]}…", f"{by_value[value]}…")
    return concealed


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with `change` made to every text in it, names included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    if isinstance(value, dict):
        return {change(name): _mapped(item, change) for name, item in value.items()}
    return value


def restore_json(value: Any, values: Values) -> Any:
    """`restore` for every text within a JSON value, such as the arguments of an action."""
    return _mapped(value, lambda text: restore(text, values)) if values else value


def conceal_json(value: Any, values: Values) -> Any:
    """`conceal` for every text within a JSON value."""
    return _mapped(value, lambda text: conceal(text, values)) if values else value


def restore_model(model: ModelT, values: Values) -> ModelT:
    """`restore` for every text of a model."""
    if not values:
        return model
    changed = json.dumps(restore_json(model.model_dump(mode="json"), values))
    return type(model).model_validate_json(changed)
