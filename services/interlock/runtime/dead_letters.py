"""Dead letters: what could not be processed, with the reason and the original."""

import base64
import time
from collections import deque

from nats.aio.msg import Msg
from pydantic import ValidationError

from interlock.runtime.pull import Delivery
from interlock.runtime.stage import Draft
from interlock_contracts.answer import Answer, AnswerStatus, DeadLetter
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.event import subject_id
from interlock_contracts.failures import Failure
from interlock_contracts.subjects import Subject, as_token, parse_subject

MAX_INLINE_BYTES = 1_048_576
"""Larger originals are kept by reference: they stand on the log."""

PRODUCER_EVENTS = frozenset({"request", "confirmed", "reviewed", "retry"})
"""Events that come from outside: what is wrong with them is not this system's fault."""


def address_of(subject: str) -> Subject:
    """Where a message belongs, also when its subject is not quite one of ours."""
    try:
        return parse_subject(subject)
    except ValueError:
        tokens = [as_token(token) for token in subject.split(".")] + ["_"] * 5
        return Subject(tokens[0], tokens[1], tokens[2], tokens[3], tokens[4])


def id_of(message: Msg) -> str:
    """The id of the event a message is, or would be: nobody outside names their own."""
    address = address_of(message.subject)
    if address.event in PRODUCER_EVENTS:
        return subject_id(address)
    return (message.headers or {}).get("ce-id") or subject_id(address)


def whose(message: Msg) -> dict[str, str]:
    """What a log line says of a message that may be unreadable."""
    address = address_of(message.subject)
    return {
        "request": address.request_id,
        "tenant": address.tenant,
        "event_id": id_of(message),
    }


def dead_letter(stage: str, message: Msg, delivery: Delivery, why: Failure, attempt: int) -> Draft:
    """The `dead` event for a message. Its address says which stage, event, step and attempt."""
    address = address_of(message.subject)
    inline = len(message.data) <= MAX_INLINE_BYTES
    step = as_token(f"{address.event}-{address.step}-{attempt}")
    return Draft(
        event="dead",
        step=step,
        tail=stage,
        data=DeadLetter(
            stage=stage,
            subject=_readable(message.subject),
            sequence=delivery.sequence,
            headers={_readable(k): _readable(v) for k, v in (message.headers or {}).items()},
            original=base64.b64encode(message.data) if inline else None,
            original_digest=digest_bytes(message.data),
            failure=why,
            deliveries=delivery.deliveries,
        ),
    )


def _readable(text: object) -> str:
    """Text from outside as it can stand in an event: what cannot be printed becomes U+FFFD."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(text))


def closing_answer(
    request_id: str, attempt: int, status: AnswerStatus, text: str, why: Failure, bundle: str | None
) -> Draft | None:
    """The answer to a request that ends here; None where the request has no valid id."""
    try:
        answer = Answer(
            request_id=request_id, status=status, text=text, failures=(why,), bundle=bundle
        )
    except ValidationError:
        return None
    return Draft(event="answer", step=str(attempt), data=answer)


def refusal(address: Subject, attempt: int, why: Failure, bundle: str | None) -> Draft | None:
    """What the producer is told when the message at `address` became a dead letter."""
    if address.event in ("confirmed", "reviewed"):
        return None  # the request itself is fine, and still waits for a valid decision
    if address.event == "request" and attempt == 0:
        text = f"The request was not accepted: {why.message}"
        return closing_answer(address.request_id, 0, AnswerStatus.REFUSED, text, why, bundle)
    text = "Something went wrong on our side. The request was kept and can be resumed."
    return closing_answer(address.request_id, attempt, AnswerStatus.FAILED, text, why, bundle)


class RateCap:
    """At most `per_minute` dead letters in any sixty seconds."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._recent: deque[float] = deque()

    def allows(self) -> bool:
        """Whether one more is within the cap; counts it if so."""
        now = time.monotonic()
        while self._recent and now - self._recent[0] > 60:
            self._recent.popleft()
        if len(self._recent) >= self._per_minute:
            return False
        self._recent.append(now)
        return True
