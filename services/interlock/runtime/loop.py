"""The stage loop: one delivered message in, one decision committed, one acknowledgement out."""

import asyncio
import random
import time
from datetime import UTC, datetime

import structlog
from nats.aio.msg import Msg

from interlock.runtime import telemetry
from interlock.runtime.commit import CommitRefused, Committed, Committer
from interlock.runtime.dead_letters import (
    PRODUCER_EVENTS,
    RateCap,
    address_of,
    dead_letter,
    id_of,
    refusal,
    whose,
)
from interlock.runtime.decision import Decider
from interlock.runtime.errors import NeverRetry, RetryLater
from interlock.runtime.pull import ACK, Delivery, PullConsumer
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.failures import Failure, FailureCode, failure

LONGEST_DELAY_S = 10.0
"""Delays grow up to this, so that a request whose deadline passes is told so soon after."""

HALT_S = 10.0
"""How long a stage stands still when dead letters exceed their cap, before it tries again."""

MOST_CONTESTED = 64
"""How often a decision is made again at once because somebody else's entry was first."""

log = structlog.get_logger(__name__)


class StageLoop:
    """Feeds one stage. Decides ack, delayed redelivery or dead letter; nothing else does."""

    def __init__(
        self,
        decider: Decider,
        committer: Committer,
        *,
        max_deliver: int,
        retry_delay: float,
        dead_letters_per_minute: int,
    ) -> None:
        self.stage = decider.stage
        self.halted: str | None = None
        self._decider = decider
        self._committer = committer
        self._max_deliver = max_deliver
        self._retry_delay = retry_delay
        self._cap = RateCap(dead_letters_per_minute)
        self._tracer = telemetry.stage_tracer()
        self._latency = telemetry.LATENCY.labels(decider.stage)

    async def handle(self, message: Msg, delivery: Delivery, pull: PullConsumer) -> None:
        """Process one delivery to its end: afterwards it is acknowledged or handed back."""
        started = time.perf_counter()
        how = ACK
        try:
            await self._process(message, delivery)
            if not pull.paused:
                self.halted = None
        except InvalidEvent as error:
            how = await self._bury(message, delivery, error.code, error.message, pull)
        except RetryLater as error:
            how = await self._later(message, delivery, error, pull)
        except CommitRefused as error:
            reason = f"the broker refused the outcome: {error}"
            how = await self._bury(message, delivery, FailureCode.STAGE_FAILED, reason, pull)
        except Exception as error:
            log.exception("stage_failed", stage=self.stage, exc_info=error, **whose(message))
            again = RetryLater(FailureCode.STAGE_FAILED, f"{type(error).__name__} in {self.stage}")
            how = await self._later(message, delivery, again, pull)
        await pull.finish(delivery, how)
        self._latency.observe(time.perf_counter() - started)

    async def _process(self, message: Msg, delivery: Delivery) -> None:
        if delivery.deliveries > self._max_deliver:  # it took its worker down every time
            raise NeverRetry(
                FailureCode.RETRIES_EXHAUSTED,
                f"delivered {delivery.deliveries} times without an outcome",
            )
        event = Event.decode(
            message.subject,
            message.headers,
            message.data,
            logged_at=delivery.logged_at,
            sequence=delivery.sequence,
        )
        name = event.subject.event
        telemetry.count(telemetry.EVENTS_IN, self.stage, name)
        with (
            telemetry.about(event),
            telemetry.stage_span(self._tracer, self.stage, name, event.traceparent) as span,
        ):
            events, outcome = await self._commit_what_follows(event, span)
        if outcome is Committed.NEW:
            for made in events:
                telemetry.count(telemetry.EVENTS_OUT, self.stage, made.subject.event)
        else:
            log.debug("already_committed", stage=self.stage, subject=message.subject)

    async def _commit_what_follows(
        self, event: Event, span: str | None
    ) -> tuple[list[Event], Committed]:
        """Decide and commit; again as often as others were faster to write the same ledger.

        Each time one of them was stored, so all together get on.
        """
        for turn in range(MOST_CONTESTED):
            events = await self._decider.follow(event, datetime.now(UTC), span)
            outcome = await self._committer.commit(events)
            if outcome is Committed.NEW or not await self._decider.contested(events):
                return events, outcome
            await asyncio.sleep(random.uniform(0, 0.005 * (turn + 1)))  # noqa: S311  # jitter
        raise RetryLater(FailureCode.STAGE_FAILED, "others keep writing the same ledger")

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
        delay = self._delay(delivery, error.delay)
        log.warning(
            "retry_later",
            stage=self.stage,
            code=error.code,
            delay=round(delay, 2),
            **whose(message),
        )
        return nak(delay)

    def _delay(self, delivery: Delivery, asked: float | None = None) -> float:
        base = asked or self._retry_delay * 2 ** (delivery.deliveries - 1)
        longest = LONGEST_DELAY_S if asked is None else 60.0
        return min(base, longest) * random.uniform(0.5, 1.5)  # noqa: S311  # jitter, not a secret

    async def _bury(
        self, message: Msg, delivery: Delivery, code: FailureCode, reason: str, pull: PullConsumer
    ) -> bytes:
        """Write the dead letter and, for a request, its closing answer."""
        address = address_of(message.subject)
        outside = address.event in PRODUCER_EVENTS
        if not outside and not self._cap.allows():
            self.halted = f"too many dead letters in a minute; the last: {code}"
            log.error("halted", stage=self.stage, code=code, for_seconds=HALT_S, **whose(message))
            pull.pause(HALT_S)
            return nak(HALT_S)
        self.halted = None
        why = failure(code, reason)
        try:
            events = self._obituary(message, delivery, why)
            outcome = await self._committer.commit(events)
            if outcome is Committed.ALREADY:  # answered before: then the letter alone
                await self._committer.commit(events[:1])
        except Exception as error:  # whatever it is, the message is never left hanging
            log.exception(
                "dead_letter_not_written", stage=self.stage, exc_info=error, **whose(message)
            )
            return nak(self._delay(delivery))
        telemetry.DEAD_LETTERS.labels(self.stage, why.area, code).inc()
        log.warning(
            "dead_letter", stage=self.stage, code=code, subject=str(address), **whose(message)
        )
        return ACK

    def _obituary(self, message: Msg, delivery: Delivery, why: Failure) -> list[Event]:
        """The dead letter and, where there is somebody to be told, the closing answer."""
        address = address_of(message.subject)
        outside = address.event in PRODUCER_EVENTS
        headers = {} if outside else message.headers or {}
        stated = address.step if address.event == "retry" else headers.get("ce-attempt", "")
        attempt = int(stated) if stated.isdecimal() else 0
        bundle = headers.get("ce-bundle")
        letter = dead_letter(self.stage, message, delivery, why, attempt)
        answer = refusal(address, attempt, why, bundle)
        drafts = [letter] if answer is None else [letter, answer]
        now, cause = datetime.now(UTC), id_of(message)
        return [self._decider.finish(draft, address, cause, now) for draft in drafts]


def nak(delay: float) -> bytes:
    """The acknowledgement that asks for redelivery after `delay` seconds."""
    return b'-NAK {"delay": %d}' % int(delay * 1e9)
