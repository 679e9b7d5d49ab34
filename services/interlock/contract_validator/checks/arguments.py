"""Do the arguments fit the contract's JSON Schema (Draft 2020-12), strictly?"""

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from interlock.bundles.model import Bundle
from interlock.contract_validator.checks.text import MOST_VALUES, leaves, pointer, shown
from interlock_contracts.failures import FailureCode
from interlock_contracts.verdict import Violation, violation

Schemas = Mapping[str, jsonschema_rs.Draft202012Validator]
"""One compiled validator per tool."""

_MOST = 32
"""Violations of one call that are listed; a hostile call can have thousands."""


def compile_schemas(bundle: Bundle) -> Schemas:
    """Compile every tool's parameters; raises `ValueError` where one is no JSON Schema."""
    return {
        name: jsonschema_rs.Draft202012Validator(
            _closed(tool.parameters), validate_formats=True, mask="the value", offline=True
        )
        for name, tool in bundle.tools.items()
    }


def _closed(schema: Any, *, outermost: bool = True) -> Any:
    """The schema with undeclared members refused: nobody has said what they may be.

    A nested object may declare itself a map (`additionalProperties`); the arguments may not.
    """
    if not isinstance(schema, dict):
        return schema
    closed = dict(schema)
    for key in ("properties", "patternProperties", "$defs"):
        if key in schema:
            closed[key] = {
                name: _closed(part, outermost=False) for name, part in schema[key].items()
            }
    for key in ("anyOf", "oneOf", "prefixItems"):
        if key in schema:
            closed[key] = [_closed(part, outermost=False) for part in schema[key]]
    if "items" in schema:
        closed["items"] = _closed(schema["items"], outermost=False)
    if outermost:
        closed["type"] = "object"
        closed.pop("additionalProperties", None)
    if outermost or "properties" in schema:
        # Unlike additionalProperties, this one sees through $ref and allOf.
        composed = "$ref" in schema or "allOf" in schema
        closed.setdefault("unevaluatedProperties" if composed else "additionalProperties", False)
    return closed


def fits(schemas: Schemas, tool: str, arguments: Mapping[str, Any]) -> bool:
    """Whether the arguments are valid for the tool; False for an unknown tool."""
    schema = schemas.get(tool)
    return schema is not None and schema.is_valid(dict(arguments))


def check_arguments(
    index: int, tool: str, arguments: Mapping[str, Any], schemas: Schemas
) -> list[Violation]:
    """arguments_invalid for each thing that is wrong; messages never show a value."""
    schema = schemas[tool]
    found = []
    if sum(1 for _ in leaves(arguments)) > MOST_VALUES:
        path = pointer("calls", index, "arguments")
        message = f"more than {MOST_VALUES} values"
        found.append(violation(FailureCode.ARGUMENTS_INVALID, path, message))
    if schema.is_valid(dict(arguments)):
        return found
    for error in schema.iter_errors(dict(arguments)):
        path = pointer("calls", index, "arguments", *error.instance_path)
        found.append(violation(FailureCode.ARGUMENTS_INVALID, path, shown(error.message, 300)))
        if len(found) >= _MOST:
            break
    return found
