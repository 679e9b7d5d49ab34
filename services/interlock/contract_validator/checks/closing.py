"""A contract's JSON Schema, closed: nobody has said what an undeclared member may be.

JSON Schema lets objects have members that it does not mention. `closed` gives the schema that
refuses them, at every depth, wherever an object declares any member at all; an object that
declares itself a map (`additionalProperties`, `patternProperties`) stays one.

Members may be declared in one place or be composed of several (`allOf`, a `$ref` beside
`properties`, `anyOf` under common `properties`, `then`). Where one place declares all of them, that
place is closed: the alternatives of a union cannot be mixed. Where several do, they stay open by
themselves, and the object that they make up together is closed.
"""

from collections.abc import Mapping
from typing import Any

_MAPS = ("properties", "patternProperties")
_PARTS = ("items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems")
_BRANCHES = ("allOf", "anyOf", "oneOf")
_CONDITIONAL = ("then", "else")
_DEFS = "#/$defs/"
_OPEN = ":open"
"""The suffix of a definition's second copy, for those who compose it with members of their own."""


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object without undeclared members; its outermost one can be no map."""
    shut: dict[str, Any] = _shut(schema)
    shut["type"] = "object"
    shut.pop("additionalProperties", None)
    elsewhere = any(
        key in schema for key in ("$ref", *_BRANCHES, *_CONDITIONAL, "dependentSchemas")
    )
    shut["unevaluatedProperties" if elsewhere else "additionalProperties"] = False
    if definitions := schema.get("$defs"):
        shut["$defs"] = {name: _shut(part) for name, part in definitions.items()}
        shut["$defs"] |= {name + _OPEN: _inner(part) for name, part in definitions.items()}
    return shut


def _shut(schema: Any) -> Any:
    """A schema in a place of its own: a member, an item, a definition."""
    if not isinstance(schema, dict):
        return schema
    if _composed(schema):
        return {"unevaluatedProperties": False, **_inner(schema)}
    shut = _within(schema)
    for key in _BRANCHES:
        if key in schema:
            shut[key] = [_shut(branch) for branch in schema[key]]
    if "properties" in schema:
        shut.setdefault("additionalProperties", False)
    return shut


def _inner(schema: Any) -> Any:
    """A schema that shares its object with others: open itself, closed inside its members."""
    if not isinstance(schema, dict):
        return schema
    inner = _within(schema)
    for key in _BRANCHES:
        if key in schema:
            inner[key] = [_inner(branch) for branch in schema[key]]
    for key in _CONDITIONAL:
        if key in schema:
            inner[key] = _inner(schema[key])
    if "dependentSchemas" in schema:
        inner["dependentSchemas"] = {
            name: _inner(part) for name, part in schema["dependentSchemas"].items()
        }
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(_DEFS):
        inner["$ref"] = reference + _OPEN
    return inner


def _within(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with all that stands in its members and items closed."""
    within = dict(schema)
    for key in _MAPS:
        if key in schema:
            within[key] = {name: _shut(part) for name, part in schema[key].items()}
    for key in _PARTS:
        if key in schema:
            within[key] = _shut(schema[key])
    if "prefixItems" in schema:
        within["prefixItems"] = [_shut(part) for part in schema["prefixItems"]]
    return within


def _composed(schema: Mapping[str, Any]) -> bool:
    """Whether more than one place may declare members of the object."""
    places = ("properties" in schema) + ("$ref" in schema) + len(schema.get("allOf", ()))
    places += ("anyOf" in schema) + ("oneOf" in schema)
    conditional = any(key in schema for key in (*_CONDITIONAL, "dependentSchemas"))
    return places > 1 or conditional
