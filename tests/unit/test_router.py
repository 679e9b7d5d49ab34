"""The intent-router: by rule, by example, by conversation; and what it refuses."""

import copy
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from interlock.bundles.knowledge import KnowledgeSource
from interlock.bundles.model import Bundle, Intent, IntentRule, Limits, RouterSpec
from interlock.intent_router.classifier import Classifier
from interlock.intent_router.features import plain_words
from interlock.intent_router.stage import Capabilities, decide
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.routing import Budget, Risk
from interlock_contracts.subjects import Subject
from interlock_contracts.tools import ToolSpec

REQUEST_ID = "01JD0000000000000000000000"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def tool(name: str, roles: tuple[str, ...] = ()) -> ToolSpec:
    return ToolSpec(
        name=name,
        description=name,
        effect="write",
        risk=Risk.HIGH,
        recovery="operator",
        parameters={"type": "object", "properties": {}},
        roles=roles,
    )


INTENTS = {
    "policy_question": Intent(
        examples=(
            "How long do I have to return something?",
            "What is your returns policy?",
            "Do you ship to other countries?",
            "How much does delivery cost?",
            "How do I clean the kettle?",
        ),
        sources=("help", "not_in_the_bundle"),
    ),
    "order_status": Intent(
        examples=(
            "Where is my order A-1001?",
            "Has order B-2002 shipped yet?",
            "When will my parcel arrive?",
            "Track my package",
        ),
        tools=("get_order",),
    ),
    "refund": Intent(
        risk=Risk.HIGH,
        examples=(
            "I want a refund for order A-1001",
            "Please give me my money back for A-1002",
            "The mug arrived broken, refund me",
            "Refund $45 to me",
        ),
        tools=("get_order", "create_refund", "write_off", "no_such_tool"),
        review_class="refunds",
        model="careful",
    ),
    "staff_report": Intent(
        examples=("Draft the weekly report of escalations", "Summarise this week's complaints"),
        roles=("agent",),
    ),
    "human": Intent(rules=(IntentRule(id="wants_a_person", pattern=r"\b(human|real person)\b"),)),
    "out_of_scope": Intent(refusal="I can only help with the shop."),
}
BUNDLE = Bundle(
    name="shop",
    version="1",
    intents=INTENTS,
    sources={"help": KnowledgeSource(path="help")},
    tools={
        "get_order": tool("get_order"),
        "create_refund": tool("create_refund", roles=("customer", "agent")),
        "write_off": tool("write_off", roles=("agent",)),
    },
    replies={"role_not_allowed": "That is for our staff."},
    limits=Limits(budget=Budget(max_turns=3)),
)
USING = Capabilities()


def turn(role: Any, text: str) -> Turn:
    return Turn(role=role, text=text)


def request_input(
    text: str,
    role: str = "customer",
    history: tuple[Turn, ...] = (),
    bundle: Bundle = BUNDLE,
    attempt: int = 0,
) -> Input:
    request = Request(
        request_id=REQUEST_ID,
        tenant="acme",
        principal=Principal(user="u1", role=role),
        text=text,
        history=history,
    )
    event = Event(
        subject=Subject("ev", "request", "acme", REQUEST_ID, "0"),
        data=request,
        id="e1",
        source="/producer",
        time=NOW,
    )
    case = Case(request=request, bundle=bundle.digest, attempt=attempt)
    return Input(event=event, bundle=bundle, now=NOW, known_case=case)


async def routed(text: str, **more: Any) -> Draft:
    return told(await decide(request_input(text, **more), USING))


def told(drafts: Sequence[Draft]) -> Draft:
    """The route, or the answer; beside an answer stands the decision behind it."""
    *before, last = drafts
    assert [one.event for one in before] == (["declined"] if last.event == "answer" else [])
    return last


