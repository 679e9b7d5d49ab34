"""Committing decisions to the log: write-once, all or none, many under one fsync.

The broker fsyncs once per publish, and once per atomic batch however large. Decisions that
are ready at the same moment therefore go out as one atomic batch (group commit); each message
in it still expects its subject to be new. A batch that finds one of them taken stores nothing,
and its decisions are then committed one by one, so that a redelivery never holds up others.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from interlock.runtime.broker.connect import PermissionDenied
from interlock.runtime.errors import RetryLater
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode

log = structlog.get_logger(__name__)

EXPECT_NEW = {"Nats-Expected-Last-Subject-Sequence": "0"}
SUBJECT_TAKEN = frozenset({10071, 10077})
"""JetStream's codes for 'there is a message on this subject': the expectation failed, or the
stream's own one-message-per-subject rule did."""
DUPLICATE_IN_BATCH = 10201
UNDECIDED = frozenset({10164, 10176})
"""Another writer of the subject is under way; a batch lost some of its messages, as happens when
the broker restarts between the first and the last of them."""

_NO_ANSWER = (nats.errors.TimeoutError, nats.errors.NoRespondersError)

LINGER_S = 0.005
"""How long a commit waits at most for those of other messages in work."""

SINGLES = 8
"""Up to this many messages go out one by one: a batch costs about as much as eight of them."""
MAX_BATCH_MESSAGES = 400
MAX_BATCH_BYTES = 4 * 1024 * 1024


class Committed(Enum):
    """What became of a decision."""

    NEW = "new"
    ALREADY = "already"
    """Another delivery of the same input was first; its outputs stand."""


