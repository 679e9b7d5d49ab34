"""Filling a tool's arguments from the user's own words, by the `x-slot` hints of its schema.

| x-slot | takes |
| --- | --- |
| `pattern` | what the schema's `pattern` matches in the text |
| `money_cents` | an amount of money, in cents: $45, 45.50 dollars, 12,50 € |
| `enum` | the member whose words the text has |
| `after` | the words after one of `x-after`, to the end of the sentence |
| `text` | the text itself |

An argument with `x-personal: EMAIL` takes a placeholder of that kind where the text has one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jsonschema_rs

from interlock.bundles.patterns import PatternTimeout, pattern
from interlock.models.extractive.words import all_stems
from interlock_contracts.privacy import PLACEHOLDER
from interlock_contracts.tools import ToolSpec

_NUMBER = r"(\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?|\d+(?:[.,]\d{1,2})?)(?![.,]?\d)"
_MONEY = re.compile(
    rf"(?i)(?<![-\w.])[$€£]\s?{_NUMBER}"
    rf"|(?<![-\w.,$€£]){_NUMBER}\s?(?:[$€£]|(?:dollars?|euros?|pounds?|bucks|usd|eur|gbp)\b)"
)
_CENTS = re.compile(r"(?i)(?<![-\w.,])(\d+)\s?cents?\b")
_STOP = re.compile(r"(?<!\bSt)(?<!\bRd)(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bAve)\.(?=\s|$)|[;!?\n]")
_COURTESY = re.compile(r"(?i)[\s,]*\b(?:please|instead|thanks|thank you|now|asap)\W*$")

_MAX_MARKERS = 16
"""So many occurrences of a marker are looked at: a text may consist of nothing else."""

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Filled:
    """What was found: one value per argument, the arguments several values were found for, and
    the required ones that are missing."""

    arguments: dict[str, Any]
    several: dict[str, Values]
    missing: tuple[str, ...]


def fill(tool: ToolSpec, texts: Sequence[str]) -> Filled:
    """Fill the arguments of `tool` from `texts`, the newest first; the first that has one wins."""
    arguments: dict[str, Any] = {}
    several: dict[str, Values] = {}
    properties = tool.parameters.get("properties", {})
    for name, schema in properties.items():
        for text in texts:
            values = find(_plain(schema, tool.parameters), text)
            if len(values) == 1:
                arguments[name] = values[0]
            elif values:
                several[name] = values
            if values:
                break
    # In the order of the contract: a built bundle has its properties sorted by name.
    required = tool.parameters.get("required", ())
    missing = tuple(name for name in required if name in properties and name not in arguments)
    return Filled(arguments, several, missing)


def find(schema: Mapping[str, Any], text: str) -> Values:
    """The different values in `text` that this argument could have, in the order they stand."""
    kind = schema.get("x-personal")
    if kind is not None:
        hidden = [match[0] for match in PLACEHOLDER.finditer(text) if match[1] == kind]
        if hidden:
            return tuple(dict.fromkeys(hidden))
    finder = _FINDERS.get(schema.get("x-slot", ""))
    if finder is None:
        return ()
    fitting = (value for value in finder(schema, text) if _fits(schema, value))
    return tuple(dict.fromkeys(fitting))


def _plain(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of one argument with its `$ref` followed and `… | null` taken apart."""
    merged = dict(schema)
    reference = merged.pop("$ref", None)
    if isinstance(reference, str):
        merged = {**root.get("$defs", {}).get(reference.rsplit("/", 1)[-1], {}), **merged}
    for option in merged.pop("anyOf", ()):
        if option.get("type") != "null":
            merged = {**_plain(option, root), **merged}
            break
    return merged


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    return bool(jsonschema_rs.is_valid(dict(schema), value))


def _pattern(schema: Mapping[str, Any], text: str) -> list[Any]:
    inner = str(schema.get("pattern", "")).removeprefix("^").removesuffix("$")
    if not inner:
        return []
    try:
        own = pattern(rf"(?<![\w-])(?:{inner})(?![\w-])")
        words = [match[0] for match in own.finditer(text)]
    except (PatternTimeout, ValueError):  # it takes too long, or is JSON Schema's alone
        return []
    # An id typed in lower case is the same id, where the pattern knows upper case only.
    return [word if _fits(schema, word) else word.upper() for word in words]


def _money(_: Mapping[str, Any], text: str) -> list[Any]:
    found = [(m.start(), _cents(m.group(1) or m.group(2))) for m in _MONEY.finditer(text)]
    found += [(m.start(), int(m.group(1))) for m in _CENTS.finditer(text)]
    return [cents for _, cents in sorted(found)]


def _cents(number: str) -> int:
    """`1,234.5` or `12,50` in hundredths, exactly."""
    if re.fullmatch(r"\d+,\d{1,2}", number):
        number = number.replace(",", ".")
    whole, _, fraction = number.replace(",", "").partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0") or 0)


def _enum(schema: Mapping[str, Any], text: str) -> list[Any]:
    said = all_stems(text)
    best: tuple[int, int, Any] | None = None
    for member in schema.get("enum", ()):
        wanted = all_stems(str(member).replace("_", " ").replace("-", " "))
        places = [said.index(word) for word in wanted if word in said]
        if not wanted or len(places) < len(wanted):
            continue
        # The member that says most wins, then the one that is said first.
        if best is None or (len(wanted), -min(places)) > best[:2]:
            best = (len(wanted), -min(places), member)
    return [] if best is None else [best[2]]


def _after(schema: Mapping[str, Any], text: str) -> list[Any]:
    for marker in schema.get("x-after", ()):
        edge = r"\b" if str(marker)[-1:].isalnum() else ""
        found = [
            _COURTESY.sub("", _STOP.split(text[match.end() :], maxsplit=1)[0]).strip(" ,:\"'“”")
            for match in islice(
                re.finditer(rf"(?i)\b{re.escape(marker)}{edge}", text), _MAX_MARKERS
            )
        ]
        # "I want to move it to 12 Elm Street": a name or a number follows the one that counts.
        named = [words for words in found if words[:1].isdigit() or words[:1].isupper()]
        fitting = [words for words in named or found[-1:] if _fits(schema, words)]
        if fitting:
            return fitting[:1]
    return []


def _text(_: Mapping[str, Any], text: str) -> list[Any]:
    return [text.strip()]


_FINDERS: dict[str, Callable[[Mapping[str, Any], str], list[Any]]] = {
    "pattern": _pattern,
    "money_cents": _money,
    "enum": _enum,
    "after": _after,
    "text": _text,
}
