"""Does a changed schema still take what was written under the old one?

New code runs on old events: they stay on the log. So a change is breaking when a message that
the old schema accepted may be refused, or read differently, under the new one. What cannot be
shown to be wider (a changed pattern, an unknown keyword) counts as breaking.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_UPPER = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
_LOWER = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
_FIXED = ("pattern", "format", "multipleOf", "uniqueItems", "prefixItems", "propertyNames",
          "patternProperties", "oneOf", "allOf", "not", "if", "then", "else")  # fmt: skip


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Each breaking change from `old` to `new`, as `where: what`; an empty list if there is none.

    Both are whole documents with `$defs`, as `interlock_contracts.schema` writes them. A changed
    `$id` is listed too: a new version is a new schema, not a change of the old.
    """
    found = []
    if old.get("$id") != new.get("$id"):
        found.append(f"$id: changed from {old.get('$id')} to {new.get('$id')}")
    return found + list(_Comparison(old, new).compare(old, new, "$"))


class _Comparison:
    """Two documents being walked side by side."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new
        self._open: set[tuple[str, str]] = set()
        """Pairs of `$ref`s being compared right now: a recursive schema ends here."""

    def compare(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        pair = (str(old.get("$ref")), str(new.get("$ref")))
        if pair in self._open:
            return
        if "$ref" in old or "$ref" in new:
            self._open.add(pair)
        try:
            yield from self._compare(_resolve(self._old, old), _resolve(self._new, new), at)
        finally:
            self._open.discard(pair)

    def _compare(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        if "anyOf" in old or "anyOf" in new:
            yield from self._branches(old, new, at)
            old, new = _without_branches(old), _without_branches(new)
        yield from _types(old, new, at)
        yield from _values(old, new, at)
        yield from _limits(old, new, at)
        yield from self._members(old, new, at)
        if "items" in new:
            yield from self.compare(_schema(old.get("items")), _schema(new["items"]), f"{at}[]")

    def _branches(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        """Every alternative there was must still fit one there is."""
        now = new.get("anyOf", [_only_type(new)])
        for branch in old.get("anyOf", [_only_type(old)]):
            attempts = [list(self.compare(branch, candidate, at)) for candidate in now]
            if [] not in attempts:
                shape = branch.get("$ref") or branch.get("type") or "anything"
                reasons = min(attempts, key=len)
                yield f"{at}: the alternative {shape} was narrowed or removed ({reasons[0]})"

    def _members(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name not in after:
                yield f"{at}.{name}: field removed"
            else:
                yield from self.compare(before[name], after[name], f"{at}.{name}")
        for name in new.get("required", []):
            if name not in old.get("required", []):
                how = "became required" if name in before else "new required field"
                yield f"{at}.{name}: {how}"
        yield from self._others(old, new, at)

    def _others(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        """Members that `properties` does not name."""
        was, now = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if was is False or now is True:
            return
        if now is False:
            yield f"{at}: closed to unknown fields"
        else:
            yield from self.compare(_schema(was), _schema(now), f"{at}.*")


def _types(old: Schema, new: Schema, at: str) -> Iterator[str]:
    now = _names(new)
    if not now:
        return
    was = _names(old)
    widened = now | ({"integer"} if "number" in now else set())
    if not was or not was <= widened:
        yield f"{at}: type narrowed from {_list(was) or 'anything'} to {_list(now)}"


def _values(old: Schema, new: Schema, at: str) -> Iterator[str]:
    now = _allowed(new)
    was = _allowed(old)
    if now is not None and was is None:
        yield f"{at}: narrowed to {_list(map(str, now))}"
    elif now is not None and was is not None:
        for value in was:
            if value not in now:
                yield f"{at}: value {value!r} removed"
    if "default" in old and "default" in new and old["default"] != new["default"]:
        yield f"{at}: default changed, so an event without the field now means something else"


def _limits(old: Schema, new: Schema, at: str) -> Iterator[str]:
    for name in _UPPER:
        if name in new and (name not in old or new[name] < old[name]):
            yield f"{at}: {name} narrowed from {old.get(name, 'none')} to {new[name]}"
    for name in _LOWER:
        if name in new and (name not in old or new[name] > old[name]):
            yield f"{at}: {name} narrowed from {old.get(name, 'none')} to {new[name]}"
    for name in _FIXED:
        if name in new and new[name] != old.get(name):
            yield f"{at}: {name} changed"


def _resolve(document: Schema, schema: Schema) -> Schema:
    """Follow a local `$ref`; what stands beside it (a default) counts as well."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: Any = document
    for part in str(reference).removeprefix("#/").split("/"):
        target = target[part]
    beside = {name: value for name, value in schema.items() if name != "$ref"}
    return {**_resolve(document, target), **beside}


_BESIDE = ("default", "title", "description", "examples")


def _without_branches(schema: Schema) -> Schema:
    """What holds beside the alternatives; a schema without any was an alternative itself."""
    if "anyOf" in schema:
        return {name: value for name, value in schema.items() if name != "anyOf"}
    return {name: schema[name] for name in _BESIDE if name in schema}


def _only_type(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name not in _BESIDE}


def _schema(value: Any) -> Schema:
    """A boolean or missing schema as a mapping: everything is allowed."""
    return value if isinstance(value, Mapping) else {}


def _names(schema: Schema) -> set[str]:
    kind = schema.get("type", [])
    return {kind} if isinstance(kind, str) else set(kind)


def _allowed(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _list(names: Any) -> str:
    return ", ".join(sorted(names))
