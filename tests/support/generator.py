"""Cases, bundles and scripted models for the tests of the generator."""

from datetime import UTC, datetime
from typing import Any

from interlock.bundles.model import Bundle
from interlock.bundles.routes import ModelCandidate, ModelRoute
from interlock.generator.stage import Capabilities, decide
from interlock.models.port import (
    Complete,
)
from interlock.models.routes import ModelRoutes
from interlock.runtime.stage import Draft, Input
from interlock_contracts.actions import Result
from interlock_contracts.base import Model
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.proposal import ModelRecord, Proposal
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.retrieval import Chunk, Context, RetrievalOutcome
from interlock_contracts.routing import Budget, Risk, Route
from interlock_contracts.subjects import Subject
from interlock_contracts.tools import ToolSpec

REQUEST_ID = "01JD0000000000000000000000"
ZERO = "sha256:" + "0" * 64
NOW = datetime(2026, 1, 2, tzinfo=UTC)
GET_ORDER = ToolSpec(
    name="get_order",
    description="Look up one order.",
    effect="read",
    risk=Risk.LOW,
    recovery="idempotent",
    parameters={
        "type": "object",
        "properties": {
            "order_id": {"type": "string", "pattern": "^[A-Z]-[0-9]{4}$", "x-slot": "pattern"}
        },
        "required": ["order_id"],
    },
    summary="Look up order {order_id}",
)
PROMPT = (
    "{{ request.text }}|{% if context %}{% for c in context.chunks %}{{ c.text }}{% endfor %}"
    "{% endif %}|{% for t in tools %}{{ t.name }}{% endfor %}|{% for h in history %}{{ h.text }}"
    "{% endfor %}|{{ steps | length }}"
)
SAID = {"statements": [{"text": "Scripted."}]}


def bundle(*candidates: ModelCandidate, prompt: str = PROMPT, **more: Any) -> Bundle:
    return Bundle(
        name="shop",
        version="1",
        tools={"get_order": GET_ORDER},
        models={
            "default": ModelRoute(
                candidates=candidates or (ModelCandidate(provider="extractive", model="e1"),)
            )
        },
        prompts={"answer": prompt},
        **more,
    )


def scripted(*outputs: dict[str, Any], model: str = "s1") -> ModelCandidate:
    return ModelCandidate(provider="scripted", model=model, options={"outputs": list(outputs)})


def case(text: str = "How long are returns?", tools: tuple[str, ...] = (), **more: Any) -> Case:
    passage = "Returns take 30 days."
    chunk = Chunk(
        handle="c1",
        chunk_id="k1",
        document_id="d1",
        version=ZERO,
        digest=digest_bytes(passage.encode()),
        source="help",
        tenant="acme",
        text=passage,
        score=1.0,
    )
    return Case(
        request=Request(
            request_id=REQUEST_ID,
            tenant="acme",
            principal=Principal(user="u1", role="customer"),
            text=text,
            history=(Turn(role="user", text="Hello"),),
        ),
        bundle=ZERO,
        route=Route(
            intent="answer",
            risk=Risk.LOW,
            confidence=1.0,
            margin=1.0,
            sources=(),
            tools=tools,
            output="default",
            model_route="default",
            budget=Budget(max_repairs=2),
        ),
        context=Context(outcome=RetrievalOutcome.FOUND, chunks=(chunk,)),
        **more,
    )


def given(known: Case, of: Bundle, event: str = "context", data: Model | None = None) -> Input:
    step = str(known.step)
    return Input(
        event=Event(
            subject=Subject("ev", event, "acme", REQUEST_ID, step),
            data=data or known,
            id=f"id-of-{event}",
            source="/test",
            time=NOW,
        ),
        bundle=of,
        now=NOW,
        known_case=known,
    )


class FakeLog:
    """A log of results, by action."""

    def __init__(self, *results: Result) -> None:
        self.results = {(one.action, one.tool): one for one in results}
        self.reads: list[tuple[str, ...]] = []

    async def read(
        self, event: str, tenant: str, request_id: str, step: str, tail: str | None = None
    ) -> Event | None:
        assert tail is not None
        self.reads.append((event, tenant, request_id, step, tail))
        found = self.results.get((step, tail))
        if found is None:
            return None
        subject = Subject("ev", event, tenant, request_id, step, tail)
        return Event(subject=subject, data=found, id="r", source="/test", time=NOW)


def using(log: FakeLog | None = None, complete: Complete | None = None) -> Capabilities:
    return Capabilities(models=complete or ModelRoutes().complete, log=log or FakeLog())


async def proposed(*args: Any, log: FakeLog | None = None, **kwargs: Any) -> Draft:
    (draft,) = await decide(given(*args, **kwargs), using(log))
    assert draft.event == "proposal"
    return draft


def proposal_of(draft: Draft) -> Proposal:
    assert isinstance(draft.data, Case)
    assert draft.data.proposal is not None
    return draft.data.proposal


RECORD = ModelRecord(route="default", provider="p", model="m", prompt=ZERO, output="{}")
