"""What changes from one bundle to another, in words: first what somebody may newly do.

Known parts are told in their own terms. Whatever else differs is told by its place and its two
values, so that nothing is passed over because it is new.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, Literal

from interlock.bundles.model import Bundle
from interlock.bundles.reach import EVERYBODY, admitted_roles

Kind = Literal["added", "removed", "changed"]

_PLURAL = {
    "intents": "intent",
    "tools": "tool",
    "policies": "policy file",
    "sources": "source",
    "outputs": "output contract",
    "models": "model route",
    "prompts": "prompt",
    "replies": "reply",
}
"""The parts that are named things, and what one of them is called; in the order they are told."""

_TEXTS = ("policies", "prompts")
"""Parts whose things are texts: told by their lines."""

_SHOWN = 60
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that changes. `part` is where; `lines` show a changed text."""

    part: str
    kind: Kind
    text: str
    lines: tuple[str, ...] = ()


def differences(before: Bundle, after: Bundle) -> list[Difference]:
    """Everything that changes; none if they are the same bundle."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    found = list(_reach(before, after))
    for part, called in _PLURAL.items():
        found += _named(part, called, old.pop(part, {}), new.pop(part, {}))
    for part in dict.fromkeys((*old, *new)):
        for text in _values((part,), old.get(part), new.get(part)):
            found.append(Difference(part, "changed", text))
    return found


def _reach(before: Bundle, after: Bundle) -> Iterator[Difference]:
    """Which tools can be reached from where, and by whom."""
    old, new = reachable(before), reachable(after)
    for way in sorted(set(old) | set(new)):
        was, now = old.get(way, frozenset()), new.get(way, frozenset())
        tool, intent = way
        more, less = _those(now - was), _those(was - now)
        if more:
            yield Difference("reach", "added", f"{more} can now reach {tool} from {intent}")
        if less:
            yield Difference("reach", "removed", f"{less} can no longer reach {tool} from {intent}")


def _those(roles: frozenset[str]) -> str:
    return ", ".join(sorted(roles))


def reachable(bundle: Bundle) -> dict[tuple[str, str], frozenset[str]]:
    """The roles that reach a tool from an intent, by (tool, intent); policies come after."""
    ways = {}
    for name, intent in bundle.intents.items():
        for tool in intent.tools:
            spec = bundle.tools.get(tool)
            if spec is None or intent.refusal is not None:
                continue
            roles = admitted_roles(intent.roles, spec.roles)
            if roles is None or roles:
                ways[tool, name] = frozenset(roles or {EVERYBODY})
    return ways


def _named(
    part: str, called: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[Difference]:
    for name in sorted(set(old) | set(new)):
        if name not in old:
            yield Difference(part, "added", f"{called} {name} is new")
        elif name not in new:
            yield Difference(part, "removed", f"{called} {name} is gone")
        elif old[name] != new[name]:
            yield from _changed(part, called, name, old[name], new[name])


def _changed(part: str, called: str, name: str, old: Any, new: Any) -> Iterator[Difference]:
    if part in _TEXTS:
        lines = tuple(unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1))[2:]
        more = sum(line.startswith("+") for line in lines)
        less = sum(line.startswith("-") for line in lines)
        text = f"{called} {name}: {_count(more)} added, {_count(less)} removed"
        yield Difference(part, "changed", text, lines)
        return
    for text in _values((), old, new):
        yield Difference(part, "changed", f"{called} {name}: {text}")


def _count(lines: int) -> str:
    return f"{lines} line{'' if lines == 1 else 's'}"


def _values(place: tuple[str, ...], old: Any, new: Any) -> Iterator[str]:
    """What differs between two JSON values, each as one short text."""
    if old == new:
        return
    where = " ".join(place)
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _values((*place, key), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(place, old, new)
    elif old is None:
        yield f"{where} {_value(new)} is new".strip()
    elif new is None:
        yield f"{where} {_value(old)} is gone".strip()
    else:
        yield f"{where} {_value(old)} → {_value(new)}".strip()


def _lists(place: tuple[str, ...], old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    if len(old) == len(new) and any(isinstance(one, dict) for one in (*old, *new)):
        for number, (before, after) in enumerate(zip(old, new, strict=True), 1):
            yield from _values((*place, str(number)), before, after)
        return
    more = [_value(one) for one in new if one not in old]
    less = [_value(one) for one in old if one not in new]
    told = []
    for values, word in ((more, "added"), (less, "removed")):
        if values:
            shown = ", ".join(values[:4]) + (f" and {len(values) - 4} more" if values[4:] else "")
            told.append(f"{shown} {word}")
    yield f"{' '.join(place)}: {'; '.join(told) or 'in another order'}"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value) if value != "" else '""'
    text = " ".join(str(text).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
