"""What a person decided of one action: `confirmed` by the requester, `reviewed` by another.

An approval counts only for exactly what was shown, in time, by the right person, and once as
many have approved as the policies want. Whatever cannot be an approval at all (a wrong digest,
the wrong person) raises `NeverRetry`: it becomes a dead letter and the action keeps waiting.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

from interlock.contract_validator.binding import approved
from interlock.contract_validator.facts import facts_of
from interlock.contract_validator.gate import Gate
from interlock.contract_validator.personal import (
    digest_of,
    own_facts,
    personal_in,
    revealed,
    values_of,
)
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input, Log
from interlock_contracts.actions import Confirm, Decided, Effect, Result, Review, effect_key
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode, failure
from interlock_contracts.privacy import Values, restore_json
from interlock_contracts.subjects import as_token
from interlock_contracts.verdict import ActionVerdict, Decision, PolicyDecision

Reviews = Callable[[str, str, str], Awaitable[Sequence[Event]]]
"""All `reviewed` events of (tenant, request_id, action) on the log, in its order."""


@dataclass(frozen=True, slots=True)
class Person:
    """One decision that came in, with all it is about; `values` is what its placeholders mean."""

    input: Input
    case: Case
    decided: Decided
    action: ActionVerdict
    values: Values

    @property
    def kind(self) -> str:
        """`confirmed` or `reviewed`."""
        return self.input.event.subject.event


async def decide_person(input: Input, gate: Gate, log: Log, reviews: Reviews) -> Sequence[Draft]:
    """The grant, the result of an action that will not happen, or nothing yet."""
    person = await _person(input, log)
    _check_who(person)
    asked = await _asked(person, log)
    if person.decided.digest != person.action.digest or _digest(person, gate) != asked.digest:
        raise NeverRetry(
            FailureCode.APPROVAL_MISMATCH, "the decision is about something else than was shown"
        )
    before = await _earlier(person, log, reviews)
    if _settled(person, before):
        raise NeverRetry(FailureCode.APPROVAL_MISMATCH, "the action is settled already")
    if input.now >= asked.expires_at:
        return [_not_done(person, FailureCode.APPROVAL_EXPIRED, "nobody decided in time")]
    if person.decided.decision == "deny":
        return [_not_done(person, FailureCode.APPROVAL_DENIED, f"{person.decided.by} denied it")]
    policy = _judge_again(person, gate)
    if not policy.allowed:
        return [_not_done(person, FailureCode.POLICY_FORBIDS, "no policy permits it any more")]
    by = _approvers([*before, person.decided])
    if not _enough(person, by):
        return []
    personal = personal_in(person.action, person.values)
    return [approved(input, person.case, person.action, tuple(sorted(by)), personal)]


async def expire(input: Input, log: Log, reviews: Reviews) -> Sequence[Draft]:
    """The result of an action about which nobody decided in time; nothing if somebody did.

    A decision counts by when it was logged, here as in `decide_person`: the two never both act.
    """
    asked, case, subject = input.event.data, input.case, input.event.subject
    if not isinstance(asked, Confirm | Review) or case.verdict is None:
        raise NeverRetry(FailureCode.EVENT_INVALID, "only a question to a person expires")
    actions = [one for one in case.verdict.actions if one.action == subject.step]
    if len(actions) != 1:
        raise NeverRetry(FailureCode.EVENT_INVALID, f"the verdict has no action {subject.step}")
    nobody = Decided(action=subject.step, decision="deny", digest=asked.digest, by="nobody")
    person = Person(input, case, nobody, actions[0], await values_of(case, log))
    found = [
        decided
        for event in await _decisions(person, log, reviews)
        if event.logged_at is not None
        and event.logged_at < asked.expires_at
        and (decided := _valid(event, person)) is not None
    ]
    if _settled(person, found):
        return []
    return [_not_done(person, FailureCode.APPROVAL_EXPIRED, "nobody decided in time")]


async def _person(input: Input, log: Log) -> Person:
    decided, subject, case = input.event.data, input.event.subject, input.case
    if not isinstance(decided, Decided) or decided.action != subject.step:
        raise NeverRetry(FailureCode.EVENT_INVALID, "the body is about another action")
    if case.verdict is None or case.route is None:
        raise NeverRetry(FailureCode.EVENT_INVALID, "the case has no verdict")
    same = (case.request.tenant, case.request.request_id) == (subject.tenant, subject.request_id)
    found = [one for one in case.verdict.actions if one.action == decided.action]
    if not same or len(found) != 1 or subject.event not in _expected(found[0]):
        raise NeverRetry(
            FailureCode.APPROVAL_MISMATCH, f"no action {decided.action} waits for this decision"
        )
    return Person(input, case, decided, found[0], await values_of(case, log))


def _expected(action: ActionVerdict) -> set[str]:
    """Whose decisions an action waits for."""
    if action.decision is Decision.CONFIRM:
        return {"confirmed"}
    if action.decision is Decision.REVIEW:
        return {"reviewed", "confirmed"} if "confirm" in _duties(action) else {"reviewed"}
    return set()


def _check_who(person: Person) -> None:
    by, requester = person.decided.by, person.case.request.principal.user
    if person.kind == "confirmed":
        if by != requester:
            raise NeverRetry(FailureCode.APPROVAL_MISMATCH, "only the requester confirms")
    elif person.input.event.subject.tail != as_token(by):
        raise NeverRetry(FailureCode.APPROVAL_MISMATCH, "the subject names another reviewer")
    elif by == requester or as_token(by) == as_token(requester):
        raise NeverRetry(
            FailureCode.REQUESTER_IS_APPROVER, "a requester does not review their own action"
        )


async def _asked(person: Person, log: Log) -> Confirm | Review:
    request = person.case.request
    name = "confirm" if person.kind == "confirmed" else "review"
    asked = await log.read(name, request.tenant, request.request_id, person.action.action)
    if asked is None or not isinstance(asked.data, Confirm | Review):
        raise NeverRetry(FailureCode.APPROVAL_MISMATCH, "nobody was asked for this decision")
    return asked.data


def _digest(person: Person, gate: Gate) -> str:
    """The digest once more, from the recorded case: what runs is what was shown."""
    case, action, values = person.case, person.action, person.values
    recorded = case.verdict.facts if case.verdict else ()
    facts = own_facts(gate.bundle, action, recorded, values)
    return digest_of(case, gate.bundle, action, facts, values)


def _judge_again(person: Person, gate: Gate) -> PolicyDecision:
    case, action = revealed(person.case, person.values), person.action
    tool, arguments = gate.bundle.tools[action.tool], restore_json(action.arguments, person.values)
    assert case.route is not None and case.verdict is not None
    known = facts_of(tool, arguments, case.verdict.facts)
    return gate.decide_policy(case, case.route, tool, arguments, known)


async def _earlier(person: Person, log: Log, reviews: Reviews) -> list[Decided]:
    """The decisions about the same thing that were logged before this one.

    Counting by the order of the log makes of two concurrent decisions exactly one the settling
    one, at every redelivery and replay.
    """
    found = (_counted(event, person) for event in await _decisions(person, log, reviews))
    return [decided for decided in found if decided is not None]


async def _decisions(person: Person, log: Log, reviews: Reviews) -> list[Event]:
    """What is on the log of decisions about the action, whether they count or not."""
    request, action = person.case.request, person.action
    address = (request.tenant, request.request_id, action.action)
    events = list(await reviews(*address)) if action.decision is Decision.REVIEW else []
    asks_requester = action.decision is Decision.CONFIRM or "confirm" in _duties(action)
    confirmed = await log.read("confirmed", *address) if asks_requester else None
    return events + ([confirmed] if confirmed else [])


def _duties(action: ActionVerdict) -> tuple[str, ...]:
    return action.policy.obligations if action.policy else ()


def _approvers(decisions: Iterable[Decided]) -> set[str]:
    return {one.by for one in decisions if one.decision == "approve"}


def _settled(person: Person, before: Sequence[Decided]) -> bool:
    denied = any(one.decision == "deny" for one in before)
    return denied or _enough(person, _approvers(before))


def _enough(person: Person, by: set[str]) -> bool:
    """Whether everybody has approved whom the obligations ask for.

    `two_person` wants two reviewers; `confirm` beside a review wants the requester as well.
    """
    duties, requester = _duties(person.action), person.case.request.principal.user
    # Names that make one subject token are one person: the broker cannot tell them apart.
    reviewers = {as_token(name) for name in by - {requester}}
    needed = 2 if "two_person" in duties else int(person.action.decision is Decision.REVIEW)
    return len(reviewers) >= needed and ("confirm" not in duties or requester in by)


def _counted(event: Event, person: Person) -> Decided | None:
    """An earlier decision, if it is valid."""
    now = person.input.event
    # Ids are the sender's own; a subject belongs to one event for ever.
    if event.subject == now.subject or (event.sequence or 0) > (now.sequence or inf):
        return None
    return _valid(event, person)


def _valid(event: Event, person: Person) -> Decided | None:
    """A decision if it is about the same thing and by whom its subject says."""
    data, subject = event.data, event.subject
    if not isinstance(data, Decided) or data.digest != person.action.digest:
        return None
    requester = person.case.request.principal.user
    if subject.event == "reviewed":
        own = as_token(data.by) == as_token(requester)
        return data if subject.tail == as_token(data.by) and not own else None
    return data if subject.event == "confirmed" and data.by == requester else None


def _not_done(person: Person, code: FailureCode, message: str) -> Draft:
    request, action = person.case.request, person.action
    arguments = restore_json(action.arguments, person.values)
    result = Result(
        action=action.action,
        tool=action.tool,
        effect=Effect.DID_NOT_HAPPEN,
        effect_key=effect_key(request.tenant, request.request_id, action.tool, arguments),
        failure=failure(code, message),
    )
    return Draft("result", action.action, result, tail=action.tool)
