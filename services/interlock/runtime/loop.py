"""The stage loop: one delivered message in, one decision committed, one acknowledgement out."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog
from nats.aio.msg import Msg
from opentelemetry import trace

from interlock.bundles.model import NO_BUNDLE, Bundle
from interlock.runtime import telemetry
from interlock.runtime.commit import CommitRefused, Committed, Committer
from interlock.runtime.dead_letters import (
    PRODUCER_EVENTS,
    RateCap,
    address_of,
    dead_letter,
    refusal,
)
from interlock.runtime.errors import NeverRetry, RetryLater, SlowDown
from interlock.runtime.log import JetStreamLog
from interlock.runtime.pull import ACK, Delivery, PullConsumer
from interlock.runtime.stage import Bundles, Decide, Draft, Input
from interlock_contracts.answer import Answer, AnswerStatus, DeadLetter, Retry
from interlock_contracts.case import Case
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.failures import FailureCode, failure
from interlock_contracts.ids import event_id
from interlock_contracts.request import Request
from interlock_contracts.subjects import Subject

DEADLINED = frozenset({"request", "route", "context", "proposal", "repair"})
"""Events whose work is pointless once the deadline has passed, unless something was done."""

HALT_S = 10.0
"""How long a stage stands still when dead letters exceed their cap, before it tries again."""

log = structlog.get_logger(__name__)


class StageLoop:
    """Feeds one stage. Decides ack, delayed redelivery or dead letter; nothing else does."""

    def __init__(
        self,
        stage: str,
        decide: Decide,
        *,
        bundles: Bundles | None,
        jetstream_log: JetStreamLog,
        committer: Committer,
        max_deliver: int,
        retry_delay: float,
        dead_letters_per_minute: int,
    ) -> None:
        self.stage = stage
        self.halted: str | None = None
        self._decide = decide
        self._bundles = bundles
        self._log = jetstream_log
        self._committer = committer
        self._max_deliver = max_deliver
        self._retry_delay = retry_delay
        self._cap = RateCap(dead_letters_per_minute)
        self._tracer = trace.get_tracer("interlock")

    async def handle(self, message: Msg, delivery: Delivery, pull: PullConsumer) -> None:
        """Process one delivery to its end: afterwards it is acknowledged or handed back."""
        started = time.perf_counter()
        how = ACK
        try:
            await self._process(message, delivery)
        except InvalidEvent as error:
            how = await self._bury(message, delivery, error.code, error.message, pull)
        except RetryLater as error:
            how = await self._later(message, delivery, error, pull)
        except CommitRefused as error:
            reason = f"the broker refused the outcome: {error}"
            how = await self._bury(message, delivery, FailureCode.STAGE_FAILED, reason, pull)
        except Exception as error:
            log.exception("stage_failed", stage=self.stage, exc_info=error)
            again = RetryLater(FailureCode.STAGE_FAILED, f"{type(error).__name__} in {self.stage}")
            how = await self._later(message, delivery, again, pull)
        await pull.finish(delivery, how)
        telemetry.LATENCY.labels(self.stage).observe(time.perf_counter() - started)

    async def _process(self, message: Msg, delivery: Delivery) -> None:
        if delivery.deliveries > self._max_deliver:  # it took its worker down every time
            raise NeverRetry(
                FailureCode.RETRIES_EXHAUSTED,
                f"delivered {delivery.deliveries} times without an outcome",
            )
        logged_at = datetime.fromtimestamp(delivery.timestamp_ns / 1e9, UTC)
        event = Event.decode(
            message.subject,
            message.headers,
            message.data,
            logged_at=logged_at,
            sequence=delivery.sequence,
        )
        name = event.subject.event
        telemetry.EVENTS_IN.labels(self.stage, name).inc()
        with (
            structlog.contextvars.bound_contextvars(
                request=event.subject.request_id, tenant=event.subject.tenant, event=event.id
            ),
            telemetry.stage_span(self._tracer, self.stage, name, event.traceparent) as span,
        ):
            attempt = 0
            if isinstance(event.data, Retry):
                attempt = event.data.attempt
                original = await self._original(event, event.data)
                event = replace(original, logged_at=event.logged_at)
            given = await self.resolve(event, attempt)
            drafts = await self.decide(given, datetime.now(UTC))
            events = [self.finish(draft, given, span) for draft in drafts]
            outcome = await self._committer.commit(events)
        if outcome is Committed.NEW:
            for made in events:
                telemetry.EVENTS_OUT.labels(self.stage, made.subject.event).inc()
        else:
            log.debug("already_committed", stage=self.stage, subject=message.subject)

    async def decide(self, given: Input, now: datetime) -> Sequence[Draft]:
        """The stage's decision, or the closing answer if its deadline has passed.

        Stages and repairs that a person's time may lie in between are not cut off.
        """
        case = given.known_case
        if (
            case is not None
            and case.deadline is not None
            and now > case.deadline
            and given.event.subject.event in DEADLINED
            and not any(step.results for step in case.steps)
        ):
            return [self._too_late(case, case.deadline)]
        while True:
            try:
                return await self._decide(given)
            except SlowDown as slow:
                await asyncio.sleep(slow.delay or self._retry_delay)

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

    async def resolve(self, event: Event, attempt: int = 0) -> Input:
        """Find the case and the bundle an event is about."""
        now = event.logged_at or event.time
        if self._bundles is None:
            return Input(event, NO_BUNDLE, now)
        data = event.data
        if isinstance(data, Request):
            bundle = self._bundles.active()
            patience = timedelta(milliseconds=bundle.limits.budget.deadline_ms)
            case = Case(
                request=data,
                bundle=bundle.digest,
                deadline=None if attempt else data.deadline or now + patience,
                attempt=attempt,
            )
            return Input(event, bundle, now, case)
        known = data if isinstance(data, Case) else await self._case_of_step(event)
        if known is None:
            raise NeverRetry(
                FailureCode.EVENT_INVALID,
                f"nothing on the log asked for a {event.subject.event} of {event.subject.step}",
            )
        if attempt:
            known = known.model_copy(update={"attempt": attempt, "deadline": None})
        return Input(event, self._bundle(known.bundle), now, known)

    async def _case_of_step(self, event: Event) -> Case | None:
        """The case of the verdict that an event from outside answers."""
        address = event.subject
        step = address.step.partition("-")[0]
        verdict = await self._log.read("verdict", address.tenant, address.request_id, step)
        return None if verdict is None else verdict.case

    def _bundle(self, digest: str) -> Bundle:
        assert self._bundles is not None
        return self._bundles.get(digest)

    async def _original(self, event: Event, order: Retry) -> Event:
        """The event that an operator wants processed again."""
        address = event.subject
        dead = await self._log.fetch({"last_by_subj": order.dead_letter})
        letter = None if dead is None else dead.event()
        if letter is None or not isinstance(letter.data, DeadLetter):
            raise NeverRetry(FailureCode.EVENT_INVALID, f"no dead letter {order.dead_letter!r}")
        if letter.subject.tenant != address.tenant:
            raise NeverRetry(FailureCode.TENANT_BOUNDARY, "the dead letter is another tenant's")
        original = await self._log.at(letter.data.sequence)
        if original is None:
            raise NeverRetry(FailureCode.EVENT_INVALID, "the original is no longer on the log")
        return original.event()

    def finish(self, draft: Draft, given: Input, traceparent: str | None) -> Event:
        """A draft as an event: with its address, its deterministic id, its time."""
        bundle = given.event.bundle if given.known_case is None else given.known_case.bundle
        cause = draft.cause or given.event.id
        return self._event(draft, given.event.subject, cause, bundle, traceparent)

    async def _later(
        self, message: Msg, delivery: Delivery, error: RetryLater, pull: PullConsumer
    ) -> bytes:
        """Hand back with a jittered, growing delay; after the last try, a dead letter."""
        if delivery.deliveries >= self._max_deliver:
            reason = f"given up after {delivery.deliveries} tries: {error.message}"
            code = (
                FailureCode.RETRIES_EXHAUSTED
                if error.code is FailureCode.STAGE_FAILED
                else error.code
            )
            return await self._bury(message, delivery, code, reason, pull)
        telemetry.RETRIES.labels(self.stage, error.code).inc()
        base = error.delay or self._retry_delay * 2 ** (delivery.deliveries - 1)
        delay = min(base, 60.0) * random.uniform(0.5, 1.5)  # noqa: S311  # jitter, not a secret
        log.warning("retry_later", stage=self.stage, code=error.code, delay=round(delay, 2))
        return nak(delay)

    async def _bury(
        self, message: Msg, delivery: Delivery, code: FailureCode, reason: str, pull: PullConsumer
    ) -> bytes:
        """Write the dead letter and, for a request, its closing answer."""
        address = address_of(message.subject)
        if address.event not in PRODUCER_EVENTS and not self._cap.allows():
            self.halted = f"too many dead letters in a minute; the last: {code}"
            log.error("halted", stage=self.stage, code=code, for_seconds=HALT_S)
            pull.pause(HALT_S)
            return nak(HALT_S)
        self.halted = None
        headers = message.headers or {}
        why = failure(code, reason)
        attempt = int(address.step) if address.event == "retry" and address.step.isdigit() else 0
        letter = dead_letter(self.stage, message, delivery, why, attempt)
        answer = refusal(address, attempt, why, headers.get("ce-bundle"))
        cause = headers.get("ce-id") or event_id("", "producer", address.event, message.subject)
        drafts = [letter] if answer is None else [letter, answer]
        events = [self._event(draft, address, cause) for draft in drafts]
        try:
            outcome = await self._committer.commit(events)
            if outcome is Committed.ALREADY:  # answered before: then the letter alone
                await self._committer.commit(events[:1])
        except (RetryLater, CommitRefused) as error:
            log.exception("dead_letter_not_written", stage=self.stage, exc_info=error)
            return nak(self._retry_delay)
        telemetry.DEAD_LETTERS.labels(self.stage, why.area, code).inc()
        log.warning("dead_letter", stage=self.stage, code=code, subject=str(address))
        return ACK

    def _event(
        self,
        draft: Draft,
        about: Subject,
        cause: str,
        bundle: str | None = None,
        traceparent: str | None = None,
    ) -> Event:
        where = draft.step if draft.tail is None else f"{draft.step}.{draft.tail}"
        return Event(
            subject=Subject(
                self._log.cell, draft.event, about.tenant, about.request_id, draft.step, draft.tail
            ),
            data=draft.data,
            id=event_id(cause, self.stage, draft.event, where),
            source=f"/{self.stage}",
            time=datetime.now(UTC),
            cause=cause,
            bundle=bundle,
            traceparent=traceparent,
        )


def nak(delay: float) -> bytes:
    """The acknowledgement that asks for redelivery after `delay` seconds."""
    return b'-NAK {"delay": %d}' % int(delay * 1e9)
