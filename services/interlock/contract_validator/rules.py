"""Limits and sequence rules: what a call asks of the history, and whether that lets it run.

A rule reads a ledger: the entries that approved actions made in it, one after the other. What
an entry is worth by now is the ledger's business (`ledger.py`); here it is held against the rule.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interlock.bundles.cedar import with_defaults
from interlock.bundles.model import Bundle
from interlock.contract_validator.checks.text import pointer, shown
from interlock_contracts.actions import Effect
from interlock_contracts.case import Case, Step
from interlock_contracts.failures import FailureCode
from interlock_contracts.rules import USER, Limit, Prerequisite, ledger_id
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import Fact, Spend, Standing, Violation, violation

SLACK_S = 60
"""Added to how long an action may be on its way, for clocks and redeliveries."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a rule asks of a ledger.

    Entries that landed in the last `span_s` seconds count, and those on their way; none was made
    more than `lookback_s` ago. `adds` is what this proposal would add to the `most` of a limit,
    in calls or, where `sums`, in amounts; `most` is None for a prerequisite.
    """

    ledger: str
    rule: str
    span_s: int
    lookback_s: int
    most: float | None = None
    sums: bool = False
    adds: float = 0.0


Ask = Callable[[Question], Awaitable[Standing]]
"""Asks the ledgers of the request's tenant, as of the moment the proposal was logged."""


async def nothing_before(question: Question) -> Standing:
    """The answer where nothing has ever been done."""
    return Standing(ledger=question.ledger, rule=question.rule, head=0)


@dataclass(frozen=True, slots=True)
class _Bound:
    """A limit or prerequisite of one call. The ledger is None for one within the request."""

    rule: Limit | Prerequisite
    ledger: str | None
    words: str
    amount: float = 0.0

    @property
    def adds(self) -> float:
        """What the call adds to a limit."""
        return self.amount if isinstance(self.rule, Limit) and self.rule.sum else 1.0


@dataclass(frozen=True, slots=True)
class Ruled:
    """One call as its rules see it: what it is bound by, and the entries it would make."""

    index: int
    tool: ToolSpec
    arguments: Mapping[str, Any]
    bound: tuple[_Bound, ...]
    entries: Mapping[str, float]
    """Amounts by ledger."""


class Rules:
    """The rules of a bundle's tools."""

    def __init__(self, bundle: Bundle) -> None:
        limits = bundle.limits
        self._on_the_way_s = limits.approval_ttl_s + limits.grant_ttl_s + SLACK_S
        self._asked_of: dict[str, set[tuple[str, ...]]] = {}
        """By tool, the sets of its arguments by which other tools ask whether it was run."""
        for tool in bundle.tools.values():
            for rule in tool.after:
                if rule.within_s is not None:
                    self._asked_of.setdefault(rule.tool, set()).add(tuple(sorted(rule.same)))

    def apply_to(self, tool: ToolSpec) -> bool:
        """Whether a call of this tool reads or writes any ledger, or depends on another one."""
        return bool(tool.limits or tool.after or tool.name in self._asked_of)

    def bind(
        self,
        index: int,
        tool: ToolSpec,
        case: Case,
        given: Mapping[str, Any],
        facts: Sequence[Fact],
    ) -> Ruled | Violation:
        """The rules of one sound call; a violation if what to count by cannot be known."""
        arguments = with_defaults(dict(given), tool.parameters)
        user = case.request.principal.user
        bound: list[_Bound] = []
        entries: dict[str, float] = {}
        for limit in tool.limits:
            try:
                values = [_value(path, user, arguments, facts) for path in limit.by]
            except LookupError as missing:
                message = f"{missing.args[0]} is not known, and a limit counts by it"
                return violation(FailureCode.FACT_UNAVAILABLE, pointer("calls", index), message)
            amount = float(arguments.get(limit.sum) or 0) if limit.sum else 0.0
            named = [limit.name] if limit.name else [tool.name, limit.sum or "", list(limit.by)]
            ledger = ledger_id("limit", named, values)
            bound.append(_Bound(limit, ledger, words_of(limit), amount))
            entries[ledger] = max(amount, entries.get(ledger, 0.0))
        for rule in tool.after:
            theirs = {name: arguments.get(ours) for name, ours in rule.same.items()}
            ledger_or_none = None if rule.within_s is None else _run_ledger(rule.tool, theirs, user)
            bound.append(_Bound(rule, ledger_or_none, words_of(rule)))
        for names in self._asked_of.get(tool.name, ()):
            own = {name: arguments.get(name) for name in names}
            entries.setdefault(_run_ledger(tool.name, own, user), 0.0)
        return Ruled(index, tool, arguments, tuple(bound), entries)

    def questions(self, calls: Sequence[Ruled]) -> list[Question]:
        """What is asked of ledgers for all calls of a proposal; each question once.

        Of a ledger that is only written to, where it ends.
        """
        adds: dict[tuple[str, str], float] = {}
        found: dict[tuple[str, str], _Bound] = {}
        for call in calls:
            for bound in call.bound:
                if bound.ledger is not None:
                    key = (bound.ledger, bound.words)
                    adds[key] = adds.get(key, 0.0) + bound.adds
                    found[key] = bound
        asked = [self._question(bound, adds[key]) for key, bound in found.items()]
        known = {one.ledger for one in asked}
        ends = {ledger: call for call in calls for ledger in call.entries if ledger not in known}
        return asked + [
            Question(ledger, f"a run of {call.tool.name}", 0, 0) for ledger, call in ends.items()
        ]

    def _question(self, bound: _Bound, adds: float) -> Question:
        rule, ledger = bound.rule, bound.ledger or ""
        if isinstance(rule, Prerequisite):
            span = rule.within_s or 0
            return Question(ledger, bound.words, span, span + self._on_the_way_s)
        lookback = rule.per_s + self._on_the_way_s
        sums = rule.sum is not None
        return Question(ledger, bound.words, rule.per_s, lookback, rule.most, sums, adds)


