"""The generator: strict reading, sandboxed prompts, routes of models, steps and joins."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from interlock.bundles.model import (
    Bundle,
    ModelCandidate,
    ModelRoute,
    OutputContract,
)
from interlock.generator.models.port import (
    Complete,
    ModelPassed,
    ModelRequest,
    ModelResponse,
)
from interlock.generator.models.routes import ModelRoutes
from interlock.generator.parse import MAX_OUTPUT_CHARS, parse
from interlock.generator.prompt import render
from interlock.generator.stage import Capabilities, decide
from interlock.runtime.errors import NeverRetry, RetryLater
from interlock.runtime.stage import Draft, Input
from interlock_contracts.actions import Effect, Result
from interlock_contracts.base import Model
from interlock_contracts.canonical import digest, digest_bytes
from interlock_contracts.case import Case, Step
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import ModelRecord, Proposal, ToolCall
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.retrieval import Chunk, Context, RetrievalOutcome
from interlock_contracts.routing import Budget, Risk, Route
from interlock_contracts.subjects import Subject
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import ActionVerdict, Decision, Verdict, violation

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

# reading an output


def test_a_complete_output_is_read() -> None:
    raw = json.dumps(
        {
            "statements": [{"text": "A.", "citations": [{"handle": "c1", "quote": "a"}]}],
            "calls": [{"tool": "get_order", "arguments": {"order_id": "A-1001"}}],
            "abstained": False,
        }
    )
    read = parse(raw, RECORD)
    assert read.malformed is None
    assert read.statements[0].citations[0].quote == "a"
    assert read.calls == (ToolCall(tool="get_order", arguments={"order_id": "A-1001"}),)


def test_abstaining_is_read() -> None:
    read = parse('{"abstained": true}', RECORD)
    assert (read.abstained, read.malformed) == (True, None)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "I think so.",
        "[]",
        "null",
        "{}",
        "{",
        '{"statements": []}',
        '{"statements": [{"text": "  "}]}',
        '{"statements": [{"text": 5}]}',
        '{"statements": [{"text": "a", "sure": true}]}',
        '{"statements": "a"}',
        '{"statements": [{"text": "a", "citations": [{"handle": "c1"}]}]}',
        '{"calls": [{"tool": "t"}]}',
        '{"calls": [{"tool": "t", "arguments": []}]}',
        '{"calls": [{"tool": "t", "arguments": {"a": NaN}}]}',
        '{"calls": [{"tool": "t", "arguments": {"a": 9007199254740993}}]}',
        '{"abstained": 1}',
        '{"abstained": true, "statements": [{"text": "a"}]}',
        '{"abstained": true, "approved": true}',
        '{"abstained": true} and more',
        '```json\n{"abstained": true}\n```',
        '{"statements": [{"text": "a\\u0000b"}]}',
        '{"statements": [{"text": "\\ud800"}]}',
        '{"abstained": true, "\\u0000": 1}',
        '{"abstained": true}\x00',
        '{"calls": [' + ",".join(['{"tool": "t", "arguments": {}}'] * 17) + "]}",
        '{"statements": [{"text": "' + "a" * MAX_OUTPUT_CHARS + '"}]}',
        "[" * 10_000,
    ],
)
def test_what_is_not_exactly_an_output_is_malformed(raw: str) -> None:
    read = parse(raw, RECORD)
    assert read.malformed
    assert (read.statements, read.calls, read.abstained) == ((), (), False)


def test_a_reason_does_not_repeat_the_content() -> None:
    read = parse('{"statements": [{"text": 4111111111111111}]}', RECORD)
    assert read.malformed is not None
    assert "4111" not in read.malformed


# prompts


def test_a_prompt_sees_the_request_the_context_the_tools_the_history_and_the_steps() -> None:
    text = render(bundle(), "answer", case(), (GET_ORDER,))
    assert text == "How long are returns?|Returns take 30 days.|get_order|Hello|0"


@pytest.mark.parametrize(
    "template",
    [
        "{{ secret }}",
        "{{ request.password }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ request.__init__.__globals__ }}",
        "{% include 'x' %}",
        "{{ request.text + 1 }}",
        "{{ 1 / 0 }}",
    ],
)
def test_what_is_undefined_or_unsafe_cannot_be_rendered(template: str) -> None:
    with pytest.raises(NeverRetry) as caught:
        render(bundle(prompt=template), "answer", case(), ())
    assert caught.value.code is FailureCode.STAGE_FAILED
    assert "30 days" not in caught.value.message


def test_a_template_in_the_request_is_text() -> None:
    text = render(bundle(prompt="{{ request.text }}"), "answer", case("{{ 1 + 1 }}"), ())
    assert text == "{{ 1 + 1 }}"


def test_an_unknown_prompt_is_never_retried() -> None:
    with pytest.raises(NeverRetry):
        render(bundle(), "other", case(), ())


# routes of models


def asked(*candidates: ModelCandidate, text: str = "Hello", step: int = 1) -> ModelRequest:
    return ModelRequest(case(text), candidates, "", (), OutputContract(), step)


async def test_the_first_candidate_that_answers_is_taken_and_the_others_are_recorded() -> None:
    response = await ModelRoutes().complete(
        asked(
            ModelCandidate(provider="nobody", model="big"),
            scripted({"match": "goodbye", "output": SAID}),
            scripted({"match": "HELLO", "output": SAID}, model="s2"),
            scripted({"match": "hello", "output": {}}, model="s3"),
        )
    )
    assert (response.provider, response.model) == ("scripted", "s2")
    assert json.loads(response.output) == SAID
    assert response.passed_over == (
        "nobody/big: this installation has no such provider",
        "scripted/s1: nothing is scripted for this text at step 1",
    )


async def test_a_script_can_be_for_one_step_only() -> None:
    candidate = scripted(
        {"match": "hello", "on_step": 2, "output": "second"}, {"match": "", "output": "any"}
    )
    routes = ModelRoutes()
    assert (await routes.complete(asked(candidate, step=1))).output == "any"
    assert (await routes.complete(asked(candidate, step=2))).output == "second"


@pytest.mark.parametrize("outputs", ["x", [{"match": "hello"}], [{"output": {}}], [5]])
async def test_wrong_options_of_a_script_are_passed_over(outputs: Any) -> None:
    candidate = ModelCandidate(provider="scripted", model="s", options={"outputs": outputs})
    with pytest.raises(RetryLater, match="its options are wrong"):
        await ModelRoutes().complete(asked(candidate))


async def test_a_route_where_every_candidate_passes_is_tried_later() -> None:
    class Down:
        async def complete(self, request: ModelRequest, candidate: ModelCandidate) -> ModelResponse:
            raise ModelPassed("HTTP 503")

    candidates = [ModelCandidate(provider="down", model=name) for name in ("a", "b")]
    with pytest.raises(RetryLater, match="down/a: HTTP 503; down/b: HTTP 503") as caught:
        await ModelRoutes({"down": Down()}).complete(asked(*candidates))
    assert caught.value.code is FailureCode.MODEL_UNAVAILABLE


# the stage


async def test_a_context_becomes_the_first_proposal_with_its_record() -> None:
    draft = await proposed(case(), bundle())
    assert (draft.step, draft.tail, draft.cause) == ("1", None, None)
    proposal = proposal_of(draft)
    assert proposal.text == "Returns take 30 days."
    assert proposal.statements[0].citations[0].handle == "c1"
    record = proposal.model
    assert (record.route, record.provider, record.model) == ("default", "extractive", "e1")
    assert record.prompt == digest_bytes(b"How long are returns?|Returns take 30 days.||Hello|0")
    assert parse(record.output, record) == proposal
    assert isinstance(draft.data, Case)
    assert draft.data.step == 1


async def test_only_the_tools_of_the_route_are_offered() -> None:
    seen: list[Sequence[ToolSpec]] = []

    async def complete(request: ModelRequest) -> ModelResponse:
        seen.append(request.tools)
        return ModelResponse('{"abstained": true}', "p", "m")

    for tools in ((), ("get_order", "no_such_tool")):
        await decide(given(case(tools=tools), bundle()), using(complete=complete))
    assert seen == [(), (GET_ORDER,)]


async def test_an_unreadable_output_is_a_malformed_proposal_with_the_output_kept() -> None:
    async def complete(request: ModelRequest) -> ModelResponse:
        return ModelResponse("no\x00pe", "p", "m", stop_reason="length", output_tokens=3)

    (draft,) = await decide(given(case(), bundle()), using(complete=complete))
    proposal = proposal_of(draft)
    assert proposal.malformed is not None
    assert proposal.model.output == "no\ufffdpe"
    assert parse(proposal.model.output, proposal.model) == proposal, "a replay reads the same"
    assert (proposal.model.stop_reason, proposal.model.output_tokens) == ("length", 3)


def after_repairs(count: int) -> Case:
    bad = Proposal(malformed="x", model=RECORD)
    problem = violation(FailureCode.OUTPUT_MALFORMED, "", "x")
    verdict = Verdict(decision=Decision.REPAIR, violations=(problem,))
    return case(step=count, steps=(Step(proposal=bad, verdict=verdict),) * count)


async def test_a_repair_asks_again_as_the_next_step() -> None:
    of = bundle(scripted({"match": "", "on_step": 2, "output": SAID}))
    draft = await proposed(after_repairs(1), of, "repair")
    assert draft.step == "2"
    assert proposal_of(draft).text == "Scripted."


def acting(*decisions: Decision) -> Case:
    """A case whose first step has one action per decision."""
    actions = tuple(
        ActionVerdict(
            action=f"1-{number}",
            tool="get_order",
            arguments={"order_id": f"A-100{number}"},
            decision=decision,
            digest=digest(number),
        )
        for number, decision in enumerate(decisions)
    )
    calls = tuple(ToolCall(tool=one.tool, arguments=one.arguments) for one in actions)
    return case(
        "Where are A-1000 and A-1001?",
        tools=("get_order",),
        step=1,
        proposal=Proposal(calls=calls, model=RECORD),
        verdict=Verdict(decision=decisions[0], actions=actions),
    )


def landed(number: int) -> Result:
    return Result(
        action=f"1-{number}",
        tool="get_order",
        effect=Effect.LANDED,
        effect_key="k",
        output={"status": "shipped"},
    )


async def test_a_join_waits_for_every_result() -> None:
    known = acting(Decision.APPROVE, Decision.CONFIRM)
    log = FakeLog(landed(1))
    assert await decide(given(known, bundle(), "result", landed(1)), using(log)) == ()
    assert log.reads == [("result", "acme", REQUEST_ID, "1-0", "get_order")]


async def test_a_join_comes_out_the_same_whichever_result_is_last() -> None:
    known = acting(Decision.APPROVE, Decision.REVIEW)
    log = FakeLog(landed(0), landed(1))
    drafts = []
    for number in (0, 1):
        trigger = given(known, bundle(), "result", landed(number))
        other = replace(trigger, event=replace(trigger.event, id=f"id-{number}"))
        drafts.append(await decide(other, using(log)))
    assert drafts[0] == drafts[1]
    ((draft,), _) = drafts
    assert draft.step == "2"
    assert draft.cause
    assert not draft.cause.startswith("id-")
    assert isinstance(draft.data, Case)
    assert [one.action for one in draft.data.steps[0].results] == ["1-0", "1-1"]
    assert (draft.data.step, draft.data.verdict) == (2, None)
    assert "Order A-1000: status shipped." in proposal_of(draft).text
    assert "Order A-1001: status shipped." in proposal_of(draft).text


async def test_the_causes_of_two_joins_differ() -> None:
    one = acting(Decision.APPROVE)
    two = one.model_copy(update={"step": 2})
    causes = {
        (await proposed(known, bundle(), "result", landed(0), log=FakeLog(landed(0)))).cause
        for known in (one, two)
    }
    assert len(causes) == 2


async def test_a_join_does_not_wait_for_an_action_that_gets_no_result() -> None:
    known = acting(Decision.APPROVE, Decision.REFUSE)
    draft = await proposed(known, bundle(), "result", landed(0), log=FakeLog(landed(0)))
    assert draft.step == "2"


async def test_a_result_without_a_verdict_is_never_retried() -> None:
    with pytest.raises(NeverRetry):
        await decide(given(case(), bundle(), "result", landed(0)), using())


@pytest.mark.parametrize("event", ["request", "verdict", "answer"])
async def test_other_events_are_not_taken(event: str) -> None:
    with pytest.raises(NeverRetry):
        await decide(given(case(), bundle(), event), using())


@pytest.mark.parametrize("missing", ["models", "outputs"])
async def test_a_bundle_without_the_route_is_never_retried(missing: str) -> None:
    of = Bundle.model_validate({**bundle().model_dump(), missing: {}})
    with pytest.raises(NeverRetry, match="'default'"):
        await decide(given(case(), of), using())


async def test_a_case_without_a_route_is_never_retried() -> None:
    known = case().model_copy(update={"route": None})
    with pytest.raises(NeverRetry):
        await decide(given(known, bundle()), using())


async def test_the_decision_is_pure_and_a_recorded_response_repeats_it() -> None:
    start = given(
        case(),
        bundle(
            ModelCandidate(provider="gone", model="x"),
            scripted({"match": "returns", "output": SAID}),
        ),
    )
    before = copy.deepcopy(start)
    first = await decide(start, using())
    assert start == before
    record = proposal_of(first[0]).model

    async def recorded(request: ModelRequest) -> ModelResponse:
        return ModelResponse(
            record.output,
            record.provider,
            record.model,
            record.stop_reason,
            record.input_tokens,
            record.output_tokens,
            record.passed_over,
        )

    assert await decide(start, using(complete=recorded)) == first
