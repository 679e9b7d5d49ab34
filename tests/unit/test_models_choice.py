"""Who may be asked: constraints of candidates, budgets of requests, and what is recorded of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.generator import ZERO, FakeLog, bundle, case, given, proposal_of

from interlock.bundles.model import Bundle
from interlock.bundles.routes import ModelCandidate, Price
from interlock.generator.stage import Capabilities, decide
from interlock.models.choice import cost_micros
from interlock.models.port import Complete, ModelRequest, ModelResponse
from interlock.runtime.stage import Draft
from interlock_contracts.actions import Effect, Result
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.case import Case, Step
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import ModelRecord, Proposal, Statement
from interlock_contracts.routing import Budget
from interlock_contracts.verdict import Decision, Verdict, violation

EMBEDDED = ModelCandidate(provider="extractive", model="e1")


def hosted(model: str = "big", **more: Any) -> ModelCandidate:
    return ModelCandidate.model_validate({"provider": "openai", "model": model, **more})


class Models:
    """Answers as the first candidate; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[ModelRequest] = []

    async def complete(self, request: ModelRequest) -> ModelResponse:
        self.asked.append(request)
        first = request.candidates[0]
        return ModelResponse(
            '{"statements": [{"text": "Yes."}]}',
            first.provider,
            first.model,
            input_tokens=100,
            output_tokens=20,
            passed_over=request.passed,
        )


def routed(**more: Any) -> Case:
    known = case()
    assert known.route is not None
    return known.model_copy(update={"route": known.route.model_copy(update=more)})


async def decided(known: Case, of: Bundle, models: Models | None = None) -> Draft:
    complete: Complete = (models or Models()).complete
    (draft,) = await decide(given(known, of), Capabilities(models=complete, log=FakeLog()))
    return draft


def record(draft: Draft) -> ModelRecord:
    return proposal_of(draft).model


def answer(draft: Draft) -> Answer:
    assert draft.event == "answer"
    assert isinstance(draft.data, Answer)
    return draft.data


def earlier(decision: Decision = Decision.REPAIR, **used: Any) -> Step:
    model = ModelRecord(route="default", provider="openai", model="big", prompt=ZERO, output="x")
    said = Proposal(statements=(Statement(text="No."),), model=model.model_copy(update=used))
    wrong = violation(FailureCode.CITATION_MISSING, "/statements/0", "no citation")
    return Step(proposal=said, verdict=Verdict(decision=decision, violations=(wrong,)))


def done() -> Step:
    result = Result(action="1-0", tool="get_order", effect=Effect.LANDED, effect_key="k", output=1)
    return earlier(Decision.APPROVE, input_tokens=900).model_copy(update={"results": (result,)})


# constraints


async def test_personal_data_goes_to_no_candidate_that_may_not_have_it() -> None:
    of = bundle(hosted("open"), hosted("dpa", data_classes=("personal", "health")), EMBEDDED)
    models = Models()
    draft = await decided(routed(data_class="personal"), of, models)
    (asked,) = models.asked
    assert [one.model for one in asked.candidates] == ["dpa", "e1"]
    assert record(draft).passed_over == ("openai/open: it may not have data of class personal",)
    assert record(await decided(routed(), of)).model == "open"


async def test_what_no_candidate_may_have_is_never_sent_and_the_answer_says_so() -> None:
    models = Models()
    of = bundle(hosted("open"), hosted("other", data_classes=("health",)))
    ended = answer(await decided(routed(data_class="personal"), of, models))
    assert models.asked == []
    assert (ended.status, ended.failures[0].code) == (
        AnswerStatus.FAILED,
        FailureCode.MODEL_NOT_ALLOWED,
    )


async def test_a_recorded_candidate_is_held_to_what_it_wraps() -> None:
    wraps = ModelCandidate(provider="record", model="big", options={"of": "openai"})
    local = ModelCandidate(provider="record", model="e1", options={"of": "extractive"})
    draft = await decided(routed(data_class="personal"), bundle(wraps, local))
    assert record(draft).model == "e1"


@pytest.mark.parametrize(("region", "chosen"), [("eu", "big"), ("us", "e1"), (None, "e1")])
async def test_a_tenants_data_stays_in_its_regions(region: str | None, chosen: str) -> None:
    of = bundle(hosted(region=region), EMBEDDED, residency={"acme": ("eu", "ch")})
    assert record(await decided(routed(), of)).model == chosen
    free = bundle(hosted(region=region), EMBEDDED, residency={"globex": ("eu",)})
    assert record(await decided(routed(), free)).model == "big"


