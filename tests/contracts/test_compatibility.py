"""The schemas of today take everything the released ones took, unless the version says so."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.contracts.goldens import SCHEMAS

from interlock_contracts.compat import breaking_changes
from interlock_contracts.schema import schemas

RELEASED = sorted((SCHEMAS / "released").glob("v*/*.json"))
Json = dict[str, Any]


def _load(name: str) -> Json:
    parsed: Json = json.loads((SCHEMAS / "released" / "v0.1" / f"{name}.json").read_bytes())
    return parsed


def _version(schema: Json) -> int:
    return int(schema["$id"].rpartition(":v")[2])


def unannounced_breaks(released: Json, now: Json | None) -> list[str]:
    """What breaks readers of a released schema without a higher version to say so."""
    if now is None:
        return [f"{released['$id']} was removed"]
    same_name = released["$id"].rpartition(":")[0] == now["$id"].rpartition(":")[0]
    if same_name and _version(now) > _version(released):
        return []
    return breaking_changes(released, now)


def test_there_is_a_released_baseline_for_every_schema() -> None:
    assert {path.stem for path in RELEASED} >= set(schemas())


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_nothing_released_is_broken_without_a_new_version(path: Any) -> None:
    now = schemas().get(path.stem)
    assert unannounced_breaks(json.loads(path.read_bytes()), now) == []


def _drop_field(schema: Json) -> None:
    del schema["properties"]["channel"]


def _new_required(schema: Json) -> None:
    schema["properties"]["region"] = {"type": "string"}
    schema["required"].append("region")


def _made_required(schema: Json) -> None:
    schema["required"].append("consent")


def _narrow_type(schema: Json) -> None:
    schema["properties"]["consent"]["type"] = "string"


def _narrow_union(schema: Json) -> None:
    branches = schema["properties"]["deadline"]["anyOf"]
    branches.remove({"type": "null"})


def _union_gone(schema: Json) -> None:
    schema["properties"]["deadline"] = {"type": "string", "format": "date-time"}


def _narrow_enum(schema: Json) -> None:
    schema["$defs"]["Turn"]["properties"]["role"]["enum"].remove("assistant")


def _new_enum(schema: Json) -> None:
    schema["properties"]["locale"]["enum"] = ["en"]


def _narrow_pattern(schema: Json) -> None:
    schema["properties"]["tenant"]["pattern"] = "^[a-z]{1,64}$"


def _new_pattern(schema: Json) -> None:
    schema["properties"]["locale"]["pattern"] = "^[a-z]{2}$"


def _lower_maximum(schema: Json) -> None:
    schema["properties"]["text"]["maxLength"] = 100


def _fewer_items(schema: Json) -> None:
    schema["$defs"]["Principal"]["properties"]["scopes"]["maxItems"] = 8


def _raise_minimum(schema: Json) -> None:
    schema["$defs"]["Principal"]["properties"]["user"]["minLength"] = 2


def _new_limit(schema: Json) -> None:
    schema["properties"]["locale"]["maxLength"] = 5


def _narrow_items(schema: Json) -> None:
    schema["$defs"]["Principal"]["properties"]["scopes"]["items"]["type"] = "integer"


def _change_default(schema: Json) -> None:
    schema["properties"]["consent"]["default"] = True


def _change_id(schema: Json) -> None:
    schema["$id"] = "urn:interlock:inquiry:v1"


def _nested_required(schema: Json) -> None:
    schema["$defs"]["Principal"]["required"].append("scopes")


def _unknown_keyword(schema: Json) -> None:
    schema["properties"]["locale"]["not"] = {"const": "xx"}


BREAKS: list[tuple[Callable[[Json], None], str]] = [
    (_drop_field, "$.channel: field removed"),
    (_new_required, "$.region: new required field"),
    (_made_required, "$.consent: became required"),
    (_narrow_type, "$.consent: type narrowed from boolean to string"),
    (_narrow_union, "$.deadline: the alternative null was narrowed or removed"),
    (_union_gone, "$.deadline: the alternative null was narrowed or removed"),
    (_narrow_enum, "$.history[].role: value 'assistant' removed"),
    (_new_enum, "$.locale: narrowed to en"),
    (_narrow_pattern, "$.tenant: pattern changed"),
    (_new_pattern, "$.locale: pattern changed"),
    (_lower_maximum, "$.text: maxLength narrowed from 16384 to 100"),
    (_fewer_items, "$.principal.scopes: maxItems narrowed from 64 to 8"),
    (_raise_minimum, "$.principal.user: minLength narrowed from 1 to 2"),
    (_new_limit, "$.locale: maxLength narrowed from none to 5"),
    (_narrow_items, "$.principal.scopes[]: type narrowed from string to integer"),
    (_change_default, "$.consent: default changed"),
    (_change_id, "$id: changed from urn:interlock:request:v1 to urn:interlock:inquiry:v1"),
    (_nested_required, "$.principal.scopes: became required"),
    (_unknown_keyword, "$.locale: not changed"),
]


@pytest.mark.parametrize(
    ("plant", "reason"), BREAKS, ids=lambda case: getattr(case, "__name__", "")
)
def test_a_planted_break_is_caught_and_nothing_else(
    plant: Callable[[Json], None], reason: str
) -> None:
    released = _load("request")
    now = copy.deepcopy(released)
    plant(now)
    found = unannounced_breaks(released, now)
    assert len(found) == 1, found
    assert found[0].startswith(reason)


def test_a_new_version_may_break() -> None:
    released = _load("request")
    now = copy.deepcopy(released)
    _drop_field(now)
    now["$id"] = "urn:interlock:request:v2"
    assert unannounced_breaks(released, now) == []
    assert breaking_changes(released, now) != []


def test_a_removed_event_and_an_older_version_are_caught() -> None:
    released = _load("request")
    assert unannounced_breaks(released, None) == ["urn:interlock:request:v1 was removed"]
    older = {**released, "$id": "urn:interlock:request:v0"}
    assert unannounced_breaks(released, older) != []


def _widen(schema: Json) -> None:
    schema["properties"]["region"] = {"type": "string", "default": "eu"}
    schema["properties"]["text"]["maxLength"] = 32_768
    schema["properties"]["locale"] = {
        "anyOf": [{"type": "string"}, {"type": "null"}],
        "default": "en",
    }
    schema["$defs"]["Turn"]["properties"]["role"]["enum"].append("system")
    schema["$defs"]["Turn"]["required"].remove("role")
    del schema["properties"]["tenant"]["pattern"]
    schema["properties"]["text"]["description"] = "What the person wrote."


def test_widening_is_no_break_but_the_way_back_is() -> None:
    released = _load("request")
    now = copy.deepcopy(released)
    _widen(now)
    assert breaking_changes(released, now) == []
    back = breaking_changes(now, released)
    for where in ("$.region", "$.text", "$.locale", "$.tenant", "$.history[].role"):
        assert any(change.startswith(f"{where}:") for change in back), where


def test_numbers_maps_and_recursion() -> None:
    def whole(field: Json) -> Json:
        return {"$id": "urn:x:v1", "type": "object", "properties": {"a": field}}

    integer, number = {"type": "integer"}, {"type": "number"}
    assert breaking_changes(whole(integer), whole(number)) == []
    assert breaking_changes(whole(number), whole(integer)) != []
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    anything = {"type": "object", "additionalProperties": True}
    closed = {"type": "object", "additionalProperties": False}
    assert breaking_changes(whole(texts), whole(anything)) == []
    assert breaking_changes(whole(anything), whole(texts)) != []
    assert breaking_changes(whole(anything), whole(closed)) != []
    assert breaking_changes(whole(closed), whole(texts)) == []
    tree = {"$id": "urn:t:v1", "$ref": "#/$defs/T", "$defs": {"T": {
        "type": "object", "properties": {"sub": {"$ref": "#/$defs/T"}, "n": integer}}}}  # fmt: skip
    assert breaking_changes(tree, tree) == []
    other = copy.deepcopy(tree)
    other["$defs"]["T"]["properties"]["n"] = {"type": "string"}  # type: ignore[index]
    assert breaking_changes(tree, other) == ["$.n: type narrowed from integer to string"]
