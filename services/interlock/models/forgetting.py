"""After an erasure or an expiry: the recordings of what is gone from the log go, too.

A service has its recordings on a disk of its own, which who gives the order cannot reach. So each
process follows the orders on the log, from the first when it starts, and deletes what they name.
"""

import asyncio

import structlog

from interlock.models.recording import FileRecordings
from interlock.runtime.errors import RetryLater
from interlock.runtime.log import JetStreamLog, StoredMessage
from interlock_contracts.custody import Custody
from interlock_contracts.event import InvalidEvent

LOOK_S = 30.0
"""How often the log is looked at for new orders."""

RECORDED = "proposal"
"""Recordings live as long as the events of this name, which hold most of their digests."""

log = structlog.get_logger(__name__)


class Forgetting:
    """Deletes the recordings of one folder as the log's orders say."""

    def __init__(self, recordings: FileRecordings, events: JetStreamLog) -> None:
        self._recordings = recordings
        self._events = events
        self._read = 0
        self._erased: set[tuple[str, str]] = set()

    async def keep_up(self) -> None:
        """Look again and again, until cancelled; what goes wrong is said and tried again."""
        while True:
            try:
                await self.look()
            except (RetryLater, OSError) as error:
                log.warning("recordings_not_looked_through", reason=str(error))
            except Exception as error:  # whatever it is, it is tried again
                log.exception("forgetting_failed", exc_info=error)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Follow what was ordered since. Raises `RetryLater`, `OSError`."""
        async for message in self._events.matching(
            f"{self._events.cell}.custody.>", after=self._read
        ):
            await self._follow(message)
            self._read = message.sequence
        # Every time: a request that was under way when it was erased was recorded afterwards.
        for request in await asyncio.to_thread(self._recordings.requests):
            if request in self._erased:
                await self._delete(request, "erased")

    async def _follow(self, message: StoredMessage) -> None:
        try:
            event = message.event()
        except InvalidEvent as error:
            log.warning("order_invalid", subject=message.subject, reason=error.message)
            return
        order, at = event.data, event.subject
        if not isinstance(order, Custody):
            return
        if order.act == "erased":
            self._erased.add((at.tenant, at.request_id))
        elif order.act == "expired" and order.until and RECORDED in order.events:
            await self._expire(at.tenant, order.until.timestamp())

    async def _expire(self, tenant: str, until: float) -> None:
        """Delete a tenant's recordings from before `until`, but for what stands (what is held)."""
        for request in await asyncio.to_thread(self._recordings.requests):
            if request[0] != tenant or self._recordings.last(*request) >= until:
                continue
            subject = f"{self._events.cell}.{RECORDED}.{request[0]}.{request[1]}.>"
            if await self._events.fetch({"seq": 1, "next_by_subj": subject}) is None:
                await self._delete(request, "expired")

    async def _delete(self, request: tuple[str, str], why: str) -> None:
        await asyncio.to_thread(self._recordings.delete, *request)
        log.info("recordings_deleted", request_id=request[1], tenant=request[0], why=why)
