"""What would have happened: one request through every stage again, with some part replaced.

The part that is replaced runs; of everything else the recorded effects are handed back as long as
the same is asked. Nothing acts: no tool runs, nobody is asked, nothing is published. Where a stage
asks for an effect that was not recorded, the request cannot be evaluated.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from interlock.bundles.model import Bundle
from interlock.contract_validator import stage as validator
from interlock.generator import stage as generator
from interlock.intent_router import stage as router
from interlock.replay.effects import Effects, NewAction
from interlock.replay.log import MemoryLog
from interlock.replay.outcome import Outcome, outcome_of
from interlock.replay.recorded import NotRecorded
from interlock.retriever import stage as retriever
from interlock.runtime.dead_letters import refusal
from interlock.runtime.decision import Decider, expires_at
from interlock.runtime.errors import RetryLater
from interlock.runtime.stage import Decide, Draft, Input
from interlock.tool_executor import stage as executor
from interlock_contracts.actions import Confirm, Decided, Grant, Result, Review
from interlock_contracts.answer import Answer
from interlock_contracts.answer_review import AnswerReview, is_answer_token
from interlock_contracts.base import Model
from interlock_contracts.event import Event, InvalidEvent, subject_id
from interlock_contracts.failures import FailureCode, failure
from interlock_contracts.request import Request
from interlock_contracts.subjects import Subject
from interlock_contracts.table import STAGES_OF, Actor

StageFunction = Callable[[Input, Any], Awaitable[Sequence[Draft]]]

STAGE_OF: dict[Actor, StageFunction] = {
    Actor.INTENT_ROUTER: router.decide,
    Actor.RETRIEVER: retriever.decide,
    Actor.GENERATOR: generator.decide,
    Actor.CONTRACT_VALIDATOR: validator.decide,
    Actor.TOOL_EXECUTOR: executor.decide,
}

Question = Confirm | Review | AnswerReview

_EVENT: dict[type[Model], str] = {
    Confirm: "confirm",
    Review: "review",
    AnswerReview: "answer_review",
}

MOST_EVENTS = 500
"""More than any budget allows: a replaced stage that goes in circles is stopped here."""


@dataclass(slots=True)
class Simulation:
    """What would have come of a request.

    `missing` says why it cannot be evaluated. `new` are actions that would have been approved
    and are not on the record; what would have come of them nobody knows, so it ends there.
    """

    outcome: Outcome
    events: list[Event] = field(default_factory=list)
    new: list[Grant] = field(default_factory=list)
    missing: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The outcome in a word or two, as it stands in tables."""
        if self.missing is not None:
            return "cannot evaluate"
        if self.outcome.status != "open":
            return self.outcome.status
        if self.new:
            return "would have been approved"
        waiting = self.outcome.waiting
        asked = {one.decision for one in self.outcome.actions if one.step in waiting}
        asked |= {"review" for one in waiting if is_answer_token(one)}
        if asked:
            return "would have been reviewed" if "review" in asked else "would have been confirmed"
        return "open"


class OneBundle:
    """The bundle of a simulation, whatever digest a stage names."""

    def __init__(self, effects: Effects) -> None:
        self.bundle = effects.bundle

    def active(self, request: Request | None = None) -> Bundle:  # noqa: ARG002
        """The bundle."""
        return self.bundle

    async def get(self, digest: str) -> Bundle:  # noqa: ARG002
        """The bundle."""
        return self.bundle


