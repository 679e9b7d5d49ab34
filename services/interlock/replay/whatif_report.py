"""A what-if for people: the table of flips, and one HTML file that stands by itself."""

import difflib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

ORDER = ("flip", "cannot_evaluate", "wording", "same")
WORDS = {
    "flip": "flipped",
    "cannot_evaluate": "cannot be evaluated",
    "wording": "other words",
    "same": "the same",
}


def ordered(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Flips first, and of those first what would let an action through."""
    return sorted(found, key=lambda one: (ORDER.index(one["change"]), not one["opened"]))


def summary(counts: Counter[str]) -> str:
    """One line."""
    told = ", ".join(f"{counts[name]:,} {WORDS[name]}" for name in ORDER if counts[name])
    return f"{counts.total():,} requests: {told or 'none'}"


def actions(side: dict[str, Any]) -> str:
    """The actions of one side: the tool and the last decision on it."""
    last = {
        (one["tool"], json.dumps(one["arguments"], sort_keys=True)): one for one in side["actions"]
    }
    return ", ".join(f"{one['tool']}: {one['decision']}" for one in last.values())


def write_html(path: Path, setup: str, counts: Counter[str], found: list[dict[str, Any]]) -> None:
    """The report: a summary, and each changed request with both sides. No outside asset."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["pretty"] = lambda value: json.dumps(value, ensure_ascii=False, indent=1)
    template = environment.from_string(
        Path(__file__).with_name("whatif_report.html").read_text(encoding="utf-8")
    )
    page = template.render(
        setup=setup,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        counts=[(WORDS[name], name, counts[name]) for name in ORDER],
        total=counts.total(),
        requests=[{**one, "pairs": _pairs(one["sides"])} for one in ordered(found)],
        words=WORDS,
        actions=actions,
    )
    path.write_text(page, encoding="utf-8")


def _pairs(sides: dict[str, Any]) -> list[dict[str, Any]]:
    """Events of both sides by their address, those of the record first, each with its lines."""
    keys: list[tuple[str, str]] = []
    by: dict[str, dict[tuple[str, str], Any]] = {"before": {}, "after": {}}
    for name in ("before", "after"):
        for event in sides[name]:
            key = event["event"], event["step"]
            by[name].setdefault(key, event["data"])
            if key not in keys:
                keys.append(key)
    pairs = []
    for key in keys:
        before, after = by["before"].get(key), by["after"].get(key)
        left, right = (_lines(one) for one in (before, after))
        rows = _rows(left, right)
        pairs.append({"title": " ".join(key).strip(), "same": left == right, "rows": rows})
    return pairs


def _lines(data: Any) -> list[str]:
    return [] if data is None else json.dumps(data, ensure_ascii=False, indent=1).splitlines()


def _rows(left: list[str], right: list[str]) -> list[tuple[str, str, str]]:
    """Lines beside each other: what kind of difference, the left one, the right one."""
    rows: list[tuple[str, str, str]] = []
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        rows += [
            (kind, left[a + at] if a + at < b else "", right[c + at] if c + at < d else "")
            for at in range(max(b - a, d - c))
        ]
    return rows