def intent_of(draft: Draft) -> str:
    assert isinstance(draft.data, Case)
    assert draft.data.route is not None
    return draft.data.route.intent


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("Where's my parcel?", "order_status"),
        ("has A-7734 been shipped", "order_status"),
        ("I'd like a refund of $12.50 for order Z-9981 please", "refund"),
        ("can I get my money back", "refund"),
        ("what does delivery cost to Norway", "policy_question"),
        ("how many days to return an item?", "policy_question"),
    ],
)
async def test_paraphrases_go_to_their_intent(text: str, intent: str) -> None:
    draft = await routed(text)
    assert (draft.event, draft.step) == ("route", "0")
    assert intent_of(draft) == intent


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "Write me a poem about the sea",
        "asdf qwer zxcv",
        "A-1001",
        "🙂",
    ],
)
async def test_what_is_near_to_no_example_is_refused_as_out_of_scope(text: str) -> None:
    draft = await routed(text)
    assert draft.event == "answer"
    assert isinstance(draft.data, Answer)
    assert draft.data.status is AnswerStatus.REFUSED
    assert draft.data.text == "I can only help with the shop."
    assert [f.code for f in draft.data.failures] == [FailureCode.OUT_OF_SCOPE]
    assert draft.data.bundle == BUNDLE.digest


async def test_the_route_holds_the_later_stages_to_the_intent() -> None:
    draft = await routed("Please refund order A-1001")
    assert isinstance(draft.data, Case)
    route = draft.data.route
    assert route is not None
    assert route.risk is Risk.HIGH
    assert route.tools == ("get_order", "create_refund")
    assert (route.model_route, route.output) == ("careful", "default")
    assert route.review_class == "refunds"
    assert route.budget.max_turns == 3
    assert 0 < route.margin <= route.confidence <= 1


async def test_tools_and_sources_are_only_those_of_the_bundle_and_the_role() -> None:
    agent = await routed("Please refund order A-1001", role="agent")
    guest = await routed("Please refund order A-1001", role="guest")
    reader = await routed("What is your returns policy?")
    assert isinstance(agent.data, Case)
    assert isinstance(guest.data, Case)
    assert isinstance(reader.data, Case)
    assert agent.data.route is not None
    assert agent.data.route.tools == ("get_order", "create_refund", "write_off")
    assert guest.data.route is not None
    assert guest.data.route.tools == ("get_order",)
    assert reader.data.route is not None
    assert reader.data.route.sources == ("help",)


async def test_a_role_without_the_intent_is_refused_and_one_with_it_is_not() -> None:
    text = "Draft the weekly escalations report"
    refused = await routed(text, role="customer")
    assert isinstance(refused.data, Answer)
    assert refused.data.text == "That is for our staff."
    assert refused.data.failures[0].code is FailureCode.ROLE_NOT_ALLOWED
    assert intent_of(await routed(text, role="agent")) == "staff_report"


async def test_the_answer_counts_the_attempt() -> None:
    draft = await routed("What is the capital of France?", attempt=2)
    assert draft.step == "2"


async def test_why_names_the_nearest_examples_with_scores() -> None:
    draft = await routed("I want a refund for order C-4242")
    assert isinstance(draft.data, Case)
    assert draft.data.route is not None
    reason = draft.data.route.why[0]
    assert reason.kind == "example"
    assert reason.reference == "refund: I want a refund for order A-1001"
    assert reason.score == pytest.approx(1.0, abs=1e-4)


async def test_a_rule_decides_before_the_examples() -> None:
    draft = await routed("I want a refund and a REAL PERSON now")
    assert intent_of(draft) == "human"
    assert isinstance(draft.data, Case)
    assert draft.data.route is not None
    assert draft.data.route.why[0].reference == "wants_a_person"
    assert draft.data.route.confidence == 1.0


@pytest.mark.parametrize("text", ["yes, do it", "Yes please", "A-1001", "and for A-1002?", "ok"])
async def test_a_follow_up_keeps_the_intent_of_the_last_user_turn(text: str) -> None:
    history = (
        turn("user", "How much does delivery cost?"),
        turn("assistant", "It is free."),
        turn("user", "I want a refund for my order"),
        turn("user", "yes"),
        turn("assistant", "Which order is it about?"),
    )
    draft = await routed(text, history=history)
    assert intent_of(draft) == "refund"
    assert isinstance(draft.data, Case)
    assert draft.data.route is not None
    assert draft.data.route.why[0].reference == "follow-up of an earlier turn"


