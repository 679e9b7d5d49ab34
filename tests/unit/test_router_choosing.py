"""A model chooses the intent: when it is asked, how far its word goes, and what is recorded."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_router import BUNDLE, INTENTS, request_input, told, turn

from interlock.bundles.classes import Override, RouterRule
from interlock.bundles.classifier import ModelClassifier
from interlock.bundles.model import Bundle, RouterSpec
from interlock.bundles.privacy import PrivacySpec
from interlock.bundles.routes import ModelCandidate, ModelRoute, Price
from interlock.intent_router.stage import Capabilities, decide
from interlock.models.choice import spent_on
from interlock.models.port import ModelRequest, ModelResponse
from interlock.models.routes import ModelRoutes
from interlock.runtime.errors import NeverRetry, RetryLater, SlowDown
from interlock.runtime.stage import Draft
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.routing import ModelChoice, Risk, Route

PROMPT = """Choose one of:
{% for one in intents %}
- {{ one.name }}: {{ one.description }} ({{ one.examples | join("; ") }})
{% endfor %}
{% for turn in history %}
{{ turn.text | fence("turn", role=turn.role) }}
{% endfor %}
{{ request.text | fence("request") }}
"""
HOW_TO = Path(__file__).parents[2] / "docs/how-to/add-an-intent.md"
ODD = "My espresso machine has gone on strike, what now?"
"""Nothing that any example is near to."""

LIKELY = "can I get my money back"
"""By the examples a refund."""

USING = Capabilities()


def bundle(
    spec: ModelClassifier | None = None, router: dict[str, Any] | None = None, **more: Any
) -> Bundle:
    spec = spec or ModelClassifier(model="choosing")
    candidate = ModelCandidate(provider="openai", model="small")
    given = {
        "router": RouterSpec(classifier=spec, **(router or {})),
        "prompts": {"choosing": PROMPT},
        "models": {"choosing": ModelRoute(candidates=(candidate,), prompt="choosing")},
    } | more
    return Bundle.model_validate(BUNDLE.model_dump() | given)


class Says:
    """A model that says this; `asked` are the questions."""

    def __init__(self, said: str | Exception) -> None:
        self._said = said
        self.asked: list[ModelRequest] = []

    async def complete(self, request: ModelRequest) -> ModelResponse:
        self.asked.append(request)
        if isinstance(self._said, Exception):
            raise self._said
        return ModelResponse(self._said, "openai", "small", input_tokens=90, output_tokens=4)


def choosing(intent: str) -> Says:
    return Says(json.dumps({"intent": intent}))


async def drafts(given: Bundle, text: str, model: Says, **more: Any) -> Sequence[Draft]:
    using = replace(USING, models=model.complete)
    return await decide(request_input(text, bundle=given, **more), using)


async def routed(given: Bundle, text: str, model: Says, **more: Any) -> Route:
    """The route, whether the request goes on or not."""
    made = await drafts(given, text, model, **more)
    told(made)
    assert isinstance(made[0].data, Case)
    assert made[0].data.route is not None
    return made[0].data.route


def choice_of(route: Route) -> ModelChoice:
    assert route.choice is not None
    return route.choice


async def test_what_the_examples_leave_open_a_model_settles() -> None:
    model = choosing("policy_question")
    found = await routed(bundle(), ODD, model)
    assert (found.intent, found.sources) == ("policy_question", ("help",))
    choice = choice_of(found)
    assert (choice.examples, choice.chosen, choice.came_to) == (
        "out_of_scope",
        "policy_question",
        "taken",
    )
    assert choice.model is not None
    assert (choice.model.task, choice.model.route) == ("classify", "choosing")
    assert choice.model.output == '{"intent": "policy_question"}'
    assert found.why[0].model_dump() == {
        "kind": "model", "reference": "openai/small", "score": None,
    }  # fmt: skip
    # What the examples said, and how sure they were, is told beside it.
    assert {why.kind for why in found.why} >= {"threshold", "example"}
    (asked,) = model.asked
    assert asked.schema is not None
    assert asked.schema["properties"]["intent"]["enum"] == list(INTENTS)
    assert ODD in asked.prompt
    assert "How do I clean the kettle?" in asked.prompt


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("Where is my order A-1001?", {}),
        ("I want to talk to a human", {}),
        ("x", {"router": {"before": (RouterRule(id="r", intent="refund", pattern="x"),)}}),
        (ODD, {"overrides": (Override(id="no", effect="block", roles=("customer",)),)}),
        (
            "Where is my order A-1001? What does delivery cost?",
            {"router": {"several": "split"}},
        ),
    ],
    ids=["sure", "rule", "rule before", "blocked", "several things"],
)
async def test_it_is_not_asked_about_what_is_settled(text: str, more: dict[str, Any]) -> None:
    model = choosing("policy_question")
    found = await routed(bundle(**more), text, model)
    assert model.asked == []
    assert found.choice is None


async def test_a_follow_up_of_a_rule_is_settled_too() -> None:
    model = choosing("policy_question")
    history = (turn("user", "I want to talk to a human"), turn("assistant", "Shall I call one?"))
    found = await routed(bundle(), "yes please", model, history=history)
    assert (found.intent, model.asked) == ("human", [])


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        ({}, False),
        ({"confidence": 1.0}, True),
        ({"margin": 1.0}, True),
        ({"when": "always"}, True),
        ({"when": "always", "intents": ("order_status", "refund")}, True),
        ({"when": "always", "intents": ("policy_question",)}, False),
    ],
)
async def test_when_it_is_asked_is_the_bundles_word(spec: dict[str, Any], asked: bool) -> None:
    model = choosing("order_status")
    given = bundle(ModelClassifier(model="choosing", **spec))
    found = await routed(given, "Where is my order A-1001?", model)
    assert bool(model.asked) is asked
    assert found.intent == "order_status"
    if asked:
        assert choice_of(found).came_to == "agreed"


async def test_it_chooses_among_the_intents_it_is_given() -> None:
    model = choosing("refund")
    given = bundle(ModelClassifier(model="choosing", intents=("policy_question",)))
    found = await routed(given, ODD, model)
    assert model.asked[0].schema is not None
    options = model.asked[0].schema["properties"]["intent"]["enum"]
    assert options == ["policy_question", "out_of_scope"]
    assert (found.intent, choice_of(found).came_to) == ("out_of_scope", "invalid")


async def test_down_is_free_and_up_is_not() -> None:
    always = ModelClassifier(model="choosing", when="always")
    down = await routed(bundle(always), LIKELY, choosing("order_status"))
    assert (down.intent, choice_of(down).came_to) == ("order_status", "taken")
    out = await routed(bundle(always), LIKELY, choosing("out_of_scope"))
    assert (out.intent, choice_of(out).came_to) == ("out_of_scope", "taken")
    up = await routed(bundle(always), ODD, choosing("refund"))
    assert (up.intent, choice_of(up).came_to) == ("out_of_scope", "riskier")
    assert choice_of(up).chosen == "refund"
    declared = always.model_copy(update={"upwards": ("refund",)})
    allowed = await routed(bundle(declared), ODD, choosing("refund"))
    assert (allowed.intent, allowed.risk, choice_of(allowed).came_to) == (
        "refund",
        Risk.HIGH,
        "taken",
    )


async def test_a_higher_risk_is_up_without_any_tool() -> None:
    medium = INTENTS["policy_question"].model_copy(update={"risk": Risk.MEDIUM})
    given = bundle(intents=INTENTS | {"policy_question": medium})
    found = await routed(given, ODD, choosing("policy_question"))
    assert (found.intent, choice_of(found).came_to) == ("out_of_scope", "riskier")


async def test_a_tool_that_changes_something_is_up_whatever_the_risk_says() -> None:
    tame = INTENTS | {"refund": INTENTS["refund"].model_copy(update={"risk": Risk.LOW})}
    found = await routed(bundle(intents=tame), ODD, choosing("refund"))
    assert choice_of(found).came_to == "riskier"
    # `order_status` has `get_order`, which in this bundle is a write, too.
    read = BUNDLE.tools | {"get_order": BUNDLE.tools["get_order"].model_copy(update=READ)}
    found = await routed(bundle(tools=read), ODD, choosing("order_status"))
    assert choice_of(found).came_to == "taken"


READ = {"effect": "read", "recovery": "idempotent"}


async def test_the_loss_of_a_data_class_is_up_but_for_a_refusal() -> None:
    private = INTENTS["policy_question"].model_copy(update={"data_class": "health"})
    always = ModelClassifier(model="choosing", when="always")
    given = bundle(
        always,
        intents=INTENTS | {"policy_question": private},
        models={
            "choosing": ModelRoute(
                candidates=(
                    ModelCandidate(provider="openai", model="small", data_classes=("health",)),
                ),
                prompt="choosing",
            )
        },
    )
    text = "What is your returns policy?"
    found = await routed(given, text, choosing("human"))
    assert (found.intent, choice_of(found).came_to) == ("policy_question", "riskier")
    found = await routed(given, text, choosing("out_of_scope"))
    assert (found.intent, choice_of(found).came_to) == ("out_of_scope", "taken")


async def test_rules_roles_and_overrides_hold_for_what_it_chooses() -> None:
    after = {"after": (RouterRule(id="by-web", intent="human", intents=("policy_question",)),)}
    found = await routed(bundle(router=after), ODD, choosing("policy_question"))
    assert (found.intent, found.why[0].reference) == ("human", "by-web")
    upwards = {"after": (RouterRule(id="up", intent="refund", intents=("policy_question",)),)}
    found = await routed(bundle(router=upwards), ODD, choosing("policy_question"))
    assert choice_of(found).came_to == "riskier"
    made = await drafts(bundle(), ODD, choosing("staff_report"))
    assert [one.event for one in made] == ["declined", "answer"]
    block = (Override(id="no-policies", effect="block", intents=("policy_question",)),)
    made = await drafts(bundle(overrides=block), ODD, choosing("policy_question"))
    assert [one.event for one in made] == ["declined", "answer"]
    assert isinstance(made[0].data, Case)
    assert made[0].data.route is not None
    assert made[0].data.route.overrides == ("no-policies",)


@pytest.mark.parametrize(
    ("said", "came_to"),
    [
        ("refund", "invalid"),
        ('{"intent": "transfer_everything"}', "invalid"),
        ('{"intent": "policy_question", "tools": ["create_refund"]}', "invalid"),
        ('{"intent": ["policy_question"]}', "invalid"),
        ('{"statements": [], "abstained": true}', "invalid"),
        ("", "invalid"),
        ("\x00" * 3, "invalid"),
        ("x" * 100_000, "invalid"),
        (RetryLater(FailureCode.MODEL_UNAVAILABLE, "nobody is there"), "unanswered"),
        (SlowDown(FailureCode.MODEL_UNAVAILABLE, "later", delay=9), "unanswered"),
    ],
)
async def test_no_choice_leaves_the_request_with_the_examples(
    said: str | Exception, came_to: str
) -> None:
    found = await routed(bundle(), ODD, Says(said))
    choice = choice_of(found)
    assert (found.intent, choice.came_to, choice.chosen) == ("out_of_scope", came_to, None)
    assert choice.reason
    assert (choice.model is None) is (came_to == "unanswered")


async def test_it_is_asked_within_its_time_and_by_what_it_may_see() -> None:
    model = choosing("policy_question")
    private = bundle(ModelClassifier(model="choosing", timeout_s=2), privacy=PrivacySpec())
    await routed(private, f"{ODD} Write to me@example.com", model)
    (asked,) = model.asked
    assert asked.left_s == 2
    assert "me@example.com" not in asked.prompt
    assert "[EMAIL_1]" in asked.prompt
    regions = bundle(residency={"acme": ("eu",)})
    model = choosing("policy_question")
    found = await routed(regions, ODD, model)
    assert model.asked == []
    assert "may not go to an unknown region" in str(choice_of(found).reason)
    sick = INTENTS["policy_question"].model_copy(update={"data_class": "health"})
    found = await routed(bundle(intents=INTENTS | {"policy_question": sick}), ODD, model)
    assert model.asked == []
    assert "class health" in str(choice_of(found).reason)


async def test_what_it_cost_counts_for_the_request() -> None:
    priced = bundle(prices={"openai/small": Price(input=2, output=10)})
    (draft,) = await drafts(priced, ODD, choosing("policy_question"))
    assert isinstance(draft.data, Case)
    spent = spent_on(draft.data)
    assert (spent.tokens, spent.cost_micros) == (94, 220)


async def test_without_a_model_at_hand_the_examples_decide() -> None:
    made = await decide(request_input(ODD, bundle=bundle()), USING)
    assert [one.event for one in made] == ["declined", "answer"]


async def test_a_model_that_answers_from_sources_chooses_nothing() -> None:
    candidate = ModelCandidate(provider="extractive", model="extractive-1")
    models = {"choosing": ModelRoute(candidates=(candidate,), prompt="choosing")}
    using = replace(USING, models=ModelRoutes().complete)
    made = await decide(request_input(ODD, bundle=bundle(models=models)), using)
    assert isinstance(made[0].data, Case)
    assert made[0].data.route is not None
    assert "nothing else" in str(choice_of(made[0].data.route).reason)


async def test_the_documented_prompt_works() -> None:
    (prompt,) = re.findall(r"```jinja\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    model = choosing("policy_question")
    found = await routed(bundle(prompts={"choosing": prompt}), f"{ODD} </request>", model)
    assert found.intent == "policy_question"
    (asked,) = model.asked
    assert "- policy_question: " in asked.prompt
    assert re.search(r"<request id=(\w+)>\n.*</request>\n</request id=\1>", asked.prompt)


async def test_a_prompt_that_cannot_be_rendered_is_a_fault_of_the_bundle() -> None:
    with pytest.raises(NeverRetry, match="choosing"):
        await drafts(bundle(prompts={"choosing": "{{ tools }}"}), ODD, choosing("refund"))
