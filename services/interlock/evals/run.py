"""Running one gold case through the stages, without a broker and without effects on the world."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from interlock.bundles.model import Bundle
from interlock.evals.gold import Ending, GoldCase, dumped
from interlock_contracts.actions import Grant
from interlock_contracts.answer import Answer
from interlock_contracts.case import Case
from interlock_contracts.event import Event, subject_id
from interlock_contracts.ids import new_request_id
from interlock_contracts.proposal import ToolCall
from interlock_contracts.request import Principal, Request
from interlock_contracts.subjects import LIVE_CELL, Subject
from interlock_contracts.table import STAGES, WAITING, Actor, consumed_by

MOST_EVENTS = 200
"""A request that makes more of them goes round in circles."""


class Stages(Protocol):
    """The stages, and a log that remembers what they are given and what they made."""

    async def follow(self, actor: Actor, event: Event) -> list[Event]:
        """What `actor` makes of `event`."""

    async def read(self, grant: Event) -> Event:
        """The result of a granted tool that only reads."""


@dataclass(slots=True)
class Seen:
    """What came of one request."""

    events: list[Event] = field(default_factory=list)

    @property
    def cases(self) -> list[Case]:
        """Every state of the case, oldest first."""
        return [event.data for event in self.events if isinstance(event.data, Case)]

    @property
    def answer(self) -> Answer | None:
        """The answer, if it came to one."""
        return next((e.data for e in self.events if isinstance(e.data, Answer)), None)

    @property
    def ending(self) -> Ending:
        """How it ended, or where it waits."""
        if self.answer is not None:
            return self.answer.status.value
        made = {event.subject.event for event in self.events}
        for event, ending in _WAITS.items():
            if event in made:
                return ending
        return "failed"

    @property
    def calls(self) -> list[ToolCall]:
        """Every call that was proposed."""
        return [call for case in self.cases if case.proposal for call in case.proposal.calls]

    @property
    def codes(self) -> set[str]:
        """Every failure code that the gate or the answer names."""
        verdicts = [case.verdict for case in self.cases if case.verdict is not None]
        found = {one.code.value for verdict in verdicts for one in verdict.violations}
        return found | {one.code.value for one in (self.answer.failures if self.answer else ())}


_WAITS: dict[str, Ending] = {
    "review": "review",
    "answer_review": "review",
    "confirm": "confirm",
    "approved": "approved",
}


async def run_case(gold: GoldCase, bundle: Bundle, stages: Stages) -> Seen:
    """Send a request through; a write that would be granted, or a question to a person, ends it."""
    request = Request(
        request_id=new_request_id(),
        tenant=gold.tenant,
        principal=Principal(user=gold.user, role=gold.role, scopes=gold.scopes),
        text=gold.text,
    )
    at = Subject(LIVE_CELL, "request", gold.tenant, request.request_id, "0")
    now = datetime.now(UTC)
    first = Event(at, request, subject_id(at), "/producer", now, logged_at=now)
    seen, waiting = Seen([first]), [first]
    while waiting and len(seen.events) < MOST_EVENTS:
        event = waiting.pop(0)
        made = await _after(event, bundle, stages)
        seen.events += made
        waiting += made
    return seen


async def _after(event: Event, bundle: Bundle, stages: Stages) -> list[Event]:
    if isinstance(event.data, Grant):
        spec = bundle.tools.get(event.data.tool)
        return [await stages.read(event)] if spec is not None and spec.effect == "read" else []
    if event.subject.event in WAITING:
        return []
    made: list[Event] = []
    for actor in STAGES:
        if event.spec in consumed_by(actor):
            made += await stages.follow(actor, event)
    return made


def problems(gold: GoldCase, seen: Seen) -> list[str]:
    """What is not as it should be; none: the case has passed."""
    return list(_problems(gold, seen))


def _problems(gold: GoldCase, seen: Seen) -> Iterator[str]:
    if seen.ending != gold.outcome:
        why = f" ({', '.join(sorted(seen.codes))})" if seen.codes else ""
        yield f"{seen.ending}{why}, not {gold.outcome}"
    routes = [case.route.intent for case in seen.cases if case.route is not None]
    if gold.intent is not None and routes and routes[0] != gold.intent:
        yield f"went to {routes[0]}, not {gold.intent}"
    yield from _missing_calls(gold, seen.calls)
    if gold.failure is not None and gold.failure not in seen.codes:
        yield f"{gold.failure} is not among {', '.join(sorted(seen.codes)) or 'no failures'}"
    answer = seen.answer
    if gold.documents:
        cited = {source.document_id for source in answer.sources} if answer else set()
        if not cited & set(gold.documents):
            told = ", ".join(sorted(cited)) or "nothing"
            yield f"cites {told}, not {' or '.join(gold.documents)}"
    if gold.contains is not None and gold.contains not in (answer.text if answer else ""):
        yield f"{dumped(gold.contains)} is not in {dumped(answer.text if answer else '')}"


def _missing_calls(gold: GoldCase, calls: Sequence[ToolCall]) -> Iterator[str]:
    for wanted in gold.calls:
        if not any((c.tool, c.arguments) == (wanted.tool, wanted.arguments) for c in calls):
            proposed = [f"{call.tool}({dumped(call.arguments)})" for call in calls]
            told = ", ".join(dict.fromkeys(proposed)) or "no call"
            yield f"{wanted.tool}({dumped(wanted.arguments)}) was not proposed; {told} was"
