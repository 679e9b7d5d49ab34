"""The join, over the pure stages: whatever order results arrive in, and however often, one answer.

No broker: a write-once log in memory, and the runtime's own `Decider`. Everything may be handled
at any time, twice, and by two workers that have both decided before either has committed.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.gate_world import BUNDLE, NOW, REQUEST_ID, ROUTE, sign
from tests.unit.gate_world import make_case as gate_case
from tests.unit.gate_world import proposal as gate_proposal

from interlock.bundles.model import Bundle
from interlock.bundles.routes import ModelCandidate, ModelRoute
from interlock.contract_validator import stage as gate
from interlock.contract_validator.ledger import Ledgers
from interlock.generator import stage as generator
from interlock.models.port import ModelRequest, ModelResponse
from interlock.runtime.decision import Decider
from interlock.runtime.stage import Draft, Input
from interlock_contracts.actions import Effect, Grant, Result
from interlock_contracts.answer import FactReply
from interlock_contracts.event import Event
from interlock_contracts.proposal import ToolCall
from interlock_contracts.request import Request
from interlock_contracts.subjects import Subject

ORDERS = ("A-1001", "A-1002", "A-1003")
TEXT = f"Where are my orders {', '.join(ORDERS)}?"

JOINED = Bundle.model_validate(
    BUNDLE.model_dump()
    | {"models": {"default": ModelRoute(candidates=(ModelCandidate(provider="x", model="x"),))}}
    | {"prompts": {"answer": "{{ request.text }}"}}
)

OutcomeT = TypeVar("OutcomeT")


def run(work: Coroutine[Any, Any, OutcomeT]) -> OutcomeT:
    return asyncio.run(work)


class OneBundle:
    def active(self, request: Request | None = None) -> Bundle:
        return JOINED

    async def get(self, digest: str) -> Bundle:
        return JOINED


class WriteOnce:
    """The log: all of a decision is stored, or nothing if one of its subjects is taken."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}

    def commit(self, made: Sequence[Event]) -> None:
        if not any(str(event.subject) in self.events for event in made):
            self.events.update((str(event.subject), event) for event in made)

    async def read(
        self, event: str, tenant: str, request_id: str, step: str, tail: str | None = None
    ) -> Event | None:
        return self.events.get(str(Subject("ev", event, tenant, request_id, step, tail)))

    async def latest(self, event: str, tenant: str, request_id: str) -> Event | None:
        wanted = f"ev.{event}.{tenant}.{request_id}."
        found = [one for subject, one in self.events.items() if subject.startswith(wanted)]
        return found[-1] if found else None

    def of(self, event: str) -> list[Event]:
        return [one for one in self.events.values() if one.subject.event == event]


