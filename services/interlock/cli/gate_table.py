"""A bundle's gate for people and for machines: its ways, and the rules beside the policies."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from interlock.bundles.model import Bundle
from interlock.bundles.reach import Part, Way
from interlock.cli.common import out
from interlock.contract_validator.rules import words_of

_SHOWN = 4
"""What an outcome depends on, as far as the table says; `--json` has all of it."""


def print_gate(bundle: Bundle, ways: Sequence[Way]) -> None:
    """The tables of `bundle check`: what may happen, and what else a tool is bound to."""
    table = _table("tool", "who", "then", "depends on")
    open_ = [way for way in ways if way.outcomes]
    before = None
    for way in open_:
        if before is None or way.intent != before.intent:
            table.add_row(f"[bold]{way.intent}[/]")
        same = before is not None and (way.intent, way.action) == (before.intent, before.action)
        name = "" if same else f"  {way.action}"
        table.add_row(name, ", ".join(way.who), _then(way), _short(way.depends_on))
        before = way
    if open_:
        out.print()
        out.print(table)
        out.print("whoever is not listed is refused", style="dim")
    rules = _table("tool", "effect", "limits and order", "asked first about")
    for tool in bundle.tools.values():
        if tool.limits or tool.after or tool.confirms:
            asked = [f"{name} ({', '.join(origins)})" for name, origins in tool.confirms.items()]
            bounds = [*map(words_of, tool.limits), *map(words_of, tool.after)]
            rules.add_row(
                tool.name,
                tool.effect,
                "; ".join(bounds),
                "; ".join(asked),
            )
    held = _table("override", "effect", "of requests with")
    for one in bundle.overrides:
        named = [f"{field} {', '.join(map(str, values))}" for field, values in one.named.items()]
        effect = f"{one.effect}, answers too" if one.answers else one.effect
        held.add_row(one.id, effect, "; ".join(named) or "anything")
    answers = _table("answers", "cite", "else, once repairs run out")
    for name, fallback in _fallbacks(bundle).items():
        answers.add_row(name, bundle.outputs[name].citations, fallback)
    for table in (rules, held, answers):
        if table.row_count:
            out.print()
            out.print(table)


def _fallbacks(bundle: Bundle) -> dict[str, str]:
    """What becomes of an answer that still does not keep to its contract, by contract in use."""
    found = {}
    for name, contract in bundle.outputs.items():
        users = [one for one in bundle.intents.values() if one.output == name and not one.refusal]
        classes = sorted({contract.review_class or one.review_class for one in users})
        if users:
            asked = " or ".join(f"review:{one}" for one in classes)
            found[name] = asked if contract.fallback == "review" else contract.fallback
    return found


def gate_json(bundle: Bundle, ways: Sequence[Way]) -> dict[str, Any]:
    """The same for machines: `gate`, by way, and `rules`, by tool."""
    return {
        "gate": [
            {
                "intent": way.intent,
                "action": way.action,
                "who": way.who,
                "outcomes": [list(duties) for duties in way.outcomes],
                "may_be_refused": way.may_be_refused,
                "depends_on": way.depends_on,
                "permits": [_part(one) for one in way.permits],
                "forbids": [_part(one) for one in way.forbids],
            }
            for way in ways
        ],
        "overrides": [one.model_dump(mode="json") for one in bundle.overrides],
        "answers": _fallbacks(bundle),
        "rules": {
            tool.name: {
                "effect": tool.effect,
                "scopes": tool.scopes,
                "limits": [one.model_dump(mode="json") for one in tool.limits],
                "after": [one.model_dump(mode="json") for one in tool.after],
                "accepts": tool.accepts,
                "confirms": tool.confirms,
            }
            for tool in bundle.tools.values()
        },
    }


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _then(way: Way) -> str:
    """`runs, or review:refunds, or refused`."""
    found = [" + ".join(duties) or "runs" for duties in way.outcomes]
    return ", or ".join([*found, *(["refused"] if way.may_be_refused else [])])


def _short(paths: Sequence[str]) -> str:
    more = len(paths) - _SHOWN
    return "\n".join([*paths[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _part(part: Part) -> dict[str, Any]:
    policy = part.policy
    return {
        "id": policy.id,
        "place": policy.place,
        "obligations": policy.obligations,
        "depends_on": part.on,
    }
