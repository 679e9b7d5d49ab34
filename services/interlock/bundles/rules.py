"""Checks of limits and sequence rules: what they count by, add up and wait for must exist."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from interlock.bundles.model import Bundle
from interlock_contracts.rules import USER, Limit, Prerequisite
from interlock_contracts.tools import ToolSpec


def check_rules(bundle: Bundle) -> Iterator[str]:
    """Every problem of the tools' `limits` and `after`, worded."""
    for tool in bundle.tools.values():
        for limit in tool.limits:
            yield from _limit(bundle, tool, limit)
        for rule in tool.after:
            yield from _prerequisite(bundle, tool, rule)
        names = Counter(limit.name for limit in tool.limits if limit.name)
        for name in names:
            if len({limit.sum for limit in tool.limits if limit.name == name}) > 1:
                yield f"tools.py: {tool.name}: limits: {name!r} adds up two different things"


def _limit(bundle: Bundle, tool: ToolSpec, limit: Limit) -> Iterator[str]:
    place = f"tools.py: {tool.name}: limits"
    for path in limit.by:
        wrong = _cannot_count_by(bundle, tool, path)
        if wrong is not None:
            yield f"{place}: {path!r}: {wrong}"
    if limit.sum is None:
        if limit.most != int(limit.most):
            yield f"{place}: {limit.most:g} calls: a whole number is needed"
        return
    argument = tool.parameters.get("properties", {}).get(limit.sum)
    if argument is None:
        yield f"{place}: there is no argument {limit.sum!r} to add up"
    elif argument.get("type") not in ("integer", "number"):
        yield f"{place}: {limit.sum!r} is no number and cannot be added up"
    elif not (argument.get("minimum", -1) >= 0 or argument.get("exclusiveMinimum", -1) >= 0):
        yield f"{place}: {limit.sum!r} may be negative, and give back what was used; add ge=0"


def _cannot_count_by(bundle: Bundle, tool: ToolSpec, path: str) -> str | None:
    """Why a limit cannot count by this, or None."""
    if path == USER:
        return None
    root, *parts = path.split(".")
    if root == "arguments" and len(parts) == 1:
        known = parts[0] in tool.parameters.get("required", ())
        argument = tool.parameters.get("properties", {}).get(parts[0], {})
        if known or argument.get("default") is not None:
            return None
        return "the tool has no such argument, or it may be absent"
    if root == "facts" and len(parts) >= 2:
        fact = next((fact for fact in tool.facts if fact.name == parts[0]), None)
        if fact is None:
            return f"the tool has no fact {parts[0]!r}"
        source = bundle.tools.get(fact.tool)
        if source is None or source.returns is None or _always(source.returns, parts[1:]):
            return None
        return f"{fact.tool} does not always return it"
    return "count by 'user', 'arguments.NAME' or 'facts.FACT.FIELD'"


def _always(schema: dict[str, Any], path: list[str]) -> bool:
    now: Any = schema
    for part in path:
        if "$ref" in now:
            now = schema.get("$defs", {}).get(str(now["$ref"]).rpartition("/")[2], {})
        if part not in now.get("required", ()):
            return False
        now = now.get("properties", {}).get(part, {})
    return True


def _prerequisite(bundle: Bundle, tool: ToolSpec, rule: Prerequisite) -> Iterator[str]:
    place = f"tools.py: {tool.name}: after {rule.tool}"
    before = bundle.tools.get(rule.tool)
    if before is None:
        yield f"{place}: there is no such tool"
        return
    if rule.tool == tool.name:
        yield f"{place}: a tool cannot wait for itself"
    for theirs, ours in rule.same.items():
        if theirs not in before.parameters.get("properties", {}):
            yield f"{place}: {rule.tool} has no argument {theirs!r}"
        if ours not in tool.parameters.get("properties", {}):
            yield f"{place}: {tool.name} has no argument {ours!r}"
    if rule.within_s is not None:
        return
    for name, intent in bundle.intents.items():
        if tool.name in intent.tools and rule.tool not in intent.tools:
            yield f"{place}: intent {name!r} has no {rule.tool}, so it can never be run there"
