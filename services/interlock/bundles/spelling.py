"""What an unknown key of a bundle was probably meant to be."""

from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any

from interlock.bundles.model import Bundle
from interlock.bundles.source import Location

_Schema = dict[str, Any]


def unknown_key(at: Location) -> str:
    """The message for the key at the end of `at`, with the known key that is nearest to it."""
    *above, key = at
    near = get_close_matches(str(key), _keys_below(tuple(above)), n=1)
    return f"unknown key; did you mean {near[0]!r}?" if near else "unknown key; remove it"


def _keys_below(at: Location) -> list[str]:
    places = [_schema()]
    for step in at:
        # A step that leads nowhere is no key: pydantic names the member of a union there.
        places = [below for one in places for below in _step(one, step)] or places
    return [key for place in places for one in _members(place) for key in one.get("properties", ())]


def _step(place: _Schema, step: str | int) -> Iterator[_Schema]:
    for one in _members(place):
        if isinstance(step, int):
            found = [one.get("items")]
        else:
            named = one.get("properties", {}).get(step)
            others = (one.get("additionalProperties"), *one.get("patternProperties", {}).values())
            found = [named] if named else [*others]
        yield from (below for below in found if isinstance(below, dict))


def _members(place: _Schema) -> Iterator[_Schema]:
    """A schema without references: itself, or each member of a union."""
    if "$ref" in place:
        yield from _members(_schema()["$defs"][place["$ref"].rpartition("/")[2]])
    elif members := place.get("anyOf") or place.get("oneOf"):
        for member in members:
            yield from _members(member)
    else:
        yield place


@cache
def _schema() -> _Schema:
    return Bundle.model_json_schema()
