"""Where does each argument value come from, and does the contract accept that?

The places (`sources`) are looked through from the most trustworthy to the least; the first
place that has the value and that the contract accepts counts, else the first it lets a person
confirm. A number that stands nowhere may follow from others (`derived`).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from interlock.contract_validator.checks.derived import derive
from interlock.contract_validator.checks.matching import Needle
from interlock.contract_validator.checks.sources import Path, Place, Sources, Words
from interlock.contract_validator.checks.text import MOST_VALUES, leaves, pointer, shown
from interlock_contracts.failures import FailureCode
from interlock_contracts.tools import SAFE_ORIGINS, ToolSpec
from interlock_contracts.verdict import Fact, Origin, Provenance, Violation, violation

Origins = Sequence[Origin]


def origins_for(tool: ToolSpec, path: str) -> tuple[Origins, Origins]:
    """What the contract (accepts, lets a person confirm) for the argument at `path`."""
    name = path.split("/", 2)[1]
    if "~" in name:
        name = name.replace("~1", "/").replace("~0", "~")
    return tool.accepts.get(name, SAFE_ORIGINS), tool.confirms.get(name, ())


def trace(
    tool: ToolSpec, arguments: Mapping[str, Any], facts: Sequence[Fact], sources: Sources
) -> tuple[Provenance, ...]:
    """The origin of every value in `arguments`, and of every value nested in one.

    Of more than `MOST_VALUES` only the first: `check_arguments` refuses such a call.
    """
    found = []
    for path, value in islice(leaves(arguments), MOST_VALUES):
        if not path:
            continue  # there are no arguments at all
        # A fact that was fetched with this very argument cannot be what vouches for it.
        fed = {fact.name for fact in tool.facts if path[0] in fact.arguments.values()}
        others = [fact for fact in facts if fact.name not in fed]
        at = pointer(*path)
        origin, evidence = _find(value, path, tool, origins_for(tool, at), others, sources)
        found.append(Provenance(path=at, origin=origin, evidence=evidence))
    return tuple(found)


def locate(value: Any, facts: Sequence[Fact], sources: Sources) -> tuple[Origin, str]:
    """The most trustworthy place that has the value, whatever a contract says of it."""
    return _first(Needle(value), sources.places(facts, value), tuple(Origin), ())


def _find(
    value: Any,
    path: Path,
    tool: ToolSpec,
    wanted: tuple[Origins, Origins],
    facts: Sequence[Fact],
    sources: Sources,
) -> tuple[Origin, str]:
    """The first accepted place that has the value; else one to confirm; else the best."""
    accepted, confirmed = wanted
    constant = _constant(value, path, tool.parameters)
    if constant is not None and Origin.CONSTANT in accepted:
        return Origin.CONSTANT, constant
    found = _first(Needle(value), sources.places(facts, value), accepted, confirmed)
    functions = tool.derives.get(str(path[0]), ())
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if functions and number and (found[0] not in accepted or found[0] is Origin.INVENTED):
        derived = derive(value, functions, sources.places(facts, value))
        if derived is not None and (found[0] is Origin.INVENTED or derived[0] in accepted):
            found = derived
    if found[0] is Origin.INVENTED and constant is not None:
        return Origin.CONSTANT, constant
    return found


def _first(
    needle: Needle, places: Iterable[Place], accepted: Origins, confirmed: Origins
) -> tuple[Origin, str]:
    best: tuple[Origin, str] | None = None
    for place in places:
        settled = best is not None and (best[0] in confirmed or place.origin not in confirmed)
        if settled and place.origin not in accepted:
            continue
        evidence = _evidence(needle, place)
        if evidence is None:
            continue
        if place.origin in accepted:
            return place.origin, evidence
        if best is None or place.origin in confirmed:
            best = (place.origin, evidence)
    return best or (Origin.INVENTED, "found nowhere")


def _evidence(needle: Needle, place: Place) -> str | None:
    if isinstance(place, Words):
        span = place.text.find(needle)
        if span is None:
            return None
        start, end = span
        return f"{place.name}[{start}:{end}] {shown(place.text.original[start:end])}"
    for leaf in place.leaves:
        if leaf.has(needle):
            return f"{place.name}{pointer(*leaf.path)} = {shown(leaf.value)}"
    return None


def _constant(value: Any, path: Path, parameters: Mapping[str, Any]) -> str | None:
    """Why the contract itself accounts for the value, or None.

    A value without content (null, empty) and a yes or no carry no words of anybody.
    """
    if value is None or isinstance(value, bool) or value in ("", [], {}):
        return "a value without content" if not isinstance(value, bool) else "a yes or no"
    for schema in _schemas(parameters, path):
        for keyword in ("const", "enum", "default"):
            if keyword not in schema:
                continue
            stated = schema[keyword]
            options = stated if keyword == "enum" and isinstance(stated, list) else [stated]
            if any(_same(value, option) for option in options):
                return f"{keyword} of the contract"
    return None


def _same(value: Any, option: Any) -> bool:
    return bool(value == option) and isinstance(value, bool) == isinstance(option, bool)


def _schemas(root: Mapping[str, Any], path: Path) -> list[Mapping[str, Any]]:
    """The schemas that describe the value at `path`: through references and unions."""
    now = _expand(root, root, 0)
    for part in path:
        step: list[Mapping[str, Any]] = []
        for schema in now:
            nested = (
                schema.get("items")
                if isinstance(part, int)
                else schema.get("properties", {}).get(part)
            )
            step += _expand(nested, root, 0)
        now = step
    return now


def _expand(schema: Any, root: Mapping[str, Any], depth: int) -> list[Mapping[str, Any]]:
    if not isinstance(schema, dict) or depth > 16:
        return []
    found: list[Mapping[str, Any]] = [schema]
    reference = str(schema["$ref"]) if "$ref" in schema else ""
    if reference.startswith("#/$defs/"):
        name = reference.removeprefix("#/$defs/")
        found += _expand(root.get("$defs", {}).get(name), root, depth + 1)
    for keyword in ("anyOf", "oneOf", "allOf"):
        for branch in schema.get(keyword, ()):
            found += _expand(branch, root, depth + 1)
    return found


def check_origins(index: int, tool: ToolSpec, provenance: Iterable[Provenance]) -> list[Violation]:
    """untrusted_instruction and argument_ungrounded, for origins that are refused."""
    found = []
    for one in provenance:
        if any(one.origin in origins for origins in origins_for(tool, one.path)):
            continue
        path = pointer("calls", index, "arguments") + one.path
        if one.origin in (Origin.UNTRUSTED, Origin.REFERRED):
            code = FailureCode.UNTRUSTED_INSTRUCTION
            message = f"the value stands only in untrusted content: {one.evidence.split(' ')[0]}"
        elif one.origin is Origin.INVENTED:
            code = FailureCode.ARGUMENT_UNGROUNDED
            message = "the value stands in nothing that was said, retrieved or returned"
        else:
            code = FailureCode.ARGUMENT_UNGROUNDED
            message = f"its origin {one.origin} is not accepted for this argument"
        found.append(violation(code, path, message))
    return found
