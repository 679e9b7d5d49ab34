"""Proposals through the gate: every decision, and what is committed with it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.gate_world import (
    BUNDLE,
    CHUNKS,
    KEY,
    NOW,
    ROUTE,
    World,
    changed_bundle,
    chunk,
    event,
    make_case,
    proposal,
    refund,
    says,
)

from interlock.bundles.model import Limits
from interlock.contract_validator.stage import decide
from interlock.runtime.errors import NeverRetry
from interlock.runtime.signing import GrantInvalid, Verifier
from interlock.runtime.stage import Input
from interlock_contracts.actions import Effect, Result
from interlock_contracts.answer import AnswerStatus, FactReply
from interlock_contracts.canonical import digest
from interlock_contracts.case import Step
from interlock_contracts.failures import FailureCode as Code
from interlock_contracts.failures import failure
from interlock_contracts.proposal import Proposal, ToolCall
from interlock_contracts.request import Principal
from interlock_contracts.retrieval import RetrievalOutcome
from interlock_contracts.verdict import ActionVerdict, Decision, Origin, Verdict, violation

CITED = says("It takes five days.", ("c1", "Refunds take five days."))
FABRICATED = says("It takes two days.", ("c1", "Refunds take two days."))
REPAIRED = Step(
    proposal=proposal(statements=[FABRICATED]),
    verdict=Verdict(
        decision=Decision.REPAIR,
        violations=(violation(Code.QUOTE_NOT_IN_SOURCE, "", "not there"),),
    ),
)


@pytest.fixture
def world() -> World:
    return World()


def read(order_id: str = "A-1001") -> ToolCall:
    return ToolCall(tool="get_order", arguments={"order_id": order_id})


# answers


async def test_a_clean_answer(world: World) -> None:
    drafts = await world.judge(make_case(proposal(statements=[CITED])))
    assert list(drafts) == ["verdict", "answer"]
    verdict, answer = drafts["verdict"].verdict, drafts["answer"]
    assert (verdict.decision, verdict.violations) == (Decision.ANSWER, ())
    assert verdict.citation_coverage == 1.0
    assert (answer.status, answer.text) == (AnswerStatus.ANSWERED, "It takes five days.")
    (source,) = answer.sources
    assert (source.handle, source.document_id, source.title) == ("c1", "doc", "Help")
    assert (source.url, source.quote) == ("https://shop.example/help", "Refunds take five days.")
    assert answer.bundle == BUNDLE.digest


async def test_the_answers_step_is_the_attempt(world: World) -> None:
    case = make_case(proposal(statements=[CITED]), attempt=2, step=3)
    verdict, answer = await world.decide_proposal(case)
    assert (verdict.step, answer.step) == ("3", "2")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (RetrievalOutcome.NOTHING_INDEXED, Code.NOTHING_INDEXED),
        (RetrievalOutcome.FILTERED_OUT, Code.FILTERED_OUT),
        (RetrievalOutcome.RANKED_OUT, Code.RANKED_OUT),
        (RetrievalOutcome.NOT_RETRIEVED, Code.NOT_RETRIEVED),
        (RetrievalOutcome.FOUND, Code.NOT_RETRIEVED),
    ],
)
async def test_abstaining_uses_the_bundles_words(
    world: World, outcome: RetrievalOutcome, code: Code
) -> None:
    wanted = proposal(abstained=True, statements=[says("Model's words.")])
    drafts = await world.judge(make_case(wanted, outcome=outcome))
    answer = drafts["answer"]
    assert (answer.status, answer.text) == (AnswerStatus.REFUSED, "Not in our pages.")
    assert [one.code for one in answer.failures] == [code]
    assert drafts["verdict"].verdict.violations == ()


def result(effect: Effect, code: Code | None = None) -> Result:
    why = failure(code, "why") if code else None
    return Result(action="1-0", tool="create_refund", effect=effect, effect_key="k", failure=why)


def judged(decision: Decision) -> Verdict:
    call = refund()
    action = ActionVerdict(
        action="1-0",
        tool=call.tool,
        arguments=call.arguments,
        decision=decision,
        digest=digest("action"),
    )
    return Verdict(decision=decision, actions=(action,))


async def test_the_closing_answer_tells_what_became_of_the_actions(world: World) -> None:
    step = Step(
        proposal=proposal(refund()),
        verdict=judged(Decision.REVIEW),
        results=(result(Effect.DID_NOT_HAPPEN, Code.APPROVAL_DENIED),),
    )
    case = make_case(proposal(statements=[CITED]), steps=(step,), step=2)
    answer = (await world.judge(case))["answer"]
    assert answer.status is AnswerStatus.ANSWERED
    assert [(one.action, one.effect) for one in answer.actions] == [("1-0", Effect.DID_NOT_HAPPEN)]
    assert [one.code for one in answer.failures] == [Code.APPROVAL_DENIED]


async def test_a_refusal_after_a_landed_action_still_tells_of_it(world: World) -> None:
    step = Step(
        proposal=proposal(refund()),
        verdict=judged(Decision.APPROVE),
        results=(result(Effect.LANDED),),
    )
    case = make_case(proposal(abstained=True), steps=(step,), step=2)
    answer = (await world.judge(case))["answer"]
    assert [one.effect for one in answer.actions] == [Effect.LANDED]


# repair and its end


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (proposal(statements=[FABRICATED]), Code.QUOTE_NOT_IN_SOURCE),
        (proposal(statements=[says("x", ("c7", "x"))]), Code.CITATION_NOT_RETRIEVED),
        (proposal(statements=[says("All is well.")]), Code.CITATION_MISSING),
        (proposal(statements=[CITED, *[says("Why?")] * 200]), Code.LENGTH_EXCEEDED),
        (proposal(statements=[CITED, says("Guaranteed?")]), Code.FORBIDDEN_CONTENT),
        (proposal(), Code.OUTPUT_MALFORMED),
        (proposal(malformed="no JSON"), Code.OUTPUT_MALFORMED),
        (proposal(ToolCall(tool="drop_all", arguments={})), Code.TOOL_UNKNOWN),
        (proposal(refund("19.99")), Code.ARGUMENTS_INVALID),
        (proposal(refund(4711)), Code.ARGUMENT_UNGROUNDED),
    ],
)
async def test_what_a_model_can_mend_goes_back_to_it(
    world: World, wanted: Proposal, code: Code
) -> None:
    case = make_case(wanted)
    drafts = await world.judge(case)
    assert list(drafts) == ["verdict", "repair"]
    verdict, again = drafts["verdict"].verdict, drafts["repair"]
    assert [one.code for one in verdict.violations] == [code]
    assert verdict.decision is Decision.REPAIR
    assert {one.decision for one in verdict.actions} <= {Decision.REPAIR}
    assert again.steps == (Step(proposal=wanted, verdict=verdict),)
    assert (again.proposal, again.verdict, again.step) == (None, None, 1)

    spent = make_case(wanted, steps=(REPAIRED,), step=2)
    drafts = await world.judge(spent)
    assert list(drafts) == ["verdict", "answer"]
    assert drafts["verdict"].verdict.decision is Decision.REFUSE
    assert (drafts["answer"].status, drafts["answer"].text) == (AnswerStatus.REFUSED, "No.")
    assert [one.code for one in drafts["answer"].failures] == [Code.REPAIRS_EXHAUSTED, code]


EXTRACTIVE = ROUTE.model_copy(update={"output": "extractive"})


async def test_the_extractive_fallback_quotes_the_best_sentence(world: World) -> None:
    case = make_case(
        proposal(statements=[FABRICATED]),
        text="How many days do refunds take?",
        route=EXTRACTIVE,
        steps=(REPAIRED,),
        step=2,
    )
    answer = (await world.judge(case))["answer"]
    assert (answer.status, answer.text) == (AnswerStatus.ANSWERED, "Refunds take five days.")
    assert [one.quote for one in answer.sources] == ["Refunds take five days."]
    assert answer.failures[0].code is Code.REPAIRS_EXHAUSTED


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (proposal(statements=[FABRICATED]), "Zebra?"),
        (proposal(refund("1999")), "How many days do refunds take?"),
    ],
)
async def test_the_extractive_fallback_knows_when_to_refuse(
    world: World, wanted: Proposal, text: str
) -> None:
    case = make_case(wanted, text=text, route=EXTRACTIVE, steps=(REPAIRED,), step=2)
    assert (await world.judge(case))["answer"].status is AnswerStatus.REFUSED


@pytest.mark.parametrize(
    ("wanted", "changes", "code"),
    [
        (proposal(refund(1999, "B-2222")), {}, Code.UNTRUSTED_INSTRUCTION),
        (proposal(ToolCall(tool="close_shop", arguments={})), {}, Code.TOOL_NOT_ALLOWED),
        (
            proposal(refund()),
            {"principal": Principal(user="eve", role="guest")},
            Code.TOOL_NOT_ALLOWED,
        ),
        (
            proposal(ToolCall(tool="search_notes", arguments={"order_id": "A-1001"})),
            {},
            Code.POLICY_FORBIDS,
        ),
        (proposal(refund(500_000)), {"text": "Refund A-1001 5,000.00 EUR"}, Code.POLICY_FORBIDS),
        (
            proposal(statements=[CITED]),
            {"chunks": [*CHUNKS, chunk("c3", "x", tenant="globex")]},
            Code.TENANT_BOUNDARY,
        ),
        (
            proposal(statements=[CITED]),
            {"chunks": [*CHUNKS, chunk("c3", "x", scopes=("staff",))]},
            Code.SCOPE_MISSING,
        ),
    ],
)
async def test_what_is_unsafe_is_refused_at_once(
    world: World, wanted: Proposal, changes: dict[str, Any], code: Code
) -> None:
    drafts = await world.judge(make_case(wanted, **changes))
    assert list(drafts) == ["verdict", "answer"]
    assert drafts["verdict"].verdict.decision is Decision.REFUSE
    assert code in [one.code for one in drafts["answer"].failures]
    assert drafts["answer"].status is AnswerStatus.REFUSED
    if code is Code.TOOL_NOT_ALLOWED:
        assert drafts["answer"].text == "Not you."


async def test_all_violations_of_all_calls_are_reported(world: World) -> None:
    calls = [
        ToolCall(tool="drop_all", arguments={}),
        refund("1999", "Z-1"),
        refund(1999, "B-2222", zzz="made up"),
        read("A-1001"),
    ]
    drafts = await world.judge(make_case(proposal(*calls)))
    found = {(one.code, one.path) for one in drafts["verdict"].verdict.violations}
    assert found >= {
        (Code.TOOL_UNKNOWN, "/calls/0/tool"),
        (Code.ARGUMENTS_INVALID, "/calls/1/arguments/amount_cents"),
        (Code.ARGUMENTS_INVALID, "/calls/1/arguments/order_id"),
        (Code.ARGUMENT_UNGROUNDED, "/calls/1/arguments/order_id"),
        (Code.ARGUMENTS_INVALID, "/calls/2/arguments"),
        (Code.UNTRUSTED_INSTRUCTION, "/calls/2/arguments/order_id"),
        (Code.ARGUMENT_UNGROUNDED, "/calls/2/arguments/zzz"),
    }
    assert not any(path.startswith("/calls/3") for _, path in found)


# actions


async def test_an_approved_action_is_a_signed_grant(world: World) -> None:
    drafts = await world.judge(make_case(proposal(refund())))
    assert list(drafts) == ["verdict", "approved"]
    verdict, grant = drafts["verdict"].verdict, drafts["approved"]
    (action,) = verdict.actions
    assert (verdict.decision, action.decision) == (Decision.APPROVE, Decision.APPROVE)
    assert [one.origin for one in action.provenance] == [Origin.USER, Origin.USER]
    assert action.policy is not None
    assert action.policy.policies == ("refund-small",)
    Verifier([KEY.public]).verify(grant, tool="create_refund", tenant="acme", now=NOW)
    assert (grant.action, grant.action_digest) == ("1-0", action.digest)
    assert grant.arguments_digest == digest(refund().arguments)
    assert grant.expires_at == NOW + timedelta(seconds=BUNDLE.limits.grant_ttl_s)
    assert (grant.bundle, grant.requester, grant.approved_by) == (BUNDLE.digest, "ann", ())


async def test_a_grant_with_other_arguments_does_not_verify(world: World) -> None:
    grant = (await world.judge(make_case(proposal(refund()))))["approved"]
    more = grant.model_copy(update={"arguments": {**grant.arguments, "amount_cents": 9999}})
    with pytest.raises(GrantInvalid):
        Verifier([KEY.public]).verify(more, tool="create_refund", tenant="acme", now=NOW)


async def test_the_grants_subject_names_action_and_tool(world: World) -> None:
    _, first, second = await world.decide_proposal(make_case(proposal(read(), refund()), step=2))
    assert (first.event, first.step, first.tail) == ("approved", "2-0", "get_order")
    assert (second.event, second.step, second.tail) == ("approved", "2-1", "create_refund")


@pytest.mark.parametrize(
    ("text", "amount", "asks", "decision"),
    [
        ("Refund A-1001 51.00 EUR", 5_100, ["confirm", "notice"], Decision.CONFIRM),
        ("Refund A-1001 101.00 EUR", 10_100, ["review", "notice"], Decision.REVIEW),
        ("Refund A-1001 201.00 EUR", 20_100, ["confirm", "review", "notice"], Decision.REVIEW),
    ],
)
async def test_obligations_ask_people(
    world: World, text: str, amount: int, asks: list[str], decision: Decision
) -> None:
    drafts = await world.judge(make_case(proposal(refund(amount)), text=text))
    assert list(drafts) == ["verdict", *asks]
    verdict = drafts["verdict"].verdict
    assert verdict.decision is decision
    for name in asks[:-1]:
        asked = drafts[name]
        assert asked.digest == verdict.actions[0].digest
        assert asked.summary == f"Refund {amount} cents of A-1001"
        assert asked.expires_at == NOW + timedelta(seconds=BUNDLE.limits.approval_ttl_s)
    assert drafts["notice"].waiting_for == asks[-2]


async def test_the_requester_is_told_why_they_are_asked(world: World) -> None:
    by_policy = make_case(proposal(refund(5_100)), text="Refund A-1001 51.00 EUR")
    asked = (await world.judge(by_policy))["confirm"]
    assert (asked.policies, asked.concerns) == (("refund-middle",), ())
    assert "concerns" not in asked.model_dump(mode="json")
    # The same call, small enough to be automatic, that nobody but content asked for.
    by_gate = make_case(proposal(refund(400)), text="What became of A-1001 and its 4.00 EUR?")
    drafts = await world.judge(by_gate)
    asked = drafts["confirm"]
    assert asked.policies == ()
    assert [(one.code, one.path) for one in asked.concerns] == [
        (Code.UNTRUSTED_INSTRUCTION, "/calls/0/tool")
    ]
    assert asked.concerns == drafts["verdict"].verdict.actions[0].concerns


async def test_the_why_card_shows_what_it_was_judged_by(world: World) -> None:
    case = make_case(proposal(refund(10_100)), text="Refund A-1001 101.00 EUR")
    review = (await world.judge(case))["review"]
    assert review.review_class == "refunds"
    assert (review.requester, review.request_text) == ("ann", "Refund A-1001 101.00 EUR")
    assert [fact.value for fact in review.facts] == [{"customer": "ann", "paid_cents": 100_000}]
    assert [one.path for one in review.provenance] == ["/order_id", "/amount_cents"]
    assert review.policy is not None
    assert review.policy.policies == ("refund-large",)


async def test_nothing_runs_partly(world: World) -> None:
    drafts = await world.judge(make_case(proposal(refund(), refund(4711))))
    assert list(drafts) == ["verdict", "repair"]
    assert [one.decision for one in drafts["verdict"].verdict.actions] == [Decision.REPAIR] * 2


async def test_one_waits_while_the_other_runs(world: World) -> None:
    text = "Refund A-1001 51.00 EUR, then 19.99 EUR"
    drafts = await world.judge(make_case(proposal(refund(5_100), refund(1_999)), text=text))
    assert list(drafts) == ["verdict", "confirm", "notice", "approved"]
    assert (drafts["confirm"].action, drafts["approved"].action) == ("1-0", "1-1")


@pytest.mark.parametrize(("step", "code"), [(3, None), (4, Code.TURNS_EXHAUSTED)])
async def test_turns_are_bounded(world: World, step: int, code: Code | None) -> None:
    drafts = await world.judge(make_case(proposal(refund()), step=step))
    found = [one.code for one in drafts["verdict"].verdict.violations]
    assert found == ([code] if code else [])


# facts


async def test_each_fact_is_fetched_once_and_recorded(world: World) -> None:
    drafts = await world.judge(make_case(proposal(refund(), refund(1999, reason="late"))))
    assert world.asked == [("get_order", {"order_id": "A-1001"})]
    (fact,) = drafts["verdict"].verdict.facts
    assert (fact.name, fact.value) == ("order", {"customer": "ann", "paid_cents": 100_000})


@pytest.mark.parametrize("call", [refund("1999"), refund(1999, "bad"), read()])
async def test_facts_are_not_fetched_in_vain(world: World, call: ToolCall) -> None:
    await world.judge(make_case(proposal(call)))
    assert world.asked == []


@pytest.mark.parametrize("value", [None, "sold", {"customer": "ann"}])
async def test_without_its_facts_an_action_is_not_judged(world: World, value: Any) -> None:
    world.orders["A-1001"] = value
    drafts = await world.judge(make_case(proposal(refund())))
    assert list(drafts) == ["verdict", "repair"]
    verdict = drafts["verdict"].verdict
    assert [one.code for one in verdict.violations] == [Code.FACT_UNAVAILABLE]
    assert verdict.actions[0].policy is None
    assert verdict.facts[0].error is not None


async def test_the_models_word_for_a_fact_counts_nothing(world: World) -> None:
    world.orders["A-1001"] = {"customer": "ann", "paid_cents": 1_000}
    drafts = await world.judge(make_case(proposal(refund(), statements=[says("Paid 9999 EUR")])))
    assert [one.code for one in drafts["answer"].failures] == [Code.POLICY_FORBIDS]
    assert drafts["answer"].failures[0].message == "forbidden by refund-paid-only"


async def test_a_policy_that_cannot_be_evaluated_refuses(world: World) -> None:
    broken = """@id("x") permit(principal, action, resource)
        when { context.request.intent like "*" };
        @id("y") forbid(principal, action == Interlock::Action::"create_refund", resource)
        when { context.arguments.amount_cents * 9223372036854775807 > 1 };"""
    bundle = changed_bundle(policies={"x.cedar": broken})
    drafts = await world.judge(make_case(proposal(refund())), bundle)
    assert [one.code for one in drafts["answer"].failures] == [Code.POLICY_ERROR]


async def test_an_error_of_the_fact_capability_is_not_swallowed(world: World) -> None:
    async def broken(*_: Any) -> FactReply:
        raise ConnectionError("gone")

    case = make_case(proposal(refund()))
    world.came_from(case)
    given = Input(event("proposal", "1", case), BUNDLE, NOW, case)
    with pytest.raises(ConnectionError):
        await decide(given, replace(world.capabilities, facts=broken))


# the stage as a function


@pytest.mark.parametrize(
    "wanted",
    [
        proposal(statements=[CITED]),
        proposal(refund()),
        proposal(refund(4711)),
        proposal(refund(1999, "B-2222")),
    ],
)
async def test_the_same_input_gives_the_same_drafts(wanted: Proposal) -> None:
    case = make_case(wanted)
    first = await World().decide_proposal(case)
    assert (
        await World().decide_proposal(type(case).model_validate_json(case.model_dump_json()))
        == first
    )


async def test_drafts_survive_the_wire(world: World) -> None:
    text = "Refund A-1001 101.00 EUR"
    for case in (make_case(proposal(refund(10_100)), text=text), make_case(proposal(refund(4711)))):
        for draft in await world.decide_proposal(case):
            assert type(draft.data).model_validate_json(draft.data.model_dump_json()) == draft.data


@pytest.mark.parametrize(
    "case",
    [
        make_case(proposal(refund()), step=2),
        make_case(proposal(refund())).model_copy(update={"route": None}),
        make_case(proposal(refund())).model_copy(update={"proposal": None}),
    ],
)
async def test_a_case_that_contradicts_its_event_is_a_dead_letter(world: World, case: Any) -> None:
    given = Input(event("proposal", "1", case), BUNDLE, NOW, case)
    with pytest.raises(NeverRetry) as caught:
        await decide(given, world.capabilities)
    assert caught.value.code is Code.EVENT_INVALID


async def test_another_event_is_not_decided_here(world: World) -> None:
    case = make_case(proposal(refund()))
    with pytest.raises(NeverRetry) as caught:
        await decide(Input(event("route", "1", case), BUNDLE, NOW, case), world.capabilities)
    assert caught.value.code is Code.EVENT_UNKNOWN


async def test_limits_of_the_bundle_bound_the_grant(world: World) -> None:
    bundle = changed_bundle(limits=Limits(grant_ttl_s=7))
    grant = (await world.judge(make_case(proposal(refund())), bundle))["approved"]
    assert grant.expires_at == NOW + timedelta(seconds=7)
    assert grant.bundle == bundle.digest != BUNDLE.digest
