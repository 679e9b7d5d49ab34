"""What the log says of the history that rules ask about: the entries of a ledger, and their worth.

An entry is written with the approval of its action, or with the question to a person about it. It
counts while the action is on its way, and from its result on for as long as the rule says; one
that did not happen (denied, expired, failed) counts nothing. Entries are numbered, and a number
is written once: that, and not this reading, is what keeps two validators from approving by the
same state of a ledger.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from interlock.contract_validator.rules import SLACK_S, Question
from interlock.runtime.errors import RetryLater
from interlock.runtime.stage import Log
from interlock_contracts.actions import Effect, Grant, Result, Spent
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.verdict import Standing

REMEMBERED = 20_000
"""Entries and results a process remembers: they are written once and never change."""


class LedgerLog(Log, Protocol):
    """A log that also finds the last event under a name."""

    async def latest(self, event: str, tenant: str, request_id: str) -> Event | None:
        """The event of this name and request (or ledger) that was logged last, or None."""


class Ledgers:
    """Answers what rules ask, from the log. `clock` tells grants that are over from others."""

    def __init__(
        self, log: LedgerLog, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._log = log
        self._clock = clock
        self._known: OrderedDict[tuple[str, ...], Event] = OrderedDict()

    async def standing(self, tenant: str, question: Question, now: datetime) -> Standing:
        """What a ledger says as of `now`; what was logged since counts as well.

        Raises:
            RetryLater: the log did not answer.
        """
        head = await self._log.latest("spent", tenant, question.ledger)
        if head is None:
            return Standing(ledger=question.ledger, rule=question.rule, head=0)
        since = now - timedelta(seconds=question.lookback_s)
        entries = await self._entries(tenant, head, since)
        number = entry_of(head).number
        answer = Standing(ledger=question.ledger, rule=question.rule, head=number)
        if question.most is None:
            state = await self._state(tenant, entries, now - timedelta(seconds=question.span_s))
            return answer.model_copy(update={"state": state})
        used = sum(_worth(one, question) for one in entries)
        if used + question.adds > question.most:  # only then does it matter what came of them
            start = now - timedelta(seconds=question.span_s)
            counting = [one for one in entries if await self._counts(tenant, one, start)]
            used = sum(_worth(one, question) for one in counting)
        return answer.model_copy(update={"used": used})

    async def _entries(self, tenant: str, head: Event, since: datetime) -> list[Spent]:
        """The entries made since then, the newest first."""
        found, event = [], head
        while _logged(event) >= since:
            entry = entry_of(event)
            found.append(entry)
            if entry.number == 1:
                break
            before = await self._read("spent", tenant, entry.ledger, str(entry.number - 1))
            if before is None:
                raise RetryLater(FailureCode.STAGE_FAILED, "a ledger has a gap")
            event = before
        return found

    async def _counts(self, tenant: str, entry: Spent, start: datetime) -> bool:
        """Whether an entry still counts against a limit: all but what did not happen."""
        result = await self._result(tenant, entry)
        if result is None:
            return True
        assert isinstance(result.data, Result)
        return result.data.effect is not Effect.DID_NOT_HAPPEN and _logged(result) > start

    async def _state(self, tenant: str, entries: list[Spent], start: datetime) -> str:
        """The best that can be said of a prerequisite."""
        states = {"none"}
        for entry in entries:
            result = await self._result(tenant, entry)
            if result is not None:
                assert isinstance(result.data, Result)
                if result.data.effect is Effect.LANDED and _logged(result) > start:
                    return "landed"
                continue
            granted = await self._read("approved", tenant, entry.request, entry.action, entry.tool)
            if granted is None:
                states.add("asked")
            elif isinstance(granted.data, Grant):
                over = granted.data.expires_at + timedelta(seconds=SLACK_S)
                states.add("in_flight" if self._clock() < over else "none")
        return next(state for state in ("in_flight", "asked", "none") if state in states)

    async def _result(self, tenant: str, entry: Spent) -> Event | None:
        return await self._read("result", tenant, entry.request, entry.action, entry.tool)

    async def _read(
        self, event: str, tenant: str, request_id: str, step: str, tail: str | None = None
    ) -> Event | None:
        """As the log's `read`; what is there once is there for ever."""
        key = (event, tenant, request_id, step, tail or "")
        found = self._known.get(key)
        if found is None:
            found = await self._log.read(event, tenant, request_id, step, tail)
            if found is not None:
                self._known[key] = found
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return found


def entry_of(event: Event) -> Spent:
    """The entry in a `spent` event."""
    assert isinstance(event.data, Spent)  # the event table says so
    return event.data


def _worth(entry: Spent, question: Question) -> float:
    return entry.amount if question.sums else 1.0


def _logged(event: Event) -> datetime:
    return event.logged_at or event.time