class Join(RuleBasedStateMachine):
    """Three read actions of one step, and a closing proposal once all their results are in."""

    answer: bytes | None = None

    @initialize()
    def start(self) -> None:
        self.log = WriteOnce()
        self.decided: list[Sequence[Event]] = []
        self.asked = 0

        async def models(request: ModelRequest) -> ModelResponse:
            self.asked += 1
            told = [result.output for step in request.case.steps for result in step.results]
            assert told == [f"{order} is on its way" for order in ORDERS]  # all, in their order
            output = '{"statements": [{"text": "All are on their way."}], "calls": []}'
            return ModelResponse(output, "x", "x")

        async def facts(*_: object) -> FactReply:
            return FactReply(value={"customer": "ann", "paid_cents": 1})

        async def reviews(*_: object) -> Sequence[Event]:
            return ()

        use_generator = generator.Capabilities(models=models, log=self.log)
        use_gate = gate.Capabilities(
            facts=facts,
            sign=sign,
            log=self.log,
            reviews=reviews,
            standing=Ledgers(self.log).standing,
        )

        async def generate(given: Input) -> Sequence[Draft]:
            return await generator.decide(given, use_generator)

        async def judge(given: Input) -> Sequence[Draft]:
            return await gate.decide(given, use_gate)

        self.stages = {
            name: Decider(name, decide, cell="ev", bundles=OneBundle(), log=self.log)
            for name, decide in (("generator", generate), ("contract-validator", judge))
        }
        calls = [ToolCall(tool="get_order", arguments={"order_id": order}) for order in ORDERS]
        case = gate_case(
            gate_proposal(*calls),
            text=TEXT,
            route=ROUTE.model_copy(update={"output": "none"}),
        ).model_copy(update={"bundle": JOINED.digest})
        subject = Subject("ev", "proposal", "acme", REQUEST_ID, "1")
        found = case.model_copy(update={"step": 0, "proposal": None})
        self.log.commit([Event(replace(subject, event="context", step="0"), found, "C", "/r", NOW)])
        self.log.commit([Event(subject, case, "P1", "/generator", NOW)])

    def _decide(self, event: Event) -> Sequence[Event]:
        stage = "generator" if event.subject.event == "result" else "contract-validator"
        # The clock moves on with every try: nothing that is decided may depend on it.
        now = datetime.fromtimestamp(NOW.timestamp() + 1 + len(self.decided), UTC)
        return run(self.stages[stage].follow(event, now))

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """A proposal or a result is delivered, perhaps again, and what follows is committed."""
        waiting = [one for one in self.log.events.values() if one.subject.event in TAKEN]
        self.log.commit(self._decide(data.draw(st.sampled_from(waiting))))

    @rule(data=st.data())
    def decide_and_stall(self, data: st.DataObject) -> None:
        """A worker decides, and stalls before it commits."""
        waiting = [one for one in self.log.events.values() if one.subject.event in TAKEN]
        self.decided.append(self._decide(data.draw(st.sampled_from(waiting))))

    @precondition(lambda self: self.decided)
    @rule(data=st.data())
    def commit_late(self, data: st.DataObject) -> None:
        """A stalled worker wakes up."""
        self.log.commit(data.draw(st.sampled_from(self.decided)))

    @precondition(lambda self: self.log.of("approved"))
    @rule(data=st.data())
    def execute(self, data: st.DataObject) -> None:
        """An executor runs one of the grants, perhaps again."""
        self._execute(data.draw(st.sampled_from(self.log.of("approved"))))

    def _execute(self, approved: Event) -> None:
        grant = approved.data
        assert isinstance(grant, Grant)
        result = Result(
            action=grant.action,
            tool=grant.tool,
            effect=Effect.LANDED,
            effect_key=grant.effect_key,
            output=f"{grant.arguments['order_id']} is on its way",
        )
        subject = Subject("ev", "result", "acme", REQUEST_ID, grant.action, grant.tool)
        self.log.commit([Event(subject, result, f"R{grant.action}", "/tool-executor", NOW)])

    @invariant()
    def nothing_before_all_results_are_in(self) -> None:
        if len(self.log.of("result")) < len(ORDERS):
            assert self.asked == 0
            assert not self.log.of("answer")

    @invariant()
    def there_is_one_answer_and_always_the_same(self) -> None:
        answers = self.log.of("answer")
        assert len(answers) <= 1
        for event in answers:
            told = event.id.encode() + event.body()
            Join.answer = Join.answer or told
            assert told == Join.answer

    def teardown(self) -> None:
        """However it went, handling everything once more ends in the answer."""
        if not hasattr(self, "log"):
            return
        self.log.commit(self._decide(self.log.events[f"ev.proposal.acme.{REQUEST_ID}.1"]))
        for event in self.log.of("approved"):
            self._execute(event)
        for event in [*self.log.of("result"), *self.log.of("result")]:
            self.log.commit(self._decide(event))
        for event in self.log.of("proposal"):
            self.log.commit(self._decide(event))
        self.there_is_one_answer_and_always_the_same()
        (answer,) = self.log.of("answer")
        assert answer.subject.step == "0"


TAKEN = ("proposal", "result")

TestJoin = Join.TestCase
TestJoin.settings = settings(
    max_examples=40,
    stateful_step_count=15,
    suppress_health_check=[HealthCheck.too_slow],
)
