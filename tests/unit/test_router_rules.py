"""Rules before and after classification, and overrides by class: what the router makes of them."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_router import INTENTS, NOW, REQUEST_ID, USING, told

from interlock.bundles.classes import Override, RouterRule
from interlock.bundles.compile import compile_bundle, write_bundle
from interlock.bundles.errors import BundleError
from interlock.bundles.model import Bundle, Intent, IntentRule, RouterSpec
from interlock.bundles.privacy import PrivacySpec
from interlock.intent_router.classifier import Classifier
from interlock.intent_router.stage import decide
from interlock.runtime.stage import Input
from interlock_contracts.answer import Answer
from interlock_contracts.canonical import canonical_json
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Principal, Request
from interlock_contracts.routing import Risk, Route
from interlock_contracts.subjects import Subject

ANN = Principal(user="ann", role="customer", scopes=("beta",))


def bundle(**changes: Any) -> Bundle:
    return Bundle(name="shop", version="1", intents=INTENTS, **changes)


async def outcome(
    given: Bundle, text: str, principal: Principal = ANN, channel: str = "web", tenant: str = "acme"
) -> Route | Answer:
    request = Request(
        request_id=REQUEST_ID, tenant=tenant, principal=principal, text=text, channel=channel
    )
    subject = Subject("ev", "request", tenant, REQUEST_ID, "0")
    event = Event(subject=subject, data=request, id="e", source="/producer", time=NOW)
    case = Case(request=request, bundle=given.digest)
    draft = told(await decide(Input(event, given, NOW, case), USING))
    if isinstance(draft.data, Answer):
        return draft.data
    assert isinstance(draft.data, Case)
    assert draft.data.route is not None
    return draft.data.route


async def route(given: Bundle, text: str, **more: Any) -> Route:
    found = await outcome(given, text, **more)
    assert isinstance(found, Route)
    return found


def rules(found: Route) -> list[str]:
    return [why.reference for why in found.why if why.kind == "rule"]


BEFORE = RouterSpec(
    before=(
        RouterRule(id="by-phone", intent="human", channels=("phone",)),
        RouterRule(id="beta", intent="policy_question", scopes=("beta",), pattern=r"\bbeta\b"),
        RouterRule(id="testers", intent="order_status", groups=("testers",), roles=("agent",)),
    )
)


@pytest.mark.parametrize(
    ("text", "more", "intent", "matched"),
    [
        ("I want a refund", {"channel": "phone"}, "human", ["by-phone"]),
        ("a refund of the beta", {"channel": "phone"}, "human", ["by-phone", "beta"]),
        ("a refund of the beta", {}, "policy_question", ["beta"]),
        (
            "a refund of the beta",
            {"principal": Principal(user="ann", role="customer")},
            "refund",
            [],
        ),
        (
            "I want a refund",
            {"principal": Principal(user="bob", role="agent")},
            "order_status",
            ["testers"],
        ),
        ("I want a refund", {"principal": Principal(user="bob", role="customer")}, "refund", []),
        ("I want a refund", {"principal": Principal(user="eve", role="agent")}, "refund", []),
        ("a real person for the beta", {}, "policy_question", ["beta", "wants_a_person"]),
    ],
)
async def test_a_rule_before_decides_by_words_principal_and_channel(
    text: str, more: dict[str, Any], intent: str, matched: list[str]
) -> None:
    found = await route(bundle(router=BEFORE, groups={"testers": ("bob",)}), text, **more)
    assert (found.intent, rules(found)) == (intent, matched)


AFTER = RouterSpec(
    after=(
        RouterRule(id="dear", intent="human", risks=(Risk.HIGH,), pattern=r"\$[0-9]{4,}"),
        RouterRule(id="no-money-by-sms", intent="human", intents=("refund",), channels=("sms",)),
        RouterRule(id="stray", intent="policy_question", intents=("out_of_scope",)),
    )
)


@pytest.mark.parametrize(
    ("text", "channel", "intent", "matched"),
    [
        ("I want a refund for order A-1001", "sms", "human", ["no-money-by-sms"]),
        ("I want a refund of $9000", "sms", "human", ["dear", "no-money-by-sms"]),
        ("I want a refund for order A-1001", "web", "refund", []),
        ("Track my package", "sms", "order_status", []),
        ("What is the capital of France?", "web", "policy_question", ["stray"]),
    ],
)
async def test_a_rule_after_sees_the_classified_intent(
    text: str, channel: str, intent: str, matched: list[str]
) -> None:
    found = await route(bundle(router=AFTER), text, channel=channel)
    assert (found.intent, rules(found)) == (intent, matched)
    assert any(why.kind == "example" for why in found.why)


YAML = """\
name: ordered
version: "1"
intents:
  zebra: {rules: [{id: z, pattern: horse}, {id: z2, pattern: stripes}], refusal: z}
  ant: {rules: [{id: a, pattern: 'horse|ant'}], refusal: a}
  out_of_scope: {refusal: "No."}
