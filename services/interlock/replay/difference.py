"""What differs between two JSON values: the first place, as a pointer, with both values."""

from typing import Any

ABSENT = "(nothing)"
"""Stands for a member or element that only one side has."""

_Found = tuple[str, Any, Any]


def first_difference(recorded: Any, replayed: Any, path: str = "") -> _Found | None:
    """JSON pointer (RFC 6901), recorded and replayed value; None where nothing differs.

    Members are compared in the order they are recorded in: a case tells its story in the order it
    happened, so what comes first is the cause of what comes later.
    """
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        names = [*recorded, *(name for name in replayed if name not in recorded)]
        pairs = [(name, recorded.get(name, ABSENT), replayed.get(name, ABSENT)) for name in names]
    elif isinstance(recorded, list) and isinstance(replayed, list):
        longest = max(len(recorded), len(replayed))
        pairs = [(str(at), _at(recorded, at), _at(replayed, at)) for at in range(longest)]
    elif isinstance(recorded, bool) is isinstance(replayed, bool) and recorded == replayed:
        return None
    else:
        return path, recorded, replayed
    for name, before, now in pairs:
        token = name.replace("~", "~0").replace("/", "~1")
        found = first_difference(before, now, f"{path}/{token}")
        if found is not None:
            return found
    return None


def _at(values: list[Any], position: int) -> Any:
    return values[position] if position < len(values) else ABSENT
