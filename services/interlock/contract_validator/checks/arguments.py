"""Do the arguments fit the contract's JSON Schema (Draft 2020-12), strictly?"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import jsonschema_rs

from interlock.bundles.model import Bundle
from interlock.contract_validator.checks.closing import closed
from interlock.contract_validator.checks.text import MOST_VALUES, leaves, pointer, shown
from interlock_contracts.failures import FailureCode
from interlock_contracts.verdict import Violation, violation

Schemas = Mapping[str, jsonschema_rs.Draft202012Validator]
"""One compiled validator per tool."""

_MOST = 32
"""Violations of one value that are listed; a hostile one can have thousands."""


def compile_schemas(bundle: Bundle) -> Schemas:
    """Compile every tool's parameters; raises `ValueError` where one is no JSON Schema."""
    return {name: compile_schema(tool.parameters) for name, tool in bundle.tools.items()}


def compile_schema(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """The validator of an object, closed to undeclared members; `ValueError` for no schema."""
    return jsonschema_rs.Draft202012Validator(
        closed(schema), validate_formats=True, mask="the value", offline=True
    )


def schema_errors(
    schema: jsonschema_rs.Draft202012Validator, value: Any
) -> Iterator[tuple[list[str | int], str]]:
    """Where a value does not fit and why, the first of them; messages never show a value."""
    if not schema.is_valid(value):
        for error in islice(schema.iter_errors(value), _MOST):
            yield error.instance_path, shown(error.message, 300)


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
    for place, message in schema_errors(schema, dict(arguments)):
        path = pointer("calls", index, "arguments", *place)
        found.append(violation(FailureCode.ARGUMENTS_INVALID, path, message))
    return found
