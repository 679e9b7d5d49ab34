"""What a person decided of an action or an answer: `confirmed` by the requester, `reviewed` by
another.

An approval counts only for exactly what was shown, in time, by the right person, and once as
many have approved as are wanted. Whatever cannot be an approval at all (a wrong digest, the
wrong person) raises `NeverRetry`: it becomes a dead letter and the matter keeps waiting.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

from interlock.contract_validator.gate import Gate
from interlock.contract_validator.matters import Matter, matter_of
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input, Log
from interlock_contracts.actions import Confirm, Decided, Review
from interlock_contracts.answer_review import AnswerReview
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.subjects import as_token

Reviews = Callable[[str, str, str], Awaitable[Sequence[Event]]]
"""All `reviewed` events of (tenant, request_id, action) on the log, in its order."""

Question = Confirm | Review | AnswerReview


@dataclass(frozen=True, slots=True)
class Person:
    """One decision that came in, with what it is about."""

    input: Input
    case: Case
    decided: Decided
    matter: Matter

    @property
    def allowed(self) -> frozenset[str] | None:
        """Who may review it; None for any reviewer of the tenant."""
        return self.input.bundle.reviewers_of(self.matter.review_class)

    def may_review(self, by: str) -> bool:
        """Whether the bundle lets `by` decide."""
        return self.allowed is None or by in self.allowed

    @property
    def kind(self) -> str:
        """`confirmed` or `reviewed`."""
        return self.input.event.subject.event

    @property
    def requester(self) -> str:
        """Who asked, and does not review."""
        return self.case.request.principal.user


async def decide_person(input: Input, gate: Gate, log: Log, reviews: Reviews) -> Sequence[Draft]:
    """The grant or the answer, what is said instead of it, or nothing yet."""
    person = await _person(input, log)
    _check_who(person)
    asked, matter = await _asked(person, log), person.matter
    if person.decided.digest != matter.digest or await matter.digest_again(gate) != asked.digest:
        raise NeverRetry(
            FailureCode.APPROVAL_MISMATCH, "the decision is about something else than was shown"
        )
    before = await _earlier(person, log, reviews)
    if _settled(person, before):
        raise NeverRetry(FailureCode.APPROVAL_MISMATCH, "it is settled already")
    if input.now >= asked.expires_at:
        return [matter.expired(input)]
    if person.decided.decision == "deny":
        return [matter.denied(input, person.decided.by)]
    if (instead := matter.forbidden(gate)) is not None:
        return [instead]
    by = _approvers([*before, person.decided])
    if not _enough(person, by):
        return []
    return [await matter.approved(input, gate, tuple(sorted(by)))]


async def expire(input: Input, log: Log, reviews: Reviews) -> Sequence[Draft]:
    """What follows where nobody decided in time; nothing if somebody did.

    A decision counts by when it was logged, here as in `decide_person`: the two never both act.
    """
    asked, case, name = input.event.data, input.case, input.event.subject.step
    if not isinstance(asked, Question) or case.verdict is None:
        raise NeverRetry(FailureCode.EVENT_INVALID, "only a question to a person expires")
    matter = await matter_of(case, name, log)
    if matter is None:
        raise NeverRetry(FailureCode.EVENT_INVALID, f"the verdict has no action {name}")
    nobody = Decided(action=name, decision="deny", digest=asked.digest, by="nobody")
    person = Person(input, case, nobody, matter)
    found = [
        decided
        for event in await _decisions(person, log, reviews)
        if event.logged_at is not None
        and event.logged_at < asked.expires_at
        and (decided := _valid(event, person)) is not None
    ]
    return [] if _settled(person, found) else [matter.expired(input)]


async def _person(input: Input, log: Log) -> Person:
    decided, subject, case = input.event.data, input.event.subject, input.case
    if not isinstance(decided, Decided) or decided.action != subject.step:
        raise NeverRetry(FailureCode.EVENT_INVALID, "the body is about another action")
    if case.verdict is None or case.route is None:
        raise NeverRetry(FailureCode.EVENT_INVALID, "the case has no verdict")
    same = (case.request.tenant, case.request.request_id) == (subject.tenant, subject.request_id)
    matter = await matter_of(case, decided.action, log) if same else None
    if matter is None or subject.event not in matter.questions:
        raise NeverRetry(
            FailureCode.APPROVAL_MISMATCH,
            f"nothing called {decided.action} waits for this decision",
        )
    return Person(input, case, decided, matter)


def _check_who(person: Person) -> None:
    by, requester = person.decided.by, person.requester
    if person.kind == "confirmed":
        if by != requester:
            raise NeverRetry(FailureCode.APPROVAL_MISMATCH, "only the requester confirms")
    elif person.input.event.subject.tail != as_token(by):
        raise NeverRetry(FailureCode.APPROVAL_MISMATCH, "the subject names another reviewer")
    elif by == requester or as_token(by) == as_token(requester):
        raise NeverRetry(
            FailureCode.REQUESTER_IS_APPROVER,
            "a requester reviews neither their own action nor the answer to them",
        )
    elif not person.may_review(by):
        raise NeverRetry(
            FailureCode.APPROVER_NOT_ALLOWED,
            f"{by} is in no group that decides about {person.matter.review_class} (`reviewers`)",
        )


async def _asked(person: Person, log: Log) -> Question:
    request, matter = person.case.request, person.matter
    name = matter.questions[person.kind]
    asked = await log.read(name, request.tenant, request.request_id, matter.name)
    if asked is None or not isinstance(asked.data, Question):
        raise NeverRetry(FailureCode.APPROVAL_MISMATCH, "nobody was asked for this decision")
    return asked.data


async def _earlier(person: Person, log: Log, reviews: Reviews) -> list[Decided]:
    """The decisions about the same thing that were logged before this one.

    Counting by the order of the log makes of two concurrent decisions exactly one the settling
    one, at every redelivery and replay.
    """
    found = (_counted(event, person) for event in await _decisions(person, log, reviews))
    return [decided for decided in found if decided is not None]


async def _decisions(person: Person, log: Log, reviews: Reviews) -> list[Event]:
    """What is on the log of decisions about the matter, whether they count or not."""
    request, questions = person.case.request, person.matter.questions
    address = (request.tenant, request.request_id, person.matter.name)
    events = list(await reviews(*address)) if "reviewed" in questions else []
    confirmed = await log.read("confirmed", *address) if "confirmed" in questions else None
    return events + ([confirmed] if confirmed else [])


def _approvers(decisions: Iterable[Decided]) -> set[str]:
    return {one.by for one in decisions if one.decision == "approve"}


def _settled(person: Person, before: Sequence[Decided]) -> bool:
    denied = any(one.decision == "deny" for one in before)
    return denied or _enough(person, _approvers(before))


def _enough(person: Person, by: set[str]) -> bool:
    """Whether everybody has approved who has to."""
    matter, requester = person.matter, person.requester
    # Names that make one subject token are one person: the broker cannot tell them apart.
    reviewers = {as_token(name) for name in by - {requester}}
    return len(reviewers) >= matter.approvals and (not matter.confirmed or requester in by)


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
    if not isinstance(data, Decided) or data.digest != person.matter.digest:
        return None
    if subject.event == "reviewed":
        own = as_token(data.by) == as_token(person.requester)
        fits = subject.tail == as_token(data.by) and not own and person.may_review(data.by)
        return data if fits else None
    return data if subject.event == "confirmed" and data.by == person.requester else None