@pytest.mark.parametrize("text", ["thanks!", "ok", "Great, thank you", "yes"])
async def test_a_courtesy_after_the_work_is_done_does_not_ask_for_it_again(text: str) -> None:
    history = (turn("user", "Refund $20 of A-1001"), turn("assistant", "Done: $20 are on the way."))
    assert (await routed(text, history=history)).event == "answer"
    asked = (history[0], turn("assistant", "Shall I?"))
    assert intent_of(await routed(text, history=asked)) == "refund"


async def test_a_new_subject_does_not_inherit_the_earlier_intent() -> None:
    history = (turn("user", "I want a refund for order A-1001"), turn("assistant", "Done."))
    assert intent_of(await routed("When will my other parcel arrive?", history=history)) == (
        "order_status"
    )
    off_topic = await routed("What is the capital of France?", history=history)
    assert off_topic.event == "answer"


async def test_an_assent_without_a_conversation_is_out_of_scope() -> None:
    assert (await routed("yes, do it")).event == "answer"


@pytest.mark.parametrize("identifier", ["", "A-1001", "#55921", "4f9c2e77", "bob@example.com"])
async def test_an_identifier_does_not_change_the_scores(identifier: str) -> None:
    plain = Classifier(BUNDLE).classify("Where is my order ?")
    marked = Classifier(BUNDLE).classify(f"Where is my order {identifier}?")
    assert (marked.intent, marked.confidence) == (plain.intent, plain.confidence)


def test_identifiers_are_stripped_and_words_are_not() -> None:
    assert plain_words("refund $45.50 on A-1001 now") == ["refund", "on", "now"]
    assert plain_words("a re-order, e-mail it") == ["a", "re", "order", "e", "mail", "it"]


@pytest.mark.parametrize("text", ["$" * 100_000, "a-" * 50_000, "a@" * 50_000, "x" * 100_000])
def test_identifiers_are_found_in_linear_time(text: str) -> None:
    assert set("".join(plain_words(text))) <= set("ax")


async def test_too_small_a_margin_is_ambiguous() -> None:
    same = {name: Intent(examples=("Cancel my order",)) for name in ("one", "two")}
    bundle = BUNDLE.model_copy(update={"intents": same, "router": RouterSpec(margin=0.05)})
    bundle = Bundle.model_validate(bundle.model_dump())
    draft = await routed("Cancel my order", bundle=bundle)
    assert isinstance(draft.data, Answer)
    assert draft.data.failures[0].code is FailureCode.INTENT_AMBIGUOUS


async def test_a_bundle_without_intents_refuses_everything() -> None:
    draft = await routed("Where is my order?", bundle=Bundle(name="empty", version="1"))
    assert isinstance(draft.data, Answer)
    assert draft.data.failures[0].code is FailureCode.OUT_OF_SCOPE


async def test_a_fallback_without_a_refusal_is_a_route_like_any_other() -> None:
    bundle = Bundle(
        name="shop",
        version="2",
        intents={**INTENTS, "general": Intent()},
        router=RouterSpec(fallback="general"),
    )
    draft = await routed("What is the capital of France?", bundle=bundle)
    assert intent_of(draft) == "general"
    assert isinstance(draft.data, Case)
    assert draft.data.route is not None
    assert draft.data.route.why[0].kind == "threshold"


async def test_the_decision_is_pure() -> None:
    given = request_input("Refund order A-1001", history=(turn("user", "Hello"),))
    before = copy.deepcopy(given)
    first = await decide(given, USING)
    assert first == await decide(given, Capabilities())
    assert given == before


async def test_other_events_are_not_taken() -> None:
    given = request_input("hello")
    wrong = Event(
        subject=Subject("ev", "context", "acme", REQUEST_ID, "0"),
        data=given.case,
        id="e2",
        source="/retriever",
        time=NOW,
    )
    with pytest.raises(NeverRetry):
        await decide(Input(event=wrong, bundle=BUNDLE, now=NOW, known_case=given.case), USING)
