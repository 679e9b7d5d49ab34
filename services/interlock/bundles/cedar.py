"""Cedar: the schema that follows from a bundle's tools, and values as Cedar has them.

Policies see, in namespace `Interlock`, a `User` (`user`, `role`, `scopes`) as principal, one
action per tool and one (`read:<source>`) per governed source, the `Tenant` as resource, and as
context `request` and, of a tool, `arguments`, `facts` and
`history`: `done`, the tools whose effect landed in this request, and `repeated`, whether this
very call did. `request.limit_cents` is the most the user said they would spend, if they did;
`request.said` is everything with a digit in it that they wrote (order numbers, last digits),
`request.signals` the kinds of signs of an injection in the request, in what was retrieved and in
what tools returned.
https://docs.cedarpolicy.com/schema/json-schema.html
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import cedarpy

from interlock.bundles.model import Bundle
from interlock_contracts.tools import ToolSpec

NAMESPACE = "Interlock"

_STRING: dict[str, Any] = {"type": "String"}
_SCALARS: dict[str, dict[str, Any]] = {
    "string": _STRING,
    "integer": {"type": "Long"},
    "boolean": {"type": "Boolean"},
    "number": {"type": "Extension", "name": "decimal"},
}
_JSON_TYPE = {str: "string", bool: "boolean", int: "integer", float: "number"}
_MAX_DEPTH = 16
_MAX_DECIMAL = Decimal(922_337_203_685_477)


def cedar_schema(
    bundle: Bundle, contexts: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The bundle's Cedar schema in its JSON form.

    `contexts` are the types of the tools' contexts where they are other than `context_type` has
    them. What Cedar cannot type (maps, unions of different types, a fact whose tool declares no
    `returns`) is left out: a policy that reads it does not pass `check_policies`.
    """
    user = _record({"user": _STRING, "role": _STRING, "scopes": _set(_STRING)})
    actions = {
        name: {
            "appliesTo": {
                "principalTypes": ["User"],
                "resourceTypes": ["Tenant"],
                "context": contexts[name] if contexts else context_type(bundle, tool),
            }
        }
        for name, tool in bundle.tools.items()
    } | {
        read_action(name): {
            "appliesTo": {
                "principalTypes": ["User"],
                "resourceTypes": ["Tenant"],
                "context": READ_CONTEXT,
            }
        }
        for name, source in bundle.sources.items()
        if source.governed
    }
    return {
        NAMESPACE: {
            "entityTypes": {"User": {"shape": user}, "Tenant": {}},
            "actions": actions,
        }
    }


def read_action(source: str) -> str:
    """What reading a governed source is called in policies; no tool's name has a colon."""
    return f"read:{source}"


def context_type(bundle: Bundle, tool: ToolSpec) -> dict[str, Any]:
    """The Cedar record a policy sees as `context` when it judges a call of `tool`."""
    facts = {}
    for fact in tool.facts:
        source = bundle.tools.get(fact.tool)
        known = cedar_type(source.returns) if source and source.returns else None
        if known is not None:
            facts[fact.name] = known
    return _record(
        {
            "arguments": cedar_type(tool.parameters) or _record({}),
            "facts": _record(facts),
            "request": _record(
                {
                    "intent": _STRING,
                    "tenant": _STRING,
                    "channel": _STRING,
                    "limit_cents": {**_SCALARS["integer"], "required": False},
                    "said": _set(_STRING),
                    "signals": _set(_STRING),
                }
            ),
            "history": _record({"done": _set(_STRING), "repeated": _SCALARS["boolean"]}),
        }
    )


def _record(attributes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"type": "Record", "attributes": attributes}


