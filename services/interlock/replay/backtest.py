"""Policy backtest: every recorded proposal, judged again by the gate of another bundle.

Intent, context and proposal are as recorded; only the gate decides again, on recorded facts. A
fact that was not recorded makes a proposal one that cannot be evaluated: it never passes.
"""

from collections.abc import Sequence
from typing import Any

from interlock.bundles.model import Bundle
from interlock.contract_validator import stage as validator
from interlock.replay.effects import Effects
from interlock.replay.log import Entry, MemoryLog, decided_at
from interlock.replay.recorded import NotRecorded
from interlock.replay.whatif import CANNOT, RANK
from interlock.runtime.errors import RetryLater
from interlock.runtime.stage import Input
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.table import Actor
from interlock_contracts.verdict import ActionVerdict, Verdict


async def backtest(
    entries: Sequence[Entry], candidate: Bundle, ran_on: Bundle | None
) -> list[dict[str, Any]]:
    """One row for every proposed action, and one for every proposed answer.

    `ran_on` is the bundle of the request, None where it is not at hand.
    """
    log = MemoryLog(entries)
    rows: list[dict[str, Any]] = []
    for entry in log.entries:
        if isinstance(entry, Event) and entry.subject.event == "proposal":
            at = entry.subject
            judged = await log.read("verdict", at.tenant, at.request_id, at.step)
            then = judged.case.verdict if judged is not None else None
            if then is not None:
                rows += await _again(entry, then, log, candidate, ran_on)
    return rows


async def _again(
    event: Event, then: Verdict, log: MemoryLog, candidate: Bundle, ran_on: Bundle | None
) -> list[dict[str, Any]]:
    now, missing = None, None
    effects = Effects(
        recorded=log, log=log, request=event.case.request, bundle=candidate, then=ran_on
    )
    given = Input(
        event, candidate, decided_at(log, Actor.CONTRACT_VALIDATOR.value, event), event.case
    )
    try:
        drafts = await validator.decide(given, effects.capabilities(Actor.CONTRACT_VALIDATOR))
        verdict = next((one.data for one in drafts if one.event == "verdict"), None)
        now = getattr(verdict, "verdict", None)
    except NotRecorded as error:
        missing = error.message
    except (InvalidEvent, RetryLater) as error:
        missing = f"{error.code}: {error.message}"
    base = {"request_id": event.subject.request_id, "step": event.subject.step}
    if not then.actions:
        before = {"decision": then.decision.value, "policies": [], "codes": _codes(then, None)}
        return [_row({**base, "tool": None, "arguments": None}, before, _answer(now), missing)]
    rows = []
    for action in then.actions:
        again = None
        if now is not None:
            again = next((one for one in now.actions if one.action == action.action), None)
        about = {**base, "tool": action.tool, "arguments": dict(action.arguments)}
        after = None if again is None or now is None else _of(now, again)
        rows.append(_row(about, _of(then, action), after, missing))
    return rows


def _answer(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {"decision": verdict.decision.value, "policies": [], "codes": _codes(verdict, None)}


def _of(verdict: Verdict, action: ActionVerdict) -> dict[str, Any]:
    return {
        "decision": action.decision.value,
        "policies": list(action.policy.policies) if action.policy else [],
        "codes": _codes(verdict, action) if RANK[action.decision.value] == 0 else [],
    }


def _codes(verdict: Verdict, action: ActionVerdict | None) -> list[str]:
    found = [
        one.code.value
        for one in verdict.violations
        if action is None or one.path.startswith(f"/calls/{action.action.rpartition('-')[2]}")
    ]
    return list(dict.fromkeys(found or [one.code.value for one in verdict.violations]))


def _row(
    about: dict[str, Any],
    before: dict[str, Any],
    after: dict[str, Any] | None,
    missing: str | None,
) -> dict[str, Any]:
    if after is None:
        why = missing or "the candidate's gate did not judge it"
        return {**about, "change": CANNOT, "before": before, "after": None, "missing": why}
    change = "same" if before["decision"] == after["decision"] else "flip"
    return {
        **about,
        "change": change,
        "direction": direction(before["decision"], after["decision"]),
        "before": before,
        "after": after,
        "missing": None,
    }


def direction(before: str, after: str) -> str:
    """`deny→allow`, `looser`, `tighter` or `same`: in this order they are listed."""
    was, now = RANK[before], RANK[after]
    if now == was:
        return "same"
    if was == 0:
        return "deny→allow"
    return "looser" if now > was else "tighter"
