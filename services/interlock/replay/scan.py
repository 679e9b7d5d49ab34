"""Reading the log in order, hundreds of messages a question: JetStream's batched direct get.

Format: NATS ADR-31, "JetStream Direct Batched Get". A replica may answer, so the very end of the
log may be a moment behind; what is read is never wrong.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from pydantic import TypeAdapter

from interlock.replay.message import LogMessage
from interlock.runtime.broker.connect import BrokerClient
from interlock.runtime.broker.topology import stream_name
from interlock.runtime.errors import RetryLater
from interlock_contracts.failures import FailureCode

BATCH = 500
BATCH_BYTES = 4 * 1024 * 1024
_TIME: TypeAdapter[datetime] = TypeAdapter(datetime)
_OURS = "Nats-"
_KEPT = "Nats-Expected-Last-Subject-Sequence"


class LogReader:
    """The log of one cell, read with the connection of whoever may read all of it."""

    def __init__(self, client: BrokerClient, cell: str, *, timeout: float = 10.0) -> None:
        self.cell = cell
        self._client = client
        self._timeout = timeout
        self._get = f"$JS.API.DIRECT.GET.{stream_name(cell)}"

    async def scan(
        self, subject: str, sequence: int = 1, since: datetime | None = None
    ) -> AsyncIterator[LogMessage]:
        """Every message that matches `subject`, from `sequence` on or from `since` on."""
        start: dict[str, Any] = {"seq": sequence}
        if since is not None:
            start = {"start_time": since.isoformat()}
        while True:
            batch = await self._batch({**start, "next_by_subj": subject})
            for message in batch:
                yield message
            if not batch:
                return
            start = {"seq": batch[-1].sequence + 1}

    async def at(self, sequence: int) -> LogMessage | None:
        """The message with this sequence, if it is still there."""
        reply = await self._client.request(
            self._get, json.dumps({"seq": sequence}).encode(), timeout=self._timeout
        )
        return _message(reply)

    async def last(self, subject: str) -> LogMessage | None:
        """The message on exactly this subject, if there is one."""
        reply = await self._client.request(
            self._get, json.dumps({"last_by_subj": subject}).encode(), timeout=self._timeout
        )
        return _message(reply)

    async def of_request(self, request_id: str) -> list[LogMessage]:
        """Everything logged of one request, in order."""
        return [one async for one in self.scan(f"{self.cell}.*.*.{request_id}.>")]

    async def _batch(self, query: dict[str, Any]) -> list[LogMessage]:
        found: list[LogMessage] = []
        inbox = self._client.new_inbox()
        replies = await self._client.subscribe(inbox)
        body = json.dumps({**query, "batch": BATCH, "max_bytes": BATCH_BYTES}).encode()
        try:
            with self._client.violations.watch(self._get) as refused:
                await self._client.publish(self._get, body, reply=inbox)
                while True:
                    message = _message(await self._next(replies, refused, bool(found)))
                    if message is None:
                        return found
                    found.append(message)
        except (nats.errors.TimeoutError, TimeoutError):
            if found:  # a message without any content ends a series between accounts
                return found
            raise RetryLater(FailureCode.STAGE_FAILED, "the log did not answer") from None
        finally:
            await replies.unsubscribe()

    async def _next(self, replies: Any, refused: asyncio.Future[None], more: bool) -> Msg:
        if more:
            message: Msg = await replies.next_msg(timeout=self._timeout)
            return message
        first = asyncio.ensure_future(replies.next_msg(timeout=self._timeout))
        await asyncio.wait((first, refused), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            first.cancel()
            refused.result()
        message = await first
        return message  # noqa: RET504 — typed: the library has no types


def _message(reply: Msg) -> LogMessage | None:
    """The stored message in a reply; None for "nothing (more) there"."""
    headers = reply.headers or {}
    if "Nats-Sequence" not in headers:
        status = headers.get("Status", "")
        if status in ("204", "404"):
            return None
        raise RetryLater(
            FailureCode.STAGE_FAILED, f"the log: {headers.get('Description', 'no message')}"
        )
    return LogMessage(
        headers["Nats-Subject"],
        int(headers["Nats-Sequence"]),
        _TIME.validate_python(headers["Nats-Time-Stamp"]),
        {
            name: value
            for name, value in headers.items()
            if not name.startswith(_OURS) or name == _KEPT
        },
        reply.data,
    )
