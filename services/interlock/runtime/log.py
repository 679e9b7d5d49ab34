"""Reading single events off the log, and listing those of one request."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import nats.errors
from nats.aio.client import Client
from pydantic import TypeAdapter

from interlock.runtime.broker.connect import parse_header_lines
from interlock.runtime.broker.topology import stream_name
from interlock.runtime.errors import RetryLater
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.subjects import Subject

_NOT_FOUND = 10037
_TIME: TypeAdapter[datetime] = TypeAdapter(datetime)


class StoredMessage:
    """One message as the stream keeps it."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.subject: str = message["subject"]
        self.sequence: int = message["seq"]
        self.body = base64.b64decode(message.get("data", ""))
        block = base64.b64decode(message.get("hdrs", ""))
        self.headers = parse_header_lines(block.partition(b"\r\n")[2])
        self.logged_at = _TIME.validate_python(message["time"])

    def spends(self) -> list[str]:
        """Of a verdict, the subjects of the entries it made in ledgers."""
        cell, event, tenant, *_ = self.subject.split(".")
        if event != "verdict" or b'"spends"' not in self.body:
            return []
        case = self.event().case
        return [
            f"{cell}.spent.{tenant}.{spend.ledger}.{spend.number}"
            for action in (case.verdict.actions if case.verdict else ())
            for spend in action.spends
        ]

    def event(self) -> Event:
        """The event; raises `InvalidEvent` if it is none."""
        return Event.decode(
            self.subject,
            self.headers,
            self.body,
            logged_at=self.logged_at,
            sequence=self.sequence,
        )


class JetStreamLog:
    """The log of one cell. Every read is answered by the stream's leader: never stale."""

    def __init__(self, client: Client, cell: str, *, timeout: float = 5.0) -> None:
        self.cell = cell
        self._client = client
        self._timeout = timeout

    async def read(
        self, event: str, tenant: str, request_id: str, step: str, tail: str | None = None
    ) -> Event | None:
        """The event at this address, or None; raises `InvalidEvent` if it cannot be read."""
        address = Subject(self.cell, event, tenant, request_id, step, tail)
        found = await self.fetch({"last_by_subj": str(address)})
        return None if found is None else found.event()

    async def latest(self, event: str, tenant: str, request_id: str) -> Event | None:
        """The last event of this name and request; raises `InvalidEvent` as `read` does."""
        found = await self.fetch({"last_by_subj": f"{self.cell}.{event}.{tenant}.{request_id}.>"})
        return None if found is None else found.event()

    async def at(self, sequence: int) -> StoredMessage | None:
        """The message with this stream sequence, or None."""
        return await self.fetch({"seq": sequence})

    async def of_request(self, request_id: str) -> list[StoredMessage]:
        """Everything logged of one request, in order; its entries in the ledgers of rules too."""
        found = [message async for message in self.matching(f"{self.cell}.*.*.{request_id}.>")]
        for subject in [place for message in found for place in message.spends()]:
            entry = await self.fetch({"last_by_subj": subject})
            if entry is not None:
                found.append(entry)
        return sorted(found, key=lambda message: message.sequence)

    async def matching(self, subject: str, *, after: int = 0) -> AsyncIterator[StoredMessage]:
        """Every later message whose subject matches the filter, in order, one read each."""
        sequence = after + 1
        while (found := await self.fetch({"seq": sequence, "next_by_subj": subject})) is not None:
            yield found
            sequence = found.sequence + 1

    async def fetch(self, query: dict[str, Any]) -> StoredMessage | None:
        """One `STREAM.MSG.GET`; None when there is no such message."""
        return await stored(self._client, stream_name(self.cell), query, self._timeout)


async def stored(
    client: Client,
    stream: str,
    query: dict[str, Any],
    timeout: float = 5.0,  # noqa: ASYNC109  # the library's, per request
) -> StoredMessage | None:
    """One message of a stream, by `STREAM.MSG.GET`; None when there is no such message."""
    try:
        reply = await client.request(
            f"$JS.API.STREAM.MSG.GET.{stream}", json.dumps(query).encode(), timeout=timeout
        )
    except nats.errors.Error as failed:
        raise RetryLater(
            FailureCode.STAGE_FAILED, f"the log did not answer: {type(failed).__name__}"
        ) from failed
    answer = json.loads(reply.data)
    error = answer.get("error")
    if error is None:
        return StoredMessage(answer["message"])
    if error.get("err_code") == _NOT_FOUND or error.get("code") == 404:
        return None
    raise RetryLater(FailureCode.STAGE_FAILED, f"the log: {error.get('description')}")
