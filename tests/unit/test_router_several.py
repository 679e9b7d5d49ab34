"""Requests that ask for several things: cut, united under the strictest, refused, dealt with."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gate_world import (
    BUNDLE,
    ROUTE,
    World,
    changed_bundle,
    make_case,
    proposal,
    refund,
    says,
)
from tests.unit.test_router import INTENTS
from tests.unit.test_router_rules import outcome, route

from interlock.bundles.classes import Override, RouterRule
from interlock.bundles.compile import compile_bundle
from interlock.bundles.knowledge import KnowledgeSource
from interlock.bundles.model import Bundle, Intent, OutputContract, RouterSpec
from interlock.bundles.reading import forbidden_sources
from interlock.generator.prompt import render
from interlock.intent_router.classification import Classification
from interlock.intent_router.classifier import Classifier
from interlock.intent_router.parts import clauses_of
from interlock_contracts.answer import Answer
from interlock_contracts.failures import FailureCode
from interlock_contracts.routing import Part, Risk, Route
from interlock_contracts.verdict import Decision

EXAMPLE = compile_bundle(Path(__file__).parents[2] / "examples/support")
SHOP = Classifier(EXAMPLE)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "Cancel order A-1005 and what is your return policy?",
            [("cancel_order", "Cancel order A-1005"), ("answer_question", "what is your return")],
        ),
        (
            "Where is my order A-1001? Also, please refund $20 of order A-1002.",
            [("order_status", "Where is my order A-1001?"), ("refund", "Also, please refund")],
        ),
        (
            "Hi there! Cancel my order. How long do I have to return something?",
            [("cancel_order", "Hi there! Cancel"), ("answer_question", "How long do I have")],
        ),
    ],
)
def test_clauses_that_ask_for_different_things(text: str, parts: list[tuple[str, str]]) -> None:
    found = SHOP.parts(text)
    assert [one.found.intent for one in found] == [intent for intent, _ in parts]
    for clause, (_, words) in zip(found, parts, strict=True):
        assert text[clause.start : clause.end].startswith(words)


@pytest.mark.parametrize(
    "text",
    [
        "Where is my order A-1001?",
        "How long is the warranty and do you ship to Alaska?",
        "It arrived broken. I want a refund for A-1001.",
        "I want my order and the rest of it cancelled",
        "Thanks! Where is my parcel?",
        "Cancel order A-1005 and tell me a joke about the sea",
        "If my parcel arrives damaged, how do I report it?",
        "Where is my order? " * 20,
        "",
    ],
)
def test_one_thing_is_not_cut(text: str) -> None:
    assert SHOP.parts(text) == ()


@pytest.mark.parametrize(("usual", "cut"), [(0.25, True), (0.31, False), (1.0, False)])
def test_how_similar_a_clause_must_be_follows_the_examples(usual: float, cut: bool) -> None:
    def classify(text: str) -> Classification:
        intent = "track" if "parcel" in text else "refund"
        return Classification(intent, 0.9, 0.9, (), similarity=0.3)

    text = "Where is my parcel? Pay my money back."
    found = clauses_of(text, classify, {"track": Intent(), "refund": Intent()}, (), usual)
    assert bool(found) is cut


@given(st.text(max_size=200))
def test_parts_are_in_order_and_within_the_text(text: str) -> None:
    end = 0
    for one in SHOP.parts(f"Cancel order A-1005. {text} Where is my order A-1001?"):
        assert end <= one.start < one.end
        end = one.end


BOTH = "Where is my order A-1001? I want a refund for order A-1002."
CALLS = {"get_order", "create_refund"}


def shop(several: Any = "split", **changes: Any) -> Bundle:
    router = RouterSpec(several=several, **changes.pop("rules", {}))
    given_intents = INTENTS | changes.pop("intents", {})
    tools = {**EXAMPLE.tools}
    return Bundle(
        name="shop", version="1", intents=given_intents, router=router, tools=tools, **changes
    )


async def test_a_split_request_has_the_union_under_the_strictest() -> None:
    found = await route(shop(), BOTH)
    assert [(one.intent, BOTH[one.start : one.end]) for one in found.parts] == [
        ("order_status", "Where is my order A-1001?"),
        ("refund", "I want a refund for order A-1002."),
    ]
    assert (found.intent, found.risk, found.review_class) == ("refund", Risk.HIGH, "refunds")
    assert set(found.tools) == CALLS
    assert found.parts[0].tools == ("get_order",)
    assert found.confidence == min(one.confidence for one in found.parts)
    assert all(one.why for one in found.parts)


async def test_without_the_setting_a_request_has_one_intent() -> None:
    assert "parts" not in (await route(shop(None), BOTH)).model_dump()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"several": "refuse"}, FailureCode.SEVERAL_INTENTS),
        (
            {
                "intents": {
                    "refund": INTENTS["refund"].model_copy(update={"data_class": "money"}),
                    "order_status": INTENTS["order_status"].model_copy(
                        update={"data_class": "orders"}
                    ),
                }
            },
            FailureCode.SEVERAL_INTENTS,
        ),
        (
            {"intents": {"refund": INTENTS["refund"].model_copy(update={"roles": ("agent",)})}},
            FailureCode.ROLE_NOT_ALLOWED,
        ),
        (
            {"overrides": (Override(id="b", effect="block", intents=("order_status",)),)},
            FailureCode.REQUEST_BLOCKED,
        ),
    ],
)
async def test_what_cannot_go_together_is_refused_whole(
    changes: dict[str, Any], code: FailureCode
) -> None:
    found = await outcome(shop(**changes), BOTH)
    assert isinstance(found, Answer)
    assert [one.code for one in found.failures] == [code]


async def test_a_rule_before_decides_about_the_whole() -> None:
    rule = RouterRule(id="whole", intent="human", pattern="refund")
    found = await route(shop(rules={"before": (rule,)}), BOTH)
    assert (found.intent, found.parts) == ("human", ())


def part(intent: str, **more: Any) -> Part:
    given_part: dict[str, Any] = {"risk": Risk.LOW, "start": 0, "end": 5, "output": "default"}
    return Part(intent=intent, confidence=1.0, margin=1.0, **(given_part | more))


def with_parts(*parts: Part) -> Route:
    return ROUTE.model_copy(update={"parts": parts})


POLICY = """
@id("only-refunds") forbid (principal, action == Interlock::Action::"create_refund", resource)
unless { context.request.intent == "refund" };
@id("ask") @obligation("confirm")
permit (principal, action == Interlock::Action::"create_refund", resource)
when { context.request.intent == "complaint" };
"""


@pytest.mark.parametrize(
    ("parts", "decision"),
    [
        ((part("refund", tools=("create_refund",)), part("other")), Decision.APPROVE),
        (
            (part("refund", tools=("create_refund",)), part("other", tools=("create_refund",))),
            Decision.REFUSE,
        ),
    ],
)
async def test_policies_judge_a_call_for_every_part_that_has_the_tool(
    parts: tuple[Part, ...], decision: Decision
) -> None:
    bundle = changed_bundle(policies=BUNDLE.policies | {"parts.cedar": POLICY})
    case = make_case(proposal(refund()), route=with_parts(*parts))
    assert (await World().judge(case, bundle))["verdict"].verdict.decision is decision


async def test_under_review_somebody_sees_every_action() -> None:
    bundle = changed_bundle(router=RouterSpec(several="review").model_dump())
    parts = (part("refund", tools=("create_refund",)), part("other"))
    found = await World().judge(make_case(proposal(refund()), route=with_parts(*parts)), bundle)
    assert found["verdict"].verdict.decision is Decision.REVIEW
    assert found["verdict"].verdict.actions[0].policy.overrides == ("several_intents",)


async def test_an_answer_keeps_the_contracts_of_all_parts() -> None:
    bundle = changed_bundle()
    answer = proposal(statements=[says("A guaranteed refund.")])
    lax = ROUTE.model_copy(update={"output": "none"})
    alone = await World().judge(make_case(answer, route=lax), bundle)
    assert alone["verdict"].verdict.decision is Decision.ANSWER
    both = lax.model_copy(update={"parts": (part("a"), part("b", output="none"))})
    found = (await World().judge(make_case(answer, route=both), bundle))["verdict"].verdict
    assert {one.code for one in found.violations} >= {
        FailureCode.CITATION_MISSING,
        FailureCode.FORBIDDEN_CONTENT,
    }
    united = bundle.output_of(both)
    assert united is not None
    assert (united.citations, united.max_chars) == ("every", 400)
    unknown = both.model_copy(update={"parts": (part("a"), part("b", output="gone"))})
    assert bundle.output_of(unknown) is None


@pytest.mark.parametrize(
    ("one", "other", "united"),
    [
        ({"sections": ("Steps",)}, {"sections": ("Why",)}, True),
        ({"language": "de"}, {}, True),
        ({"language": "de"}, {"language": "fr"}, False),
        ({"json_schema": {"type": "object"}}, {}, False),
    ],
)
async def test_contracts_that_no_answer_could_keep_are_not_put_together(
    one: dict[str, Any], other: dict[str, Any], united: bool
) -> None:
    outputs = {"a": OutputContract(**one), "b": OutputContract(**other)}
    refund_intent = INTENTS["refund"].model_copy(update={"output": "a"})
    status = INTENTS["order_status"].model_copy(update={"output": "b"})
    bundle = shop(outputs=outputs, intents={"refund": refund_intent, "order_status": status})
    found = await outcome(bundle, BOTH)
    if not united:
        assert isinstance(found, Answer)
        assert found.failures[0].code is FailureCode.SEVERAL_INTENTS
        return
    assert isinstance(found, Route)
    contract = bundle.output_of(found)
    assert contract is not None
    assert set(contract.sections) == {*one.get("sections", ()), *other.get("sections", ())}
    assert contract.language == one.get("language")


def test_every_field_of_a_contract_is_put_together() -> None:
    """Whoever adds one has to say in `output_of` what becomes of it."""
    assert set(OutputContract.model_fields) == {
        "citations", "max_chars", "json_schema", "sections", "language", "forbidden",
        "min_support", "values", "fallback", "review_class",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "united"),
    [
        ({"fallback": "review"}, {"fallback": "extractive"}, ("review", None)),
        ({"fallback": "review"}, {"fallback": "refuse"}, ("refuse", None)),
        (
            {"fallback": "review", "review_class": "x"},
            {"fallback": "extractive"},
            ("review", "x"),
        ),
        # Of two classes of reviewers neither may decide for the other.
        ({"fallback": "review", "review_class": "x"}, {"fallback": "review"}, ("refuse", None)),
    ],
)
def test_the_fallback_of_several_is_the_strictest_that_somebody_may_decide(
    one: dict[str, Any], other: dict[str, Any], united: tuple[str, str | None]
) -> None:
    outputs = {"a": OutputContract(**one), "b": OutputContract(**other)}
    for first, second in (("a", "b"), ("b", "a")):
        parts = (part("refund", output=first), part("order_status", output=second))
        contract = shop(outputs=outputs).output_of(with_parts(*parts))
        assert contract is not None
        assert (contract.fallback, contract.review_class) == united


@pytest.mark.parametrize(
    ("one", "other", "united"),
    [(None, "given", "given"), ("given", "cited", "cited"), (None, None, None)],
)
def test_the_values_of_several_are_held_to_the_strictest(one: Any, other: Any, united: Any) -> None:
    outputs = {"a": OutputContract(values=one), "b": OutputContract(values=other)}
    for first, second in (("a", "b"), ("b", "a")):
        parts = (part("refund", output=first), part("order_status", output=second))
        contract = shop(outputs=outputs).output_of(with_parts(*parts))
        assert contract is not None
        assert contract.values == united


def test_a_governed_source_is_read_for_all_parts_or_not_at_all() -> None:
    policies = {
        "r.cedar": '@id("r") permit (principal, action == Interlock::Action::"read:help", resource)'
        ' when { context.request.intent == "ask" };'
    }
    bundle = Bundle(
        name="g",
        version="1",
        sources={"help": KnowledgeSource(governed=True)},
        policies=policies,
        intents={"ask": Intent(), "act": Intent()},
        outputs={"default": OutputContract()},
    )
    request = make_case(proposal()).request
    one = with_parts(part("ask", sources=("help",)), part("act"))
    both = with_parts(part("ask", sources=("help",)), part("act", sources=("help",)))
    assert forbidden_sources(bundle, request, one, ["help"]) == set()
    assert forbidden_sources(bundle, request, both, ["help"]) == {"help"}


def test_the_prompt_lists_the_parts() -> None:
    text = "Cancel A-1005. Where is A-1001?"
    parts = (part("cancel_order", end=14), part("order_status", start=15, end=31))
    case = make_case(proposal(), text=text, route=with_parts(*parts))
    prompt = render(EXAMPLE, "answer", case, ())
    assert "- Cancel A-1005. (cancel_order)" in prompt
    assert "- Where is A-1001? (order_status)" in prompt
    assert "several things" not in render(EXAMPLE, "answer", make_case(proposal()), ())