"""


def test_rules_are_tried_in_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").write_text(YAML)
    compiled = compile_bundle(tmp_path)
    write_bundle(compiled, tmp_path / "built.json")
    for one in (compiled, compile_bundle(tmp_path / "built.json")):
        assert list(one.intents) == ["ant", "out_of_scope", "zebra"]
        found = Classifier(one).classify("a horse with stripes")
        assert found.intent == "zebra"
        assert [why.reference for why in found.why] == ["z", "z2", "a"]
        assert [why.score for why in found.why] == [1.0, None, None]


def test_a_bundle_without_an_order_goes_by_name_and_keeps_its_digest(tmp_path: Path) -> None:
    ordered = YAML.replace("zebra", "aardvark")
    (tmp_path / "bundle.yaml").write_text(ordered)
    assert "rule_order" not in compile_bundle(tmp_path).router.model_dump()
    rule = IntentRule(id="r", pattern="horse")
    old = Bundle(name="o", version="1", intents={n: Intent(rules=(rule,)) for n in ("c", "b")})
    old = Bundle.model_validate_json(canonical_json(old))
    assert Classifier(old).classify("horse").intent == "b"
    assert "overrides" not in old.model_dump()


OVERRIDES = (
    Override(id="big-money", effect="confirm", risks=(Risk.HIGH,)),
    Override(id="cards", effect="block", personal=("CARD",), reply="Never write card numbers."),
    Override(id="no-phone", effect="block", channels=("phone",), roles=("customer",)),
    Override(id="globex", effect="review", tenants=("globex",), review_class="fraud"),
)
GUARDED = bundle(overrides=OVERRIDES, privacy=PrivacySpec(kinds=("CARD",)))


@pytest.mark.parametrize(
    ("text", "more", "ids"),
    [
        ("I want a refund for order A-1001", {}, ("big-money",)),
        ("I want a refund for order A-1001", {"tenant": "globex"}, ("big-money", "globex")),
        ("Track my package", {}, ()),
        ("Track my package", {"channel": "phone", "principal": Principal(user="a", role="x")}, ()),
    ],
)
async def test_the_route_names_the_overrides_of_its_class(
    text: str, more: dict[str, Any], ids: tuple[str, ...]
) -> None:
    assert (await route(GUARDED, text, **more)).overrides == ids


@pytest.mark.parametrize(
    ("text", "channel", "reply", "why"),
    [
        ("Track my package, card 4111 1111 1111 1111", "web", "Never write card numbers.", "cards"),
        ("Track my package", "phone", "This cannot be asked for here.", "no-phone"),
        ("What is the capital of France?", "phone", "This cannot be asked for here.", "no-phone"),
    ],
)
async def test_a_blocked_class_ends_at_the_router(
    text: str, channel: str, reply: str, why: str
) -> None:
    found = await outcome(GUARDED, text, channel=channel)
    assert isinstance(found, Answer)
    assert found.text == reply
    assert [one.code for one in found.failures] == [FailureCode.REQUEST_BLOCKED]
    assert found.failures[0].message == f"blocked by the override {why}"


GOOD = """\
name: small
version: "1"
intents:
  ask: {examples: ["How much?"], output: default, model: default}
  out_of_scope: {refusal: "No."}
models:
  default: {candidates: [{provider: extractive, model: extractive-1}]}
  choosing: {candidates: [{provider: openai, model: m, tasks: [classify]}]}
groups: {testers: [bob]}
privacy: {kinds: [CARD]}
router:
  classifier: {model: choosing, upwards: [ask]}
  before: [{id: b, intent: ask, groups: [testers]}]
  after: [{id: a, intent: ask, intents: [out_of_scope]}]
overrides: [{id: o, effect: review, review_class: x, personal: [CARD]}]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("groups: [testers]}", "groups: [tester]}", "did you mean 'testers'"),
        ("intent: ask, groups", "intent: asking, groups", "no intent 'asking'"),
        ("id: b, intent: ask, groups: [testers]", "id: b, intent: ask", "takes every request"),
        ("groups: [testers]}", "intents: [ask]}", "put the rule under after"),
        ("groups: {", "reviewers: {general: [tester]}\ngroups: {", "did you mean 'testers'"),
        ("groups: {", "reviewers: {general: []}\ngroups: {", "nobody may decide about general"),
        ("groups: [testers]}", "pattern: '('}", "not a regular expression"),
        ("{id: a,", "{id: b,", "'b' is taken"),
        ("effect: review, review_class: x", "effect: block, review_class: x", "no review class"),
        ("effect: review, review_class: x", "effect: confirm, reply: x", "only a block"),
        ("review, review_class: x", "block, answers: true", "a block is about actions"),
        ("review, review_class: x", "confirm, answers: true", "a confirm is about actions"),
        ("router:", "outputs: {default: {review_class: x}}\nrouter:", "nobody is asked to review"),
        ("personal: [CARD]", "personal: [EMAIL]", "not looked for"),
        (", personal: [CARD]", "", "takes every request"),
        ("router:", "router:\n  rule_order: [nobody]", "no intent 'nobody'"),
        ("model: choosing,", "model: chosing,", "did you mean 'choosing'"),
        ("upwards: [ask]", "upwards: [asks]", "did you mean 'ask'"),
        ("upwards: [ask]", "intents: [nobody]", "no intent 'nobody'"),
        ("upwards: [ask]", "intents: [out_of_scope], upwards: [ask]", "none of the intents"),
        ("upwards: [ask]", "timeout_s: 0", "greater than 0"),
        ("tasks: [classify]", "tasks: [answer]", "may ever be asked"),
        ("default, model: default}", "default, model: default, data_class: x}", "ever be asked"),
        ("model: choosing,", "model: default,", "it chooses no intent"),
        ("id: o,", "id: o, confidence: 0.5,", "unknown key"),
    ],
)
def test_what_a_bundle_check_refuses(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "answer.jinja").write_text("{{ request.text }}")
    file = tmp_path / "bundle.yaml"
    file.write_text(GOOD)
    compile_bundle(tmp_path)
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(BundleError, match=r"bundle\.yaml:[0-9]+") as caught:
        compile_bundle(tmp_path)
    assert message in str(caught.value)