class CommitRefused(Exception):
    """The broker refuses for a reason that a retry will not mend (permissions, size)."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code


class _Undecided(RetryLater):
    """Nothing was stored, and nothing is known to stand in the way."""


Wire = tuple[str, bytes, dict[str, str]]
"""Subject, body, headers."""


def wire(event: Event) -> Wire:
    """An event as it is published."""
    return (
        str(event.subject),
        event.body(),
        {**event.headers(), **EXPECT_NEW, "Nats-Msg-Id": event.id},
    )


@dataclass(slots=True)
class _Pending:
    messages: Sequence[Wire]
    done: "asyncio.Future[Committed]"
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(len(body) for _, body, _ in self.messages)


class Committer:
    """Commits decisions through one connection. One per process and credential."""

    def __init__(self, client: Client, *, timeout: float = 10.0) -> None:
        self._client = client
        self._timeout = timeout
        self.in_work: Callable[[], int] = lambda: 0
        """How many messages are being worked on, each of which may soon have a commit."""
        self._waiting: list[_Pending] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(_NO_ANSWER),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop_after_delay(timeout),
            reraise=True,
        )

    async def commit(self, events: Sequence[Event]) -> Committed:
        """Store all of `events`, or none of them if one of their subjects is taken.

        Returns when they are durable.

        Raises:
            RetryLater: the broker did not answer; committing again is safe.
            CommitRefused: the broker will not have it.
        """
        return await self.commit_wire([wire(event) for event in events])

    async def commit_wire(self, messages: Sequence[Wire]) -> Committed:
        """`commit` for messages that are already encoded, headers included."""
        if not messages:
            return Committed.NEW
        pending = _Pending(messages, asyncio.get_running_loop().create_future())
        self._waiting.append(pending)
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._flush_for_ever(), name="committer")
        return await pending.done

    async def close(self) -> None:
        """Stop; whoever still waits is told to retry."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        for pending in self._waiting:
            if not pending.done.done():
                pending.done.set_exception(_unanswered("the committer was closed"))
        self._waiting.clear()

    async def _flush_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            await self._gather()
            group = self._take()
            try:
                await self._flush(group)
            except BaseException as error:
                _fail(group, error)
                if not isinstance(error, Exception):
                    raise

    async def _gather(self) -> None:
        """Let others join in: what is ready in this turn of the loop, and what is on its way.

        A batch costs what a few milliseconds of waiting do; with nothing else in work, none.
        """
        await asyncio.sleep(0)
        until = time.monotonic() + LINGER_S
        while len(self._waiting) < self.in_work() and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(LINGER_S / 5)

    def _take(self) -> list[_Pending]:
        group: list[_Pending] = []
        messages = size = 0
        for pending in self._waiting:
            messages += len(pending.messages)
            size += pending.size
            if group and (messages > MAX_BATCH_MESSAGES or size > MAX_BATCH_BYTES):
                break
            group.append(pending)
        del self._waiting[: len(group)]
        if not self._waiting:
            self._wake.clear()
        return group

    async def _flush(self, group: list[_Pending]) -> None:
        needs_batch = any(len(pending.messages) > 1 for pending in group)
        wants_batch = len(group) > (1 if needs_batch else SINGLES)  # one for all, not one for each
        if wants_batch and await self._store_together(group):
            return
        outcomes = await asyncio.gather(
            *(self._store(pending.messages) for pending in group), return_exceptions=True
        )
        for pending, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                _fail([pending], outcome)
            else:
                _resolve(pending, outcome)

    async def _store_together(self, group: list[_Pending]) -> bool:
        """One atomic batch for the whole group; False if it has to be tried one by one."""
        everything = [message for pending in group for message in pending.messages]
        try:
            outcome = await self._store(everything)
        except _Undecided:
            return False
        except RetryLater:
            raise
        except Exception as error:  # one of them is refused; the others are not to blame
            log.warning("batch_refused", messages=len(everything), reason=type(error).__name__)
            return False
        if outcome is Committed.NEW:
            for pending in group:
                _resolve(pending, Committed.NEW)
        return outcome is Committed.NEW

    async def _store(self, messages: Sequence[Wire]) -> Committed:
        """One message, or one atomic batch; tried again while the broker does not answer."""
        send = self._publish if len(messages) == 1 else self._batch
        try:
            try:
                reply = await send(messages)
            except _NO_ANSWER:
                reply = await self._retrying(send, messages)
        except _NO_ANSWER as error:
            raise _unanswered(f"{type(error).__name__} on {messages[0][0]}") from None
        except PermissionDenied as error:
            raise CommitRefused(403, str(error)) from None
        except nats.errors.MaxPayloadError:
            raise CommitRefused(413, "larger than the broker takes") from None
        return _outcome(reply)

    async def _publish(self, messages: Sequence[Wire]) -> bytes:
        ((subject, body, headers),) = messages
        reply = await self._client.request(
            subject, body, timeout=self._timeout / 4, headers=headers
        )
        return reply.data

    async def _batch(self, messages: Sequence[Wire]) -> bytes:
        """An atomic batch: the commit, which comes last, answers for all of it."""
        batch = uuid.uuid4().hex
        *body_of_batch, (last_subject, last_body, last_headers) = messages
        for position, (subject, body, headers) in enumerate(body_of_batch, 1):
            marks = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(position)}
            await self._client.publish(subject, body, headers={**headers, **marks})
        marks = {
            "Nats-Batch-Id": batch,
            "Nats-Batch-Sequence": str(len(messages)),
            "Nats-Batch-Commit": "1",
        }
        reply = await self._client.request(
            last_subject, last_body, timeout=self._timeout / 4, headers={**last_headers, **marks}
        )
        return reply.data


def _outcome(reply: bytes) -> Committed:
    answer: dict[str, Any] = json.loads(reply)
    error = answer.get("error")
    if error is None:
        return Committed.NEW
    code = error.get("err_code", error.get("code", 0))
    if code in SUBJECT_TAKEN or code == DUPLICATE_IN_BATCH:
        return Committed.ALREADY
    if code in UNDECIDED:
        raise _Undecided(FailureCode.STAGE_FAILED, f"not stored: {error.get('description')}")
    if error.get("code") == 503:
        raise RetryLater(
            FailureCode.STAGE_FAILED, f"the log takes nothing now: {error.get('description')}"
        )
    raise CommitRefused(code, str(error.get("description", "refused by the broker")))


def _unanswered(why: str) -> RetryLater:
    return RetryLater(FailureCode.STAGE_FAILED, f"the broker did not acknowledge: {why}")


def _resolve(pending: _Pending, outcome: Committed) -> None:
    if not pending.done.done():
        pending.done.set_result(outcome)


def _fail(group: Sequence[_Pending], error: BaseException) -> None:
    for pending in group:
        if not pending.done.done():
            pending.done.set_exception(
                error if isinstance(error, Exception) else _unanswered("stopped")
            )
