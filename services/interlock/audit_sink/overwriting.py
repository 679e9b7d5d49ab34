"""Overwriting messages of the log's stream: what an erasure or an expiry does to the log itself."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client

from interlock.runtime.broker.topology import stream_name
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog

KEPT = frozenset({"reserved", "custody", "activated", "evaluated", "keyring"})
"""Events that are neither erased nor expired."""

_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a record without opening it."""

    sequence: int
    subject: str
    request_id: str

    @property
    def event(self) -> str:
        """The name of the event."""
        return self.subject.split(".")[1]


class Overwriter:
    """Takes messages off the log. `client` is connected as the eraser."""

    def __init__(self, client: Client, cell: str) -> None:
        self._client = client
        self._stream = stream_name(cell)
        self._log = JetStreamLog(client, cell)

    async def last_sequence(self) -> int:
        """The sequence of the log's last message."""
        info = await self._ask(f"STREAM.INFO.{self._stream}", {})
        last: int = info["state"]["last_seq"]
        return last

    async def overwrite(self, records: Sequence[Record]) -> None:
        """Overwrite these records' messages, but for those in `KEPT`; raises `UserError`."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(record: Record) -> None:
            async with limit:
                await self._overwrite(record)

        await asyncio.gather(*(one(record) for record in records if record.event not in KEPT))

    async def _overwrite(self, record: Record) -> None:
        """Delete a message from the stream, its bytes overwritten; harmless when it is gone."""
        if not await self.stands(record):
            return
        order = {"seq": record.sequence, "no_erase": False}
        answer = await self._ask(f"STREAM.MSG.DELETE.{self._stream}", order)
        if not answer.get("success"):
            reason = answer.get("error", {}).get("description", "refused")
            raise UserError(f"message {record.sequence} could not be overwritten: {reason}")

    async def stands(self, record: Record) -> bool:
        """Whether a record's message is on the log, and may go from it."""
        if record.event in KEPT:
            return False
        message = await self._log.at(record.sequence)
        if message is None:
            return False
        if message.subject != record.subject:  # never delete what is somebody else's
            raise UserError(
                f"message {record.sequence} of the log is not what was recorded under that "
                "number: this is another log"
            )
        return True

    async def _ask(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        payload = json.dumps(body).encode() if body else b""
        try:
            reply = await self._client.request(f"$JS.API.{call}", payload, timeout=10)
        except nats.errors.Error as error:
            raise UserError(f"the broker did not answer: {type(error).__name__}") from None
        answer: dict[str, Any] = json.loads(reply.data)
        return answer