class Simulator:
    """Runs one request through the stages; `stages` replaces some by others."""

    def __init__(
        self, first: Event, effects: Effects, stages: dict[Actor, StageFunction] | None = None
    ) -> None:
        self._first = first
        self._effects = effects
        self._stages = STAGE_OF | (stages or {})
        self._log = effects.log
        self._deciders: dict[Actor, Decider] = {}
        self._new: list[Grant] = []
        self._queue: deque[Event] = deque()

    async def run(self) -> Simulation:
        """Until nothing follows any more."""
        missing = None
        self._put(self._first)
        try:
            while self._queue and len(self._log.entries) < MOST_EVENTS:
                await self._step(self._queue.popleft())
        except NotRecorded as error:
            missing = error.message
        except RetryLater as error:
            missing = f"{error.code}: {error.message}"
        events = [one for one in self._log.entries if isinstance(one, Event)]
        if self._queue and missing is None:
            missing = f"more than {MOST_EVENTS} events: the stages go in circles"
        outcome = outcome_of(events)
        return Simulation(outcome, events, self._new, missing, self._effects.notes)

    async def _step(self, event: Event) -> None:
        if isinstance(event.data, Question):
            await self._people(event)
            return
        for actor in STAGES_OF.get(event.subject.event, ()):
            await self._follow(actor, event, self._when(actor, event))

    async def _follow(self, actor: Actor, event: Event, now: datetime) -> None:
        decider = self._decider(actor)
        try:
            made = await decider.follow(event, now)
        except NewAction:
            assert isinstance(event.data, Grant)
            self._new.append(event.data)
            return
        except NotRecorded:
            raise
        except RetryLater as error:
            if error.code is not FailureCode.MODEL_UNAVAILABLE:
                raise
            made = self._died(decider, event, error.code, error.message, now)
        except InvalidEvent as error:
            made = self._died(decider, event, error.code, error.message, now)
        except Exception as error:  # the stage breaks on this: that is what would have happened
            reason = f"{type(error).__name__} in the {actor}"
            made = self._died(decider, event, FailureCode.STAGE_FAILED, reason, now)
        for one in made:
            self._put(one)

    def _died(
        self, decider: Decider, event: Event, code: FailureCode, message: str, now: datetime
    ) -> list[Event]:
        """The answer that the producer would have had of a dead letter."""
        why = failure(code, message)
        draft = refusal(event.subject, event.attempt, why, self._effects.bundle.digest)
        if draft is None:
            return []
        return [decider.finish(draft, event.subject, event.id, now)]

    async def _people(self, asked: Event) -> None:
        """What people decided about the same action then; else the request waits."""
        assert isinstance(asked.data, Question)
        for decided in self._decisions(asked):
            self._put(decided)
        until = expires_at(asked)
        if until is not None and self._expired(asked.data):
            await self._follow(Actor.CONTRACT_VALIDATOR, asked, until)

    def _decisions(self, asked: Event) -> list[Event]:
        """Recorded decisions about the same action or answer, bound to what is asked now."""
        question = asked.data
        assert isinstance(question, Question)
        kind = "confirmed" if isinstance(question, Confirm) else "reviewed"
        what = "answer" if isinstance(question, AnswerReview) else "action"
        found = []
        for entry in self._effects.recorded.entries:
            if not isinstance(entry, Event) or not isinstance(entry.data, Decided):
                continue
            if entry.subject.event != kind or not self._same(entry, question):
                continue
            data = entry.data.model_copy(
                update={"digest": question.digest, "action": question.action}
            )
            at = replace(entry.subject, step=question.action)
            found.append(replace(entry, subject=at, data=data, id=subject_id(at)))
            self._effects.notes.append(
                f"{data.by} decided {data.decision} about the same {what} then: taken over"
            )
        return found

    def _same(self, decided: Event, question: Question) -> bool:
        """Whether a person was asked about the same thing then, and meant what was shown."""
        at, name = decided.subject, _EVENT[type(question)]
        then = self._effects.recorded.get(Subject(at.cell, name, at.tenant, at.request_id, at.step))
        if then is None or not isinstance(then.data, Question):
            return False
        assert isinstance(decided.data, Decided)
        return _about(then.data) == _about(question) and decided.data.digest == then.data.digest

    def _expired(self, question: Question) -> bool:
        """Whether nobody decided about the same thing in time then."""
        return any(
            isinstance(entry, Event) and _expired_with(entry, question)
            for entry in self._effects.recorded.entries
        )

    def _put(self, event: Event) -> None:
        """Log an event, at the time its like was logged then; the first on a subject counts."""
        if self._log.get(event.subject) is not None:
            return
        then = self._effects.recorded.get(event.subject)
        sequence = len(self._log.entries) + 1
        logged_at = then.logged_at if then is not None and then.logged_at else event.logged_at
        logged = replace(event, logged_at=logged_at or event.time, sequence=sequence)
        self._log.add(logged)
        self._queue.append(logged)

    def _when(self, actor: Actor, event: Event) -> datetime:
        """When the stage decided about this then; else the moment it was logged."""
        then = self._effects.recorded.get(event.subject)
        made = self._effects.recorded.followed(actor.value, then) if then is not None else None
        return made.time if made is not None else event.logged_at or event.time

    def _decider(self, actor: Actor) -> Decider:
        if actor not in self._deciders:
            stage, using = self._stages[actor], self._effects.capabilities(actor)

            async def decide(given: Input) -> Sequence[Draft]:
                return await stage(given, using)

            decide_: Decide = decide
            bundles = None if actor is Actor.TOOL_EXECUTOR else OneBundle(self._effects)
            cell = self._first.subject.cell
            self._deciders[actor] = Decider(
                actor.value, decide_, cell=cell, bundles=bundles, log=self._log
            )
        return self._deciders[actor]


def _about(question: Question) -> list[Any]:
    """What makes it the same question: the tool and its arguments, or all that a reader sees."""
    if isinstance(question, AnswerReview):
        answer = question.answer
        return [answer.text, answer.data, answer.sources, [one.code for one in question.objections]]
    return [question.tool, question.arguments]


def _expired_with(entry: Event, question: Question) -> bool:
    data = entry.data
    if isinstance(question, AnswerReview):
        found = data.failures if isinstance(data, Answer) else ()
        return any(one.code is FailureCode.ANSWER_EXPIRED for one in found)
    return (
        isinstance(data, Result)
        and data.failure is not None
        and data.failure.code is FailureCode.APPROVAL_EXPIRED
        and (data.tool, data.action) == (question.tool, question.action)
    )


def new_log() -> MemoryLog:
    """An empty log for a simulation."""
    return MemoryLog([])
