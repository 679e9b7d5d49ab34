"""Where does each argument value come from, and does the contract accept that?

The places are looked through from the most trustworthy to the least; the first place that has
the value and that the contract accepts counts. What an assistant said earlier is no source: a
model must not vouch for itself. Neither is what a system merely repeats of the arguments it
was asked with.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from interlock.contract_validator.checks.matching import Needle, Text
from interlock.contract_validator.checks.text import MOST_VALUES, leaves, pointer, shown
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.retrieval import Trust
from interlock_contracts.tools import SAFE_ORIGINS, ToolSpec
from interlock_contracts.verdict import Fact, Origin, Provenance, Violation, violation

Path = tuple[str | int, ...]


class Leaf:
    """One value a system returned; text is normalised once, however often it is looked into."""

    __slots__ = ("path", "text", "value")

    def __init__(self, path: Path, value: Any) -> None:
        self.path = path
        self.value = value
        self.text = Text(value) if isinstance(value, str) else None

    def has(self, needle: Needle) -> bool:
        """Whether this is the value, or text that has it."""
        if self.text is not None:
            return self.text.find(needle) is not None
        return needle.equals(self.value)


@dataclass(frozen=True, slots=True)
class Values:
    """JSON a system returned: its leaves, less those it was asked with."""

    origin: Origin
    name: str
    leaves: tuple["Leaf", ...]


@dataclass(frozen=True, slots=True)
class Words:
    """Text somebody wrote."""

    origin: Origin
    name: str
    text: Text


class Sources:
    """Everything of one case a value may come from; costly parts are prepared on first use."""

    def __init__(self, case: Case) -> None:
        request = case.request
        who = (Leaf(("user",), request.principal.user),)
        self._user: list[Values | Words] = [
            Values(Origin.USER, "principal", who),
            Words(Origin.USER, "text", Text(request.text)),
        ]
        self._user += [
            Words(Origin.USER, f"history[{index}]", Text(turn.text))
            for index, turn in enumerate(request.history)
            if turn.role == "user"
        ]
        self._results = list(_results(case))
        chunks = case.context.chunks if case.context else ()
        words = [
            Words(
                Origin.TRUSTED if chunk.trust is Trust.TRUSTED else Origin.UNTRUSTED,
                chunk.handle,
                Text(chunk.text),
            )
            for chunk in chunks
        ]
        self._chunks = sorted(words, key=lambda place: place.origin is Origin.UNTRUSTED)

    def places(self, facts: Iterable[Fact]) -> Iterator[Values | Words]:
        """Most trustworthy first."""
        for fact in facts:
            yield Values(Origin.FACT, f"fact {fact.name}", _own(fact.value, fact.arguments))
        yield from self._user
        yield from self._results
        yield from self._chunks


def _results(case: Case) -> Iterator[Values]:
    for step in case.steps:
        asked = {action.action: action.arguments for action in step.verdict.actions}
        for result in step.results:
            own = _own(result.output, asked.get(result.action, {}))
            yield Values(Origin.RESULT, f"result r{result.action}", own)


def _own(value: Any, asked: Mapping[str, Any]) -> tuple[Leaf, ...]:
    """The leaves of `value`, without those that only repeat what was asked with."""
    echoes = [Needle(item) for _, item in leaves(asked)]
    return tuple(
        Leaf(path, item)
        for path, item in leaves(value)
        if not any(echo.equals(item) for echo in echoes)
    )


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
        accepted = tool.accepts.get(str(path[0]), SAFE_ORIGINS)
        # A fact that was fetched with this very argument cannot be what vouches for it.
        fed = {fact.name for fact in tool.facts if path[0] in fact.arguments.values()}
        others = [fact for fact in facts if fact.name not in fed]
        origin, evidence = _find(value, path, tool, accepted, sources.places(others))
        found.append(Provenance(path=pointer(*path), origin=origin, evidence=evidence))
    return tuple(found)


def _find(
    value: Any,
    path: Path,
    tool: ToolSpec,
    accepted: Sequence[Origin],
    places: Iterable[Values | Words],
) -> tuple[Origin, str]:
    """The first accepted place that has the value; else the best place; else invented."""
    best: tuple[Origin, str] | None = None
    constant = _constant(value, path, tool.parameters)
    if constant is not None:
        best = (Origin.CONSTANT, constant)
        if Origin.CONSTANT in accepted:
            return best
    needle = Needle(value)
    for place in places:
        if best is not None and place.origin not in accepted:
            continue
        evidence = _evidence(needle, place)
        if evidence is None:
            continue
        if place.origin in accepted:
            return place.origin, evidence
        best = best or (place.origin, evidence)
    return best or (Origin.INVENTED, "found nowhere")


def _evidence(needle: Needle, place: Values | Words) -> str | None:
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
            stated = schema.get(keyword)
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
    reference = str(schema.get("$ref", ""))
    if reference.startswith("#/$defs/"):
        name = reference.removeprefix("#/$defs/")
        found += _expand(root.get("$defs", {}).get(name), root, depth + 1)
    for keyword in ("anyOf", "oneOf", "allOf"):
        for branch in schema.get(keyword, ()):
            found += _expand(branch, root, depth + 1)
    return found


def check_origins(index: int, tool: ToolSpec, provenance: Iterable[Provenance]) -> list[Violation]:
    """untrusted_instruction and argument_ungrounded, for origins the contract does not accept."""
    found = []
    for one in provenance:
        name = one.path.split("/")[1].replace("~1", "/").replace("~0", "~")
        if one.origin in tool.accepts.get(name, SAFE_ORIGINS):
            continue
        path = pointer("calls", index, "arguments") + one.path
        if one.origin is Origin.UNTRUSTED:
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
