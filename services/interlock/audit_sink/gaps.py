"""Gaps: what the log has and the store has not is read again; what the log lost is put on record.

The consumer delivers everything once it is there. Two things it cannot mend: a store that was
restored from an older copy (the broker thinks it delivered), and messages that left the stream
before they were delivered. Both show as records that stay missing while nothing comes in.
"""

import asyncio
import json
from datetime import UTC, datetime

import nats.errors
import structlog
from nats.aio.client import Client
from prometheus_client import Counter, Gauge

from interlock.audit_sink.appender import Appender
from interlock.audit_sink.errors import AuditError
from interlock.audit_sink.stage import Message, decide, lost
from interlock.runtime.broker.topology import stream_name
from interlock.runtime.errors import RetryLater
from interlock.runtime.log import JetStreamLog

LOOK_EVERY_S = 2.0

LAG = Gauge("interlock_audit_lag", "Events of the log that are not in the audit tree yet")
LOST = Counter("interlock_audit_lost", "Events that left the log before they could be recorded")

_PAGE = 256

log = structlog.get_logger(__name__)


class GapWatch:
    """Looks every few seconds; `wrong` says what keeps the sink from being ready."""

    def __init__(self, client: Client, cell: str, appender: Appender, lag_limit: int) -> None:
        self.wrong: str | None = None
        self._client = client
        self._log = JetStreamLog(client, cell)
        self._info = f"$JS.API.STREAM.INFO.{stream_name(cell)}"
        self._appender = appender
        self._lag_limit = lag_limit
        self._size_before = -1
        self._task = asyncio.create_task(self._run(), name="audit-gaps")

    async def aclose(self) -> None:
        """Stop looking."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except (nats.errors.Error, RetryLater, AuditError, TimeoutError) as error:
                log.warning("audit_gap_not_looked_at", reason=type(error).__name__)

    async def look(self) -> None:
        """Compare the store with the log; mend what has been missing since the last look."""
        reply = await self._client.request(self._info, b"", timeout=5)
        state = json.loads(reply.data)["state"]
        last, size = state["last_seq"], self._appender.store.checkpoint.size
        LAG.set(max(0, last - size))
        self.wrong = self._judged(last, size)
        stuck, self._size_before = size == self._size_before, size
        if stuck and size < last:
            await self._mend(size + 1, self._appender.store.missing.stop - 1, last)

    def _judged(self, last: int, size: int) -> str | None:
        if last < size:
            return f"the log ends at {last}, but {size} events are on record: this is another log"
        if last - size > self._lag_limit:
            return f"{last - size} events behind the log (more than {self._lag_limit})"
        return None

    async def _mend(self, first: int, before: int, last: int) -> None:
        """Read from `first` on: up to what is stored, or to the end of the log."""
        until = before if before >= first else last
        while first <= until:
            found = await self._log.fetch({"seq": first, "next_by_subj": ">"})
            at = until + 1 if found is None else min(found.sequence, until + 1)
            if at > first:
                await self._put_lost_on_record(first, at - 1)
            if found is not None and found.sequence <= until:
                message = Message(
                    found.subject, found.headers, found.body, found.sequence, found.logged_at
                )
                await self._appender.append(decide(message))
                log.warning("audit_read_again", sequence=found.sequence)
            first = at + 1

    async def _put_lost_on_record(self, first: int, last: int) -> None:
        log.error("audit_lost", first=first, last=last)
        LOST.inc(last - first + 1)
        noticed = datetime.now(UTC)
        for start in range(first, last + 1, _PAGE):
            page = range(start, min(start + _PAGE, last + 1))
            await asyncio.gather(*(self._appender.append(lost(one, noticed)) for one in page))
