"""Arguments of writes that nothing holds: free text, and amounts without an end."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from interlock.bundles.model import Bundle
from interlock.bundles.policies import Policy
from interlock.bundles.reach import Part, Way, paths
from interlock_contracts.routing import Risk
from interlock_contracts.tools import ToolSpec

Finding = tuple[str, str]
"""Its place, and what to do about it."""


def changing(bundle: Bundle, ways: Iterable[Way]) -> dict[str, ToolSpec]:
    """The reachable tools that write or reach outside, by name."""
    reached = dict.fromkeys(way.action for way in ways if way.outcomes)
    tools = {name: bundle.tools[name] for name in reached if name in bundle.tools}
    return {name: tool for name, tool in tools.items() if tool.effect != "read"}


def open_texts(
    bundle: Bundle, policies: Sequence[Policy], ways: Sequence[Way]
) -> Iterator[Finding]:
    """Free text in an argument of a write that nothing looks at."""
    read = {path for one in policies for path in paths(one.parsed["conditions"])}
    for name, tool in changing(bundle, ways).items():
        looked_at = {*tool.accepts, *tool.confirms}
        looked_at |= {ours for fact in tool.facts for ours in fact.arguments.values()}
        looked_at |= {ours for rule in tool.after for ours in rule.same.values()}
        for argument, schema in tool.parameters.get("properties", {}).items():
            path = f"arguments.{argument}"
            judged = any(one in ("arguments", path) or one.startswith(f"{path}.") for one in read)
            if argument not in looked_at and not judged and _free(schema, tool.parameters):
                yield (
                    "tools.py",
                    f"{name}.{argument} is free text of a tool with effect {tool.effect!r} that "
                    "no policy, pattern or enum looks at; say where it may come from (accepts), "
                    "or give it a pattern",
                )


def _free(schema: Any, root: Mapping[str, Any], depth: int = 0) -> bool:
    """Whether some text in a value of this schema may be anything at all."""
    if depth > 16 or not isinstance(schema, Mapping):
        return True
    reference = str(schema.get("$ref", ""))
    if reference.startswith("#/$defs/"):
        part = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
        return _free(part, root, depth + 1)
    if any(bound in schema for bound in ("enum", "const", "pattern", "format")):
        return False
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    if branches:
        return any(_free(branch, root, depth + 1) for branch in branches)
    kinds = schema.get("type", "any")
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    inner = [*schema.get("properties", {}).values()]
    if "array" in kinds:
        inner.append(schema.get("items"))
    if "object" in kinds and schema.get("additionalProperties", False) is not False:
        inner.append(schema["additionalProperties"])
    return bool(kinds & {"string", "any"}) or any(_free(one, root, depth + 1) for one in inner)


def open_amounts(bundle: Bundle, ways: Sequence[Way]) -> Iterator[Finding]:
    """Quantities of a risky write that may be as large as they like, for some who may call it."""
    for name, tool in changing(bundle, ways).items():
        if tool.risk is not Risk.HIGH:
            continue
        seen = {one.sum for one in tool.limits}
        seen |= {ours for fact in tool.facts for ours in fact.arguments.values()}
        for argument, schema in tool.parameters.get("properties", {}).items():
            if argument in seen or not _unbounded(schema, tool, argument in tool.derives):
                continue
            through: dict[Policy, list[str]] = {}
            for way in ways:
                if way.action == name and not _held(bundle, way):
                    for policy in _letting(way, f"arguments.{argument}"):
                        through.setdefault(policy, []).extend(way.who)
            for policy, who in through.items():
                yield (
                    policy.place,
                    f"{policy.id} lets {', '.join(dict.fromkeys(who))} call {name} with any "
                    f"{argument}: no policy, limit or schema says what is too much; add a "
                    "condition or an @obligation on it, a limit, or an upper bound",
                )


def _letting(way: Way, path: str) -> list[Policy]:
    """The permits that may let a call through without a person, whatever stands at `path`.

    None where a policy that forbids, or obliges to more, looks at it. What lets every call
    through is left to `_unconstrained`.
    """
    holding = [*way.forbids, *(one for one in way.permits if one.policy.obligations)]
    if () not in way.outcomes or any(_reads(one, path) for one in holding):
        return []
    return [
        one.policy
        for one in way.permits
        if not one.policy.obligations
        and not _reads(one, path)
        and (way.forbids or one.policy.parsed["conditions"])
    ]


def _reads(part: Part, path: str) -> bool:
    return any(one in ("arguments", path) or one.startswith(f"{path}.") for one in part.on)


def _held(bundle: Bundle, way: Way) -> bool:
    """Whether an override has a person see every call of this way."""
    risk = bundle.intents[way.intent].risk.value
    features = {
        "intents": frozenset((way.intent,)),
        "risks": frozenset((risk,)),
        "roles": frozenset(way.who),
    }
    return any(one.effect != "block" and one.has(features) for one in bundle.overrides)


def _unbounded(schema: Any, tool: ToolSpec, derived: bool, depth: int = 0) -> bool:
    """Whether a value may be a quantity without an upper bound.

    Any `number` is one; an `integer`, which may as well be an identifier, where it has a lower
    bound, or the contract says how it is `derived` from others.
    """
    if depth > 16 or not isinstance(schema, Mapping):
        return False
    reference = str(schema.get("$ref", ""))
    if reference.startswith("#/$defs/"):
        part = tool.parameters.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
        return _unbounded(part, tool, derived, depth + 1)
    if any(bound in schema for bound in ("maximum", "exclusiveMaximum", "enum", "const")):
        return False
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if branches:
        return any(_unbounded(branch, tool, derived, depth + 1) for branch in branches)
    kinds = schema.get("type", ())
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    counted = derived or "minimum" in schema or "exclusiveMinimum" in schema
    return "number" in kinds or ("integer" in kinds and counted)
