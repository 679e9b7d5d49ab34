"""From a log in its order to one request after the other, in bounded memory."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from interlock.replay.message import LogMessage
from interlock.replay.scan import LogReader

BUDGET = 64 * 1024 * 1024
"""Bytes of messages held at once."""

SETTLE = 2_000
"""So many more messages are read after an answer before its request counts as complete: what
another stage still writes of it comes within these."""

_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Range:
    """Which requests: those logged in `since` ≤ … < `until`, each a sequence or a time."""

    since: int | datetime = 1
    until: int | datetime | None = None
    tenant: str = "*"

    def after(self, message: LogMessage) -> bool:
        """Whether a message is behind the end."""
        return self.until is not None and not _before(message, self.until)

    def holds(self, message: LogMessage) -> bool:
        """Whether a request with this first message is meant."""
        return not _before(message, self.since) and not self.after(message)


def _before(message: LogMessage, bound: int | datetime) -> bool:
    if isinstance(bound, int):
        return message.sequence < bound
    return message.logged_at < bound


@dataclass(slots=True)
class _Open:
    """One request while it is collected; `kept` is False once only its sequences are held."""

    messages: list[LogMessage] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    size: int = 0
    kept: bool = True
    answered_at: int | None = None


class Gatherer:
    """Collects the messages of a scan by request.

    Over the budget, requests that wait (for people, say) are held as a list of sequences, and
    read again when they are complete.
    """

    def __init__(self, reader: LogReader, wanted: Range, budget: int = BUDGET) -> None:
        self._reader = reader
        self._wanted = wanted
        self._budget = budget
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._answered: OrderedDict[str, int] = OrderedDict()
        self._late: OrderedDict[str, LogMessage | None] = OrderedDict()
        self._size = 0
        self.scanned = 0

    @property
    def held(self) -> int:
        """Bytes of messages held now."""
        return self._size

    async def requests(self) -> AsyncIterator[list[LogMessage]]:
        """All messages of each request that is meant, in the order in which they complete.

        A request about which something was logged long after its answer comes a second time.
        """
        since = self._wanted.since
        sequence, time = (since, None) if isinstance(since, int) else (1, since)
        subject = f"{self._reader.cell}.*.{self._wanted.tenant}.>"
        over = False
        async for message in self._reader.scan(subject, sequence, time):
            self.scanned += 1
            over = over or self._wanted.after(message)
            await self._take(message)
            async for complete in self._complete(message.sequence):
                yield complete
            if over and not self._open:
                break
        for request_id in list(self._open):
            yield await self._close(request_id)
        for request_id, first in self._late.items():
            if first is not None:
                yield await self._reader.of_request(request_id)

    async def _take(self, message: LogMessage) -> None:
        request_id, name = message.request_id, message.event_name
        found = self._open.get(request_id)
        if found is None and name == "request":
            if not self._wanted.holds(message):
                self._remember(request_id, None)
                return
            found = self._open[request_id] = _Open()
        if found is None:
            await self._look_up(message)
            return
        found.sequences.append(message.sequence)
        if found.kept:
            found.messages.append(message)
            found.size += len(message.body) + 500
            self._size += len(message.body) + 500
        if name == "answer":
            found.answered_at = message.sequence
            self._answered[request_id] = message.sequence

    async def _look_up(self, message: LogMessage) -> None:
        """An event of a request that is not open: complete already, or none that is meant."""
        if message.request_id in self._late or not message.request_id:
            return
        tokens = message.subject.split(".")
        first = await self._reader.last(f"{tokens[0]}.request.{tokens[2]}.{tokens[3]}.0")
        meant = first is not None and self._wanted.holds(first)
        self._remember(message.request_id, first if meant else None)

    def _remember(self, request_id: str, first: LogMessage | None) -> None:
        self._late[request_id] = first
        if first is None and len(self._late) > _REMEMBERED:
            oldest = next((one for one, kept in self._late.items() if kept is None), None)
            if oldest is not None:
                del self._late[oldest]

    async def _complete(self, sequence: int) -> AsyncIterator[list[LogMessage]]:
        while self._answered:
            request_id, answered_at = next(iter(self._answered.items()))
            if sequence - answered_at < SETTLE and self._size <= self._budget:
                break
            yield await self._close(request_id)
        for waiting in self._open.values():
            if self._size <= self._budget:
                break
            if waiting.kept:
                self._size -= waiting.size
                waiting.messages, waiting.size, waiting.kept = [], 0, False

    async def _close(self, request_id: str) -> list[LogMessage]:
        found = self._open.pop(request_id)
        self._answered.pop(request_id, None)
        self._size -= found.size
        if found.kept:
            return found.messages
        read = [await self._reader.at(sequence) for sequence in found.sequences]
        return [message for message in read if message is not None]
