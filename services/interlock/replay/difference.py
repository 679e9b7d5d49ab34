"""What differs between two JSON values: the first place, as a pointer, with both values."""

import json
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


_AROUND = 60
_LONGEST = 160


def as_diff(recorded: Any, replayed: Any) -> list[str]:
    """Two lines for people, `- recorded` and `+ replayed`.

    Of long texts what surrounds the first character that differs.
    """
    before, now = (json.dumps(one, ensure_ascii=False) for one in (recorded, replayed))
    pairs = enumerate(zip(before, now, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), min(len(before), len(now)))
    return [f"  - {_around(before, at)}", f"  + {_around(now, at)}"]


def _around(text: str, at: int) -> str:
    if len(text) <= _LONGEST:
        return text
    start = max(0, at - _AROUND)
    end = start + _LONGEST
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
