"""A contract's schema is closed to what it does not declare, however it is composed."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from interlock.contract_validator.checks.arguments import compile_schema

WHOLE = {"type": "integer"}


def members(**parts: Any) -> dict[str, Any]:
    return {"type": "object", "properties": parts, "required": list(parts)}


A, B, C = members(a=WHOLE), members(b=WHOLE), members(c=WHOLE)
REF = {"$ref": "#/$defs/B"}
DEFS = {"$defs": {"B": B, "C": C, "Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}}}}

CASES: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("declared", A, {"a": 1}, True),
    ("undeclared", A, {"a": 1, "z": 1}, False),
    ("outermost map", {**A, "additionalProperties": True}, {"a": 1, "z": 1}, False),
    ("nothing declared", {}, {"z": 1}, False),
    ("union", {"anyOf": [B, C]}, {"b": 1}, True),
    ("mixed union", {"anyOf": [B, C]}, {"b": 1, "c": 1}, False),
    ("union beside members", {**A, "anyOf": [B, C]}, {"a": 1, "c": 1}, True),
    ("union beside members", {**A, "oneOf": [B, C]}, {"a": 1, "c": 1, "z": 1}, False),
    ("all of", {"allOf": [A, B]}, {"a": 1, "b": 1}, True),
    ("all of", {"allOf": [A, B]}, {"a": 1, "b": 1, "z": 1}, False),
    ("reference", {**REF, **DEFS}, {"b": 1}, True),
    ("reference", {**REF, **DEFS}, {"b": 1, "z": 1}, False),
    ("reference beside members", {**A, **REF, **DEFS}, {"a": 1, "b": 1}, True),
    ("reference beside members", {**A, **REF, **DEFS}, {"a": 1, "b": 1, "z": 1}, False),
    ("extended", {**A, "allOf": [REF, C], **DEFS}, {"a": 1, "b": 1, "c": 1}, True),
    ("extended", {**A, "allOf": [REF, C], **DEFS}, {"a": 1, "b": 1, "c": 1, "z": 1}, False),
    (
        "recursive",
        {"properties": {"n": {"$ref": "#/$defs/Node"}}, **DEFS},
        {"n": {"next": {}}},
        True,
    ),
    (
        "recursive",
        {"properties": {"n": {"$ref": "#/$defs/Node"}}, **DEFS},
        {"n": {"next": {"z": 1}}},
        False,
    ),
    ("then", {"properties": {"a": WHOLE}, "if": A, "then": B}, {"a": 1, "b": 1}, True),
    ("then", {"properties": {"a": WHOLE}, "if": A, "then": B}, {"a": 1, "b": 1, "z": 1}, False),
    ("else", {"properties": {"a": WHOLE}, "if": A, "else": B}, {"b": 1}, True),
    ("dependent", {**A, "dependentSchemas": {"a": B}}, {"a": 1, "b": 1}, True),
    ("map inside", members(m={"additionalProperties": A}), {"m": {"k": {"a": 1}}}, True),
    ("map inside", members(m={"additionalProperties": A}), {"m": {"k": {"z": 1}}}, False),
    ("items", members(m={"items": A}), {"m": [{"a": 1, "z": 1}]}, False),
    ("tuple", members(m={"prefixItems": [A]}), {"m": [{"a": 1, "z": 1}]}, False),
    ("in a branch", {**A, "anyOf": [members(m=B), C]}, {"a": 1, "m": {"b": 1, "z": 1}}, False),
]


@pytest.mark.parametrize(("name", "schema", "value", "fits"), CASES)
def test_members_are_those_that_are_declared(
    name: str, schema: dict[str, Any], value: dict[str, Any], fits: bool
) -> None:
    assert compile_schema(schema).is_valid(value) is fits


def test_a_models_union_is_not_mixed() -> None:
    class Card(BaseModel):
        card: str

    class Account(BaseModel):
        account: str

    class Payment(BaseModel):
        model_config = ConfigDict(extra="forbid")
        by: Card | Account

    schema = compile_schema(Payment.model_json_schema())
    assert schema.is_valid({"by": {"card": "1"}})
    assert not schema.is_valid({"by": {"card": "1", "account": "2"}})
    assert not schema.is_valid({"by": {"card": "1", "z": "2"}})
