"""Group commit: records appended at the same time share one transaction, and one fsync."""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from interlock.audit_sink.errors import AuditError, SequenceConflict
from interlock.audit_sink.stage import AuditRecord
from interlock.audit_sink.store import AuditStore

MAX_BATCH = 512
"""Most records in one transaction."""


class Appender:
    """Appends from one event loop; all of SQLite runs in one worker thread."""

    def __init__(self, store: AuditStore, max_batch: int = MAX_BATCH) -> None:
        self.store = store
        self._max_batch = max_batch
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._queue: deque[tuple[AuditRecord, asyncio.Future[None]]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    async def append(self, record: AuditRecord) -> None:
        """Return once the record is on disk.

        Raises:
            SequenceConflict: another record stands at its sequence; the others are unharmed.
            DatabaseError: it could not be stored; may be tried again.
            AuditError: the appender is closed.
        """
        if self._closed:
            raise AuditError("the audit store is closed")
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((record, durable))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await durable

    async def aclose(self) -> None:
        """Write what is queued, then close the store."""
        self._closed = True
        if self._writing is not None:
            await self._writing
        await asyncio.get_running_loop().run_in_executor(self._thread, self.store.close)
        self._thread.shutdown()

    async def _write(self) -> None:
        """One batch after the other; whatever arrives during a commit is the next batch."""
        try:
            while self._queue:
                size = min(len(self._queue), self._max_batch)
                await self._commit([self._queue.popleft() for _ in range(size)])
        finally:
            self._writing = None

    async def _commit(self, batch: list[tuple[AuditRecord, asyncio.Future[None]]]) -> None:
        loop = asyncio.get_running_loop()
        refused: frozenset[int] = frozenset()
        try:
            try:
                await loop.run_in_executor(
                    self._thread, self.store.append, [record for record, _ in batch]
                )
            except SequenceConflict as conflict:
                refused = conflict.sequences
                rest = [record for record, _ in batch if record.sequence not in refused]
                await loop.run_in_executor(self._thread, self.store.append, rest)
        except BaseException as error:
            for _, durable in batch:
                _fail(durable, error)
            if not isinstance(error, Exception):
                raise
            return
        for record, durable in batch:
            if record.sequence in refused:
                _fail(durable, SequenceConflict(frozenset({record.sequence})))
            elif not durable.done():
                durable.set_result(None)


def _fail(durable: asyncio.Future[None], error: BaseException) -> None:
    if durable.done():
        return
    if isinstance(error, Exception):
        durable.set_exception(error)
    else:
        durable.cancel()
