"""The generator's stage: proposals, repairs, joins."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.support.generator import (
    GET_ORDER,
    RECORD,
    REQUEST_ID,
    SAID,
    FakeLog,
    bundle,
    case,
    given,
    proposal_of,
    proposed,
    scripted,
    using,
)

from interlock.bundles.model import Bundle
from interlock.bundles.routes import ModelCandidate
from interlock.generator.stage import decide
from interlock.models.parse import parse
from interlock.models.port import (
    ModelRequest,
    ModelResponse,
)
from interlock.runtime.errors import NeverRetry
from interlock_contracts.actions import Effect, Result
from interlock_contracts.canonical import digest, digest_bytes
from interlock_contracts.case import Case, Step
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import Proposal, ToolCall
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import ActionVerdict, Decision, Verdict, violation

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
