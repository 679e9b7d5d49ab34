"""The tool executor's decision: `approved` → `result`, and a dead letter when in doubt."""

import base64
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input
from interlock.sdk.outcome import Outcome
from interlock_contracts.actions import Effect, Grant, Result, effect_key
from interlock_contracts.answer import DeadLetter
from interlock_contracts.canonical import digest, digest_bytes
from interlock_contracts.event import Event
from interlock_contracts.failures import Failure, FailureCode
from interlock_contracts.privacy import conceal, conceal_json
from interlock_contracts.subjects import Subject, as_token
from interlock_contracts.table import Actor

_MAX_ORIGINAL_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the decision may use.

    `verify` raises `NeverRetry` (grant_invalid, grant_expired). `check` says what is wrong with
    a call by the tool's contract. `perform` is the one effect; what it returned is recorded, and
    a replay hands it back.
    """

    verify: Callable[[Grant, datetime], Awaitable[None]]
    check: Callable[[str, dict[str, Any]], Failure | None]
    perform: Callable[[Grant], Awaitable[Outcome]]


async def decide(input: Input, using: Capabilities) -> Sequence[Draft]:
    """Run one grant and say what came of it.

    Raises:
        NeverRetry: no grant, or one that is not valid for exactly this subject and arguments.
        RetryLater: the outcome is not known yet.
    """
    grant = input.event.data
    if not isinstance(grant, Grant):
        raise NeverRetry(FailureCode.EVENT_UNKNOWN, "an executor takes approved actions only")
    await using.verify(grant, input.now)
    _check_grant(grant, input.event.subject)
    wrong = using.check(grant.tool, grant.arguments)
    if wrong is None:
        outcome = await using.perform(grant)
    else:
        outcome = Outcome(effect=Effect.DID_NOT_HAPPEN, failure=wrong)
    result = Result(
        action=grant.action,
        tool=grant.tool,
        effect=outcome.effect,
        effect_key=grant.effect_key,
        output=conceal_json(outcome.output, grant.personal),
        failure=_concealed(outcome.failure, grant),
    )
    drafts = [Draft("result", grant.action, result, tail=grant.tool)]
    if outcome.effect is Effect.IN_DOUBT and outcome.failure is not None:
        drafts.append(_dead(input.event, result.failure or outcome.failure))
    return drafts


def _concealed(failure: Failure | None, grant: Grant) -> Failure | None:
    """What went wrong, without the personal data that the tool was given."""
    if failure is None or not grant.personal:
        return failure
    return failure.model_copy(update={"message": conceal(failure.message, grant.personal)})


def _check_grant(grant: Grant, subject: Subject) -> None:
    """A valid signature is not enough: it must be a grant for this address and this call."""
    if grant.tenant != subject.tenant:
        raise NeverRetry(FailureCode.TENANT_BOUNDARY, "the grant is another tenant's")
    stated = (grant.request_id, grant.action, grant.tool)
    if stated != (subject.request_id, subject.step, subject.tail):
        raise NeverRetry(FailureCode.GRANT_INVALID, "the grant is for another subject")
    if not hmac.compare_digest(digest(grant.arguments), grant.arguments_digest):
        raise NeverRetry(FailureCode.GRANT_INVALID, "the arguments are not those granted")
    key = effect_key(grant.tenant, grant.request_id, grant.tool, grant.arguments)
    if grant.effect_key != key:
        raise NeverRetry(FailureCode.GRANT_INVALID, "the effect key is not that of the call")


def _dead(event: Event, reason: Failure) -> Draft:
    """What the operator gets of an effect that nobody knows about."""
    body = event.body()
    # Personal data stands in the grant itself, and is not copied.
    personal = isinstance(event.data, Grant) and event.data.personal
    inline = len(body) <= _MAX_ORIGINAL_BYTES and not personal
    letter = DeadLetter(
        stage=Actor.TOOL_EXECUTOR.value,
        subject=str(event.subject),
        sequence=event.sequence or 0,
        headers=event.headers(),
        original=base64.b64encode(body) if inline else None,
        original_digest=digest_bytes(body),
        failure=reason,
    )
    step = as_token(f"approved-{event.subject.step}-0")  # filed as the runtime files its own
    return Draft("dead", step, letter, tail=Actor.TOOL_EXECUTOR.value)
