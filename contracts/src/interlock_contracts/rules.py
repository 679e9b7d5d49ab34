"""Rules over what was done before: limits in any span of time, and what must come first.

    @tool(
        effect="write",
        limits=[limit(2, per="day", by="facts.order.customer")],
        after=[after("verify_identity", within="15m")],
    )
    class CreateRefund(ToolArguments): ...

The gate keeps a ledger for each rule and each value it counts by; see docs/decisions/008.
"""

import re
from collections.abc import Mapping, Sequence

from pydantic import Field

from interlock_contracts.base import CleanText, Model, Score, Token
from interlock_contracts.canonical import digest

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPANS = {"minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}

USER = "user"
"""Counting by who asks; the other things to count by are `arguments.…` and `facts.…`."""


class Limit(Model):
    """At most `most` calls in any `per_s` seconds or, with `sum`, that much of an argument.

    It is counted separately for each value of what `by` names: `user`, `arguments.NAME`,
    `facts.FACT.FIELD`; always within one tenant, and over the tenant as a whole where `by` is
    empty. Limits with the same `name` are one, whichever tools they stand on.
    """

    most: Score = Field(gt=0)
    per_s: int = Field(gt=0)
    by: tuple[CleanText, ...] = (USER,)
    sum: CleanText | None = None
    name: Token | None = None


class Prerequisite(Model):
    """Another tool that must have been run before, with its effect landed.

    `same` maps its arguments to those of this call that must be equal to them. `within_s` is how
    long ago, in this request or in another one of the same user; without it only this request
    counts.
    """

    tool: Token
    same: dict[str, str] = {}
    within_s: int | None = Field(default=None, gt=0)


def limit(
    most: float,
    *,
    per: str | int,
    by: str | Sequence[str] = USER,
    sum: str | None = None,
    name: str | None = None,
) -> Limit:
    """A limit: `limit(2, per="day")`, `limit(50_000, per="week", sum="amount_cents")`.

    `per` is `minute`, `hour`, `day`, `week`, a number with a unit (`15m`, `36h`, `30d`), or
    seconds. Raises `ValueError` for anything else.
    """
    keys = (by,) if isinstance(by, str) else tuple(by)
    return Limit(most=float(most), per_s=seconds(per), by=keys, sum=sum, name=name)


def after(
    tool: str, *, same: Sequence[str] | Mapping[str, str] = (), within: str | int | None = None
) -> Prerequisite:
    """A prerequisite: `after("get_order", same=["order_id"])`.

    `same` are arguments that both calls have, or a mapping from its names to ours. `within` as
    `per` of `limit`.
    """
    pairs = dict(same) if isinstance(same, Mapping) else {name: name for name in same}
    span = None if within is None else seconds(within)
    return Prerequisite(tool=tool, same=pairs, within_s=span)


def seconds(span: str | int) -> int:
    """A span of time in seconds; `ValueError` if it is none."""
    if isinstance(span, int):
        return span
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhdw])", span)
    if found:
        return int(found[1]) * _UNITS[found[2]]
    if span in _SPANS:
        return _SPANS[span]
    raise ValueError(f"{span!r} is no span of time: minute, hour, day, week, or such as 15m, 36h")


def ledger_id(*parts: object) -> str:
    """The name of a ledger: 64 hex digits over what it counts and for whom."""
    return digest(list(parts)).removeprefix("sha256:")