async def test_candidates_are_for_tasks() -> None:
    repairs = hosted("careful", tasks=("repair",))
    of = bundle(repairs, hosted("cheap"))
    first = await decided(routed(), of)
    assert (record(first).model, record(first).task) == ("cheap", "answer")
    again = await decided(routed().model_copy(update={"steps": (earlier(),), "step": 1}), of)
    assert (record(again).model, record(again).task) == ("careful", "repair")
    acting = await decided(routed(tools=("get_order",)), of)
    assert record(acting).task == "act"
    told = await decided(routed().model_copy(update={"steps": (done(),), "step": 1}), of)
    assert record(told).task == "conclude"


async def test_a_slow_candidate_is_not_asked_when_little_time_is_left() -> None:
    of = bundle(hosted("slow", needs_s=8), hosted("quick"))
    known = routed()
    moment = datetime(2026, 1, 2, tzinfo=UTC)  # when the event was logged
    late = known.model_copy(update={"deadline": moment + timedelta(seconds=5)})
    draft = await decided(late, of)
    assert record(draft).passed_over == ("openai/slow: it needs 8 s, and 5.0 s are left",)
    early = known.model_copy(update={"deadline": moment + timedelta(seconds=9)})
    assert record(await decided(early, of)).model == "slow"


# budgets and prices


def test_a_price_per_million_is_micros_per_token() -> None:
    assert cost_micros(Price(input=2.5, output=10), 1_000, 100) == 3_500
    assert cost_micros(Price(input=0.1, output=0), 1, 0) == 1, "rounded up"


async def test_the_cost_is_computed_from_what_was_used() -> None:
    prices = {"openai/big": Price(input=2.5, output=10)}
    assert record(await decided(routed(), bundle(hosted(), prices=prices))).cost_micros == 450
    assert record(await decided(routed(), bundle(hosted()))).cost_micros is None


async def test_a_call_that_may_cost_too_much_goes_to_the_next() -> None:
    prices = {"openai/big": Price(input=10, output=50), "openai/small": Price(input=0, output=1)}
    dear = hosted(max_cost_micros=50_000)  # 2,048 tokens of output may cost 102,400
    of = bundle(dear, hosted("small"), prices=prices)
    draft = await decided(routed(), of)
    assert record(draft).model == "small"
    assert "50000 are allowed for one call" in record(draft).passed_over[0]


@pytest.mark.parametrize(
    ("budget", "used", "asked"),
    [
        ({"max_tokens": 3_000}, {"input_tokens": 400, "output_tokens": 100}, True),
        ({"max_tokens": 3_000}, {"input_tokens": 900, "output_tokens": 100}, False),
        ({"max_cost_micros": 30_000}, {"cost_micros": 5_000}, True),
        ({"max_cost_micros": 30_000}, {"cost_micros": 20_000}, False),
    ],
)
async def test_a_request_never_uses_more_than_its_budget(
    budget: dict[str, int], used: dict[str, Any], asked: bool
) -> None:
    prices = {"openai/big": Price(input=1, output=10)}
    known = routed(budget=Budget.model_validate(budget))
    known = known.model_copy(update={"steps": (earlier(**used),), "step": 1})
    models = Models()
    draft = await decided(known, bundle(hosted(), prices=prices), models)
    assert (len(models.asked) == 1) is asked
    if not asked:
        ended = answer(draft)
        assert ended.failures[0].code is FailureCode.BUDGET_EXCEEDED
        assert "are used" in ended.failures[0].message or "are spent" in ended.failures[0].message
    with_embedded = bundle(hosted(), EMBEDDED, prices=prices)
    assert (record(await decided(known, with_embedded)).model == "big") is asked


async def test_a_limited_cost_needs_a_price() -> None:
    draft = await decided(routed(budget=Budget(max_cost_micros=10**9)), bundle(hosted(), EMBEDDED))
    assert record(draft).passed_over == (
        "openai/big: the bundle has no price for it, and the cost is limited",
    )


async def test_what_was_done_is_told_whatever_the_budget() -> None:
    known = routed(budget=Budget(max_tokens=1_000))
    known = known.model_copy(update={"steps": (done(),), "step": 1})
    assert record(await decided(known, bundle(hosted()))).provider == "extractive"


async def test_a_bundle_has_its_own_words_for_a_used_up_budget() -> None:
    of = bundle(hosted(), replies={"budget_exceeded": "Please call us."})
    assert answer(await decided(routed(budget=Budget(max_tokens=10)), of)).text == "Please call us."


# turns


async def test_no_tool_is_offered_where_the_gate_would_take_no_call() -> None:
    models, of = Models(), bundle(hosted())
    known = routed(tools=("get_order",), budget=Budget(max_turns=2))
    await decided(known, of, models)
    await decided(known.model_copy(update={"steps": (done(),), "step": 1}), of, models)
    assert [[tool.name for tool in one.tools] for one in models.asked] == [["get_order"], []]
    assert "get_order" not in models.asked[1].prompt
