"""A log in memory, made of recorded events: what stages read from in a pipe and in a replay."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.subjects import Subject, parse_subject


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message of the log that is no event, and why; `address` is None where it has none."""

    text: str
    error: InvalidEvent

    @property
    def address(self) -> Subject | None:
        """Its subject, if that at least can be read."""
        try:
            return parse_subject(self.text)
        except ValueError:
            return None


Entry = Event | Unreadable
_Key = tuple[str, str, str, str, str | None]


class MemoryLog:
    """A `Log` of `interlock.runtime.stage` over `entries`, which are in the log's order.

    Write-once like the real one: of two entries with the same subject the first one counts. The
    cell plays no part, so that a copy in another cell reads the same.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: list[Entry] = []
        self._at: dict[_Key, tuple[int, Entry]] = {}
        self._followed: dict[tuple[str, str], Event] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Append an entry, unless its subject is taken."""
        address = entry.subject if isinstance(entry, Event) else entry.address
        if address is not None and _key(address) in self._at:
            return
        if address is not None:
            self._at[_key(address)] = (len(self.entries), entry)
        self.entries.append(entry)
        if isinstance(entry, Event) and entry.cause is not None:
            self._followed.setdefault((entry.source, entry.cause), entry)

    async def read(
        self, event: str, tenant: str, request_id: str, step: str, tail: str | None = None
    ) -> Event | None:
        """The event at this address, or None; raises `InvalidEvent` if it cannot be read."""
        found = self._at.get((event, tenant, request_id, step, tail))
        if found is None:
            return None
        if isinstance(found[1], Unreadable):
            raise found[1].error
        return found[1]

    async def latest(self, event: str, tenant: str, request_id: str) -> Event | None:
        """The last event of this name and request, or None."""
        found = [
            entry
            for key, (_, entry) in self._at.items()
            if key[:3] == (event, tenant, request_id) and isinstance(entry, Event)
        ]
        return found[-1] if found else None

    def get(self, address: Subject) -> Event | None:
        """As `read`; None also for what cannot be read."""
        found = self._at.get(_key(address))
        return found[1] if found is not None and isinstance(found[1], Event) else None

    def position(self, address: Subject) -> int:
        """Where in the log this address was written; -1 if it was not."""
        found = self._at.get(_key(address))
        return -1 if found is None else found[0]

    def followed(self, stage: str, event: Event) -> Event | None:
        """The first event that `stage` made of `event`."""
        return self._followed.get((f"/{stage}", event.id))

    async def reviews(self, tenant: str, request_id: str, action: str) -> Sequence[Event]:
        """All `reviewed` events of one action; raises `InvalidEvent` if one cannot be read."""
        found = []
        for key, (_, entry) in self._at.items():
            if key[:4] == ("reviewed", tenant, request_id, action):
                if isinstance(entry, Unreadable):
                    raise entry.error
                found.append(entry)
        return found


def decided_at(log: MemoryLog, stage: str, event: Event) -> datetime:
    """When `stage` decided about `event`: what it made says so, else when the event was logged."""
    made = log.followed(stage, event)
    return made.time if made is not None else event.logged_at or event.time


def _key(at: Subject) -> _Key:
    return at.event, at.tenant, at.request_id, at.step, at.tail
