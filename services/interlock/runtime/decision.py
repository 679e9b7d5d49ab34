"""From an event to the events that follow: the same call live, in a pipe and in a replay."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from interlock.bundles.errors import BundleError, BundleRefused, BundleUnknown
from interlock.bundles.model import NO_BUNDLE, Bundle
from interlock.runtime.errors import NeverRetry, RetryLater, SlowDown
from interlock.runtime.stage import Bundles, Decide, Draft, Input, Log
from interlock_contracts.actions import Confirm, Review
from interlock_contracts.answer import Answer, AnswerStatus, DeadLetter, Retry
from interlock_contracts.answer_review import AnswerReview
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode, failure
from interlock_contracts.ids import event_id
from interlock_contracts.request import Request
from interlock_contracts.subjects import Subject, parse_subject

DEADLINED = frozenset({"request", "route", "context", "proposal", "repair"})
"""Events whose work is pointless once the deadline has passed, unless something was done."""


def expires_at(event: Event) -> datetime | None:
    """Until when a question to a person waits; None for any other event."""
    data = event.data
    return data.expires_at if isinstance(data, Confirm | Review | AnswerReview) else None


class Decider:
    """One stage with what it needs to decide about any event it consumes.

    `bundles` is None for a stage that needs no bundle. `log` is where cases, results and
    originals are looked up.
    """

    def __init__(
        self, stage: str, decide: Decide, *, cell: str, bundles: Bundles | None, log: Log
    ) -> None:
        self.stage = stage
        self.cell = cell
        self._decide = decide
        self._bundles = bundles
        self._log = log

    async def follow(
        self, event: Event, now: datetime, traceparent: str | None = None
    ) -> list[Event]:
        """The events that follow from `event`. `now` is when this is being decided.

        Raises:
            NeverRetry, RetryLater: as the stage, or because the event answers nothing.
        """
        until = expires_at(event)
        if until is not None and now < until:
            return []
        if isinstance(event.data, Retry):
            original = await self._original(event, event.data)
            event = replace(original, logged_at=event.logged_at, attempt=event.data.attempt)
        given = await self._resolve(event)
        drafts, now = await self._drafts(given, now)
        bundle = event.bundle if given.known_case is None else given.known_case.bundle
        return [
            self.finish(
                draft,
                event.subject,
                draft.cause or event.id,
                now,
                bundle=bundle,
                traceparent=traceparent,
                attempt=event.attempt,
            )
            for draft in drafts
        ]

    def finish(
        self,
        draft: Draft,
        about: Subject,
        cause: str,
        now: datetime,
        *,
        bundle: str | None = None,
        traceparent: str | None = None,
        attempt: int = 0,
    ) -> Event:
        """A draft as an event: with its address, its deterministic id, its time."""
        where = draft.step if draft.tail is None else f"{draft.step}.{draft.tail}"
        whose = about.request_id
        if draft.ledger is not None:
            whose, where = draft.ledger, f"{draft.ledger}.{where}"
        return Event(
            subject=Subject(self.cell, draft.event, about.tenant, whose, draft.step, draft.tail),
            data=draft.data,
            id=event_id(cause, self.stage, draft.event, where),
            source=f"/{self.stage}",
            time=now,
            cause=cause,
            bundle=bundle,
            traceparent=traceparent,
            attempt=attempt,
        )

    async def _drafts(self, given: Input, now: datetime) -> tuple[Sequence[Draft], datetime]:
        """The stage's decision, or the closing answer if its deadline has passed; and when.

        A stage that waits for something is asked again until then.
        """
        case = given.known_case
        while True:
            if (
                case is not None
                and case.deadline is not None
                and now > case.deadline
                and given.event.subject.event in DEADLINED
                and not any(step.results for step in case.steps)
            ):
                return [self._too_late(case, case.deadline)], now
            try:
                return await self._decide(given), now
            except SlowDown as slow:
                delay = slow.delay or 1.0
                await asyncio.sleep(delay)
                now += timedelta(seconds=delay)

    def _too_late(self, case: Case, deadline: datetime) -> Draft:
        reason = f"the deadline {deadline.isoformat()} passed before the {self.stage}"
        answer = Answer(
            request_id=case.request.request_id,
            status=AnswerStatus.FAILED,
            text="There was no answer in time.",
            failures=(failure(FailureCode.DEADLINE_EXCEEDED, reason),),
            bundle=case.bundle,
        )
        return Draft("answer", str(case.attempt), answer)

    async def contested(self, events: Sequence[Event]) -> bool:
        """Whether a decision that was not stored met an entry of somebody else's, not its own.

        It then has to be made again, by what the ledger says now.
        """
        own = [event.subject for event in events if not event.spec.shared]
        if len(own) == len(events) or not own:
            return False
        at = own[0]
        return await self._log.read(at.event, at.tenant, at.request_id, at.step, at.tail) is None

    async def _resolve(self, event: Event) -> Input:
        """Find the case and the bundle an event is about."""
        attempt = event.attempt
        now = event.logged_at or event.time
        if self._bundles is None:
            return Input(event, NO_BUNDLE, now)
        data = event.data
        if isinstance(data, Request):
            bundle = self._bundles.active(data)
            patience = timedelta(milliseconds=bundle.limits.budget.deadline_ms)
            case = Case(
                request=data,
                bundle=bundle.digest,
                deadline=None if attempt else data.deadline or now + patience,
                attempt=attempt,
            )
            return Input(event, bundle, now, case)
        known = data if isinstance(data, Case) else await self._case_of_step(event.subject)
        if known is None:
            raise NeverRetry(
                FailureCode.EVENT_INVALID,
                f"nothing on the log asked for a {event.subject.event} of {event.subject.step}",
            )
        if attempt > known.attempt:
            known = known.model_copy(update={"attempt": attempt, "deadline": None})
        return Input(event, await self._get(known.bundle), now, known)

    async def _case_of_step(self, address: Subject) -> Case | None:
        """The case of the verdict that an event from outside answers."""
        step = address.step.partition("-")[0]
        verdict = await self._log.read("verdict", address.tenant, address.request_id, step)
        return None if verdict is None else verdict.case

    async def _get(self, digest: str) -> Bundle:
        assert self._bundles is not None
        try:
            return await self._bundles.get(digest)
        except (BundleUnknown, BundleError, BundleRefused) as error:
            raise RetryLater(FailureCode.BUNDLE_UNKNOWN, str(error)) from None

    async def _original(self, event: Event, order: Retry) -> Event:
        """The event that an operator wants processed again."""
        letter = await self._at(order.dead_letter)
        if letter is None or not isinstance(letter.data, DeadLetter):
            raise NeverRetry(FailureCode.EVENT_INVALID, f"no dead letter {order.dead_letter!r}")
        if letter.subject.tenant != event.subject.tenant:
            raise NeverRetry(FailureCode.TENANT_BOUNDARY, "the dead letter is another tenant's")
        original = await self._at(letter.data.subject)
        if original is None:
            raise NeverRetry(FailureCode.EVENT_INVALID, "the original is no longer on the log")
        return original

    async def _at(self, subject: str) -> Event | None:
        try:
            at = parse_subject(subject)
        except ValueError:
            return None
        return await self._log.read(at.event, at.tenant, at.request_id, at.step, at.tail)