def _set(element: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Set", "element": element}


READ_CONTEXT: dict[str, Any] = _record(
    {
        "request": _record(
            {
                "intent": _STRING,
                "tenant": _STRING,
                "channel": _STRING,
                "signals": _set(_STRING),
            }
        )
    }
)
"""What a policy sees as `context` when it judges whether a source may be read."""


def entity(kind: str, name: str) -> dict[str, str]:
    """The name of an entity: a `User`, an `Action`, the `Tenant`."""
    return {"type": f"{NAMESPACE}::{kind}", "id": name}


@lru_cache(maxsize=4096)
def entities(user: str, role: str, scopes: tuple[str, ...], tenant: str) -> cedarpy.Entities:
    """Who asks and for whom, as Cedar knows them."""
    attributes = {"user": user, "role": role, "scopes": list(scopes)}
    known = [
        {"uid": entity("User", user), "attrs": attributes, "parents": []},
        {"uid": entity("Tenant", tenant), "attrs": {}, "parents": []},
    ]
    return cedarpy.Entities.from_json_str(json.dumps(known))


def cedar_type(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The Cedar type of the values a JSON Schema describes; None where Cedar has none.

    A property is optional in Cedar when it may be absent or null; one of the outermost object
    that has a default is always there (`with_defaults`).
    """
    return _type(schema, schema, 0)


def _type(schema: Any, root: dict[str, Any], depth: int) -> dict[str, Any] | None:
    if depth > _MAX_DEPTH or not isinstance(schema, dict):
        return None
    if "$ref" in schema:
        return _type(_resolve(schema["$ref"], root), root, depth + 1)
    for values in (schema.get("enum"), [schema["const"]] if "const" in schema else None):
        if values:
            return _only({_JSON_TYPE.get(type(value), "") for value in values if value is not None})
    branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if branches:
        found = [_type(branch, root, depth + 1) for branch in branches if not _is_null(branch)]
        return found[0] if found and all(one == found[0] for one in found) else None
    kind = schema.get("type")
    kinds = {kind} if isinstance(kind, str) else set(kind or ()) - {"null"}
    if kinds == {"array"}:
        element = _type(schema.get("items"), root, depth + 1)
        return None if element is None else _set(element)
    if kinds == {"object"} and "properties" in schema:
        return _properties(schema, root, depth)
    return _only(kinds)


def _only(kinds: set[str]) -> dict[str, Any] | None:
    return _SCALARS.get(next(iter(kinds))) if len(kinds) == 1 else None


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    """A local reference (`#/$defs/Name`); anything else resolves to nothing."""
    found: Any = root if reference.startswith("#") else None
    for part in reference.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"


def _nullable(schema: Any, root: dict[str, Any]) -> bool:
    if isinstance(schema, dict) and "$ref" in schema:
        schema = _resolve(schema["$ref"], root)
    if not isinstance(schema, dict):
        return True
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    kind = schema.get("type")
    return (
        any(map(_is_null, branches))
        or (isinstance(kind, list) and "null" in kind)
        or None in schema.get("enum", ())
    )


def _properties(schema: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    attributes = {}
    for name, part in schema["properties"].items():
        known = _type(part, root, depth + 1)
        if known is None:
            continue
        filled_in = depth == 0 and part.get("default") is not None
        always = filled_in or name in schema.get("required", ())
        required = always and not _nullable(part, root)
        attributes[name] = known if required else {**known, "required": False}
    return _record(attributes)


def cedar_value(value: Any, kind: dict[str, Any]) -> Any:
    """A JSON value as Cedar JSON of the type `kind`: nulls and undeclared attributes left out.

    Raises:
        ValueError: the value does not have this type, or Cedar cannot hold it exactly
            (`decimal` has four places).
    """
    match kind["type"]:
        case "Record" if isinstance(value, dict):
            attributes = kind["attributes"]
            return {
                name: cedar_value(value[name], part)
                for name, part in attributes.items()
                if value.get(name) is not None
            }
        case "Set" if isinstance(value, list | tuple):
            return [cedar_value(item, kind["element"]) for item in value]
        case "String" if isinstance(value, str):
            return value
        case "Boolean" if isinstance(value, bool):
            return value
        case "Long" if isinstance(value, int | float) and not isinstance(value, bool):
            if value != int(value):
                raise ValueError("a whole number is needed")
            return int(value)
        case "Extension" if isinstance(value, int | float) and not isinstance(value, bool):
            return {"__extn": {"fn": "decimal", "arg": _decimal(value)}}
    raise ValueError(f"{kind['type']} is needed")


def _decimal(value: float) -> str:
    exact = Decimal(str(value))
    if abs(exact) > _MAX_DECIMAL or exact != round(exact, 4):
        raise ValueError("a decimal has at most four places and eighteen digits")
    return f"{exact:.4f}"


def with_defaults(arguments: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """`arguments` with the contract's defaults where an argument is absent."""
    defaults = {
        name: part["default"]
        for name, part in schema.get("properties", {}).items()
        if isinstance(part, dict) and part.get("default") is not None
    }
    return {**defaults, **arguments}
