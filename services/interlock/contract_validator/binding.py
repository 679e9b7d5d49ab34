"""What a person is shown, what they approve, and the grant that lets it run."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from interlock.bundles.model import Bundle
from interlock.contract_validator.checks.text import shown
from interlock.runtime.stage import Draft, Input
from interlock_contracts.actions import Confirm, Grant, Notice, Review, Spent, effect_key
from interlock_contracts.canonical import digest
from interlock_contracts.case import Case
from interlock_contracts.privacy import PersonalData, Values, findings_in, restore_json
from interlock_contracts.request import Request
from interlock_contracts.routing import Route
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import ActionVerdict, Fact, Spend

Sign = Callable[[Grant], Awaitable[Grant]]
"""Fills in `epoch`, `key_id` and `signature`."""

_WAITING = {
    "confirm": "Please confirm: {summary}",
    "review": "This needs somebody's approval first: {summary}",
}


def token(step: int, index: int) -> str:
    """The name of an action: which step's, and which call of it."""
    return f"{step}-{index}"


def bind(
    request: Request,
    bundle: str,
    action: ActionVerdict,
    facts: Sequence[Fact],
    personal: Values | None = None,
) -> str:
    """The digest a person approves: tool, arguments, their evidence, facts and policy.

    It also holds tenant, request and bundle: an approval counts nowhere else. `personal` is what
    placeholders in the arguments stand for.
    """
    policy = action.policy
    return digest(
        {
            **({"personal": dict(personal)} if personal else {}),
            "tenant": request.tenant,
            "request_id": request.request_id,
            "requester": request.principal.user,
            "bundle": bundle,
            "action": action.action,
            "tool": action.tool,
            "arguments": action.arguments,
            "provenance": [[one.path, one.origin.value, one.evidence] for one in action.provenance],
            "facts": [[one.name, one.tool, one.arguments, one.value] for one in facts],
            "policy": policy and [policy.allowed, policy.policies, policy.obligations],
        }
    )


def summary_of(tool: ToolSpec, arguments: dict[str, Any]) -> str:
    """The contract's one line on an action, with its arguments filled in."""
    if not tool.summary:
        return f"{tool.name}: " + ", ".join(f"{k} = {shown(v)}" for k, v in arguments.items())

    def fill(match: re.Match[str]) -> str:
        return shown(arguments[match[1]], 200) if match[1] in arguments else match[0]

    return re.sub(r"\{(\w+)\}", fill, tool.summary)


def approved(
    input: Input,
    case: Case,
    action: ActionVerdict,
    by: tuple[str, ...] = (),
    personal: Values | None = None,
) -> Draft:
    """The grant to run one action, once, soon, with the values of its placeholders; unsigned."""
    request, personal = case.request, dict(personal or {})
    arguments = restore_json(action.arguments, personal)
    grant = Grant(
        action=action.action,
        tenant=request.tenant,
        request_id=request.request_id,
        tool=action.tool,
        arguments=arguments,
        arguments_digest=digest(arguments),
        action_digest=action.digest,
        effect_key=effect_key(request.tenant, request.request_id, action.tool, arguments),
        bundle=input.bundle.digest,
        requester=request.principal.user,
        approved_by=by,
        issued_at=input.now,
        expires_at=input.now + timedelta(seconds=input.bundle.limits.grant_ttl_s),
        personal=personal,
        key_id="unsigned",
        signature="",
    )
    return Draft("approved", action.action, grant, tail=action.tool)


async def with_signatures(drafts: Sequence[Draft], sign: Sign) -> list[Draft]:
    """The drafts, their grants signed."""
    return [
        replace(draft, data=await sign(draft.data)) if isinstance(draft.data, Grant) else draft
        for draft in drafts
    ]


def personal_of(case: Case, action: ActionVerdict) -> tuple[PersonalData, ...]:
    """The findings behind the placeholders in an action's arguments."""
    return findings_in(case.personal, [str(action.arguments)])


def ask_requester(
    input: Input, case: Case, action: ActionVerdict, policies: tuple[str, ...]
) -> Draft:
    """The question to the requester, and why it is asked: `policies` want it, or there are
    concerns."""
    bundle = input.bundle
    why = [one.message for one in action.concerns]
    confirm = Confirm(
        action=action.action,
        tool=action.tool,
        arguments=action.arguments,
        summary=summary_of(bundle.tools[action.tool], action.arguments),
        personal=findings_in(case.personal, [str(action.arguments), *why]),
        digest=action.digest,
        expires_at=input.now + timedelta(seconds=bundle.limits.approval_ttl_s),
        policies=policies,
        concerns=action.concerns,
    )
    return Draft("confirm", action.action, confirm)


def review_class_of(action: ActionVerdict, route: Route) -> str:
    """Whose queue an action waits in: the one a policy names, else the intent's."""
    duties = action.policy.obligations if action.policy else ()
    named = [duty.removeprefix("review:") for duty in duties if duty.startswith("review:")]
    return named[0] if named else route.review_class or "general"


def ask_reviewer(
    input: Input, case: Case, route: Route, action: ActionVerdict, facts: Sequence[Fact]
) -> Draft:
    """The why-card for a reviewer."""
    bundle, review_class = input.bundle, review_class_of(action, route)
    review = Review(
        action=action.action,
        tool=action.tool,
        arguments=action.arguments,
        summary=summary_of(bundle.tools[action.tool], action.arguments),
        digest=action.digest,
        review_class=review_class,
        reviewers=tuple(sorted(bundle.reviewers_of(review_class) or ())),
        requester=case.request.principal.user,
        request_text=case.request.text,
        provenance=action.provenance,
        facts=tuple(facts),
        policy=action.policy,
        concerns=action.concerns,
        expires_at=input.now + timedelta(seconds=bundle.limits.approval_ttl_s),
    )
    return Draft("review", action.action, review)


def entry(case: Case, action: ActionVerdict, spend: Spend) -> Draft:
    """What an action counts as in the ledger of a rule, until it did not happen."""
    spent = Spent(
        ledger=spend.ledger,
        number=spend.number,
        request=case.request.request_id,
        action=action.action,
        tool=action.tool,
        amount=spend.amount,
    )
    return Draft("spent", str(spend.number), spent, ledger=spend.ledger)


def notice(
    bundle: Bundle, case: Case, action: ActionVerdict, waiting_for: Literal["confirm", "review"]
) -> Draft:
    """Tells the producer who is waited for; in the words of the bundle, if it has any."""
    text = bundle.replies.get(f"waiting_{waiting_for}", _WAITING[waiting_for])
    message = text.replace("{summary}", summary_of(bundle.tools[action.tool], action.arguments))
    data = Notice(
        waiting_for=waiting_for,
        action=action.action,
        message=message,
        personal=personal_of(case, action) if "{summary}" in text else (),
    )
    return Draft("notice", action.action, data)