def check_rules(
    calls: Sequence[Ruled], steps: Sequence[Step], standings: Iterable[Standing]
) -> tuple[list[tuple[int, Violation]], bool]:
    """What the rules forbid of a proposal's calls, by call; and whether it is worth to wait.

    It is when a call lacks nothing but a prerequisite that is on its way.
    """
    known = {(one.ledger, one.rule): one for one in standings}
    before: dict[tuple[str, str], float] = {}
    found: list[tuple[int, Violation]] = []
    waiting = False
    for call in calls:
        for bound in call.bound:
            if isinstance(bound.rule, Prerequisite):
                state = _state(bound, call, steps, known)
                waiting = waiting or state == "in_flight"
                if state != "landed":
                    found.append((call.index, _out_of_order(call, bound, state)))
                continue
            key = (bound.ledger or "", bound.words)
            used = known[key].used + before.get(key, 0.0)
            before[key] = before.get(key, 0.0) + bound.adds
            if used + bound.adds > bound.rule.most:
                found.append((call.index, _over(call, bound, bound.rule, used)))
    only_waits = all(one.code is FailureCode.SEQUENCE_VIOLATION for _, one in found)
    return found, waiting and only_waits


def spends(calls: Sequence[Ruled], standings: Iterable[Standing]) -> dict[int, tuple[Spend, ...]]:
    """The entries that each call makes, numbered on from the heads that were read.

    Where a ledger was read twice and grew in between, by the earlier reading: the number is
    taken then, and the decision is made again.
    """
    heads: dict[str, int] = {}
    for one in standings:
        heads[one.ledger] = min(one.head, heads.get(one.ledger, one.head))
    made: dict[int, tuple[Spend, ...]] = {}
    for call in calls:
        entries = []
        for ledger, amount in sorted(call.entries.items()):
            heads[ledger] = heads.get(ledger, 0) + 1
            entries.append(Spend(ledger=ledger, number=heads[ledger], amount=amount))
        made[call.index] = tuple(entries)
    return made


def words_of(rule: Limit | Prerequisite) -> str:
    """A rule in words: what a verdict and its messages call it."""
    if isinstance(rule, Prerequisite):
        same = f" with the same {', '.join(sorted(rule.same.values()))}" if rule.same else ""
        when = "in this request" if rule.within_s is None else f"in the last {span(rule.within_s)}"
        return f"after {rule.tool}{same} {when}"
    what = f"{rule.most:g} {rule.sum}" if rule.sum else f"{rule.most:g} calls"
    named = f" of {rule.name}" if rule.name else ""
    by = f" by {', '.join(rule.by)}" if rule.by else ""
    return f"at most {what}{named} in {span(rule.per_s)}{by}"


def span(seconds: int) -> str:
    """A span of time in its largest whole unit."""
    for size, unit in ((604_800, "week"), (86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"


def _run_ledger(tool: str, arguments: Mapping[str, Any], user: str) -> str:
    """The ledger of the runs of a tool, by user and by those of its arguments others ask about."""
    return ledger_id("run", tool, dict(arguments), user)


def _value(path: str, user: str, arguments: Mapping[str, Any], facts: Sequence[Fact]) -> Any:
    """What `by` names; `LookupError` with the path if it has no value."""
    if path == USER:
        return user
    root, *parts = path.split(".")
    found: Any = arguments if root == "arguments" else {fact.name: fact.value for fact in facts}
    for part in parts:
        found = found.get(part) if isinstance(found, dict) else None
    if found is None or isinstance(found, dict | list):
        raise LookupError(path)
    return found


def _state(
    bound: _Bound,
    call: Ruled,
    steps: Sequence[Step],
    known: Mapping[tuple[str, str], Standing],
) -> str:
    if bound.ledger is not None:
        return known[bound.ledger, bound.words].state
    assert isinstance(bound.rule, Prerequisite)
    return "landed" if _landed(bound.rule, call.arguments, steps) else "none"


def _landed(rule: Prerequisite, arguments: Mapping[str, Any], steps: Sequence[Step]) -> bool:
    """Whether the prerequisite was run in this request, with the same arguments where asked."""
    landed = {
        result.action for step in steps for result in step.results if result.effect is Effect.LANDED
    }
    return any(
        action.tool == rule.tool
        and action.action in landed
        and all(
            theirs in action.arguments and action.arguments[theirs] == arguments.get(ours)
            for theirs, ours in rule.same.items()
        )
        for step in steps
        for action in step.verdict.actions
    )


_WHY = {
    "none": "it has not been run",
    "asked": "a person has not decided about it yet",
    "in_flight": "it is on its way",
}


def _out_of_order(call: Ruled, bound: _Bound, state: str) -> Violation:
    message = f"{call.tool.name} only {bound.words}: {_WHY[state]}"
    return violation(FailureCode.SEQUENCE_VIOLATION, pointer("calls", call.index), message)


def _over(call: Ruled, bound: _Bound, limit: Limit, used: float) -> Violation:
    path = ["arguments", limit.sum] if limit.sum else []
    message = f"{bound.words}: {used:g} used, this adds {bound.adds:g}"
    return violation(
        FailureCode.LIMIT_EXCEEDED, pointer("calls", call.index, *path), shown(message, 300)
    )
