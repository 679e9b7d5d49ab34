"""Bringing a corpus up to date with the log."""

import asyncio

import structlog

from interlock.retriever.corpus import Applied, Corpus
from interlock.runtime.log import JetStreamLog, StoredMessage
from interlock_contracts.documents import DOCUMENT, DocumentEvent
from interlock_contracts.event import InvalidEvent
from interlock_contracts.table import EVENT

BATCH = 256
"""Messages per transaction."""

log = structlog.get_logger(__name__)


async def catch_up(corpus: Corpus, events: JetStreamLog) -> None:
    """Apply everything that is on the log by now.

    Raises `RetryLater` where the log does not answer; what was applied until then stands.
    """
    subject = EVENT[DOCUMENT].subject(events.cell)
    batch: list[Applied] = []
    async for message in events.matching(subject, after=corpus.position().sequence):
        batch.append(_read(message))
        if len(batch) == BATCH:
            await asyncio.to_thread(corpus.apply, batch)
            batch = []
    if batch:
        await asyncio.to_thread(corpus.apply, batch)


async def same_log(corpus: Corpus, events: JetStreamLog) -> None:
    """Empty a corpus that was made of another log: of a broker whose store is gone, say."""
    position = corpus.position()
    if not position.sequence:
        return
    standing = await events.at(position.sequence)
    if standing is None or standing.subject != position.subject:
        log.warning("another_log", sequence=position.sequence)
        await asyncio.to_thread(corpus.clear)


def _read(message: StoredMessage) -> Applied:
    """What a message says; one that is no document is passed over, aloud."""
    try:
        event = message.event().data
    except InvalidEvent as error:
        log.warning("document_invalid", subject=message.subject, reason=error.message)
        event = None
    return Applied(
        message.sequence, message.subject, event if isinstance(event, DocumentEvent) else None
    )
