"""Personal data at the router: what goes on are placeholders."""

import pytest
from tests.unit.test_router import BUNDLE, USING, request_input, turn

from interlock.bundles.model import Bundle, Intent, IntentRule
from interlock.bundles.privacy import PrivacySpec, Recogniser
from interlock.intent_router.stage import decide
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft
from interlock_contracts.answer import Answer
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode

PRIVATE = Bundle.model_validate(BUNDLE.model_dump() | {"privacy": PrivacySpec()})
MAIL = "ana@example.com"


async def routed(text: str, bundle: Bundle = PRIVATE, *history: str) -> Draft:
    turns = tuple(turn("user", one) for one in history)
    return (await decide(request_input(text, bundle=bundle, history=turns), USING))[-1]


async def test_the_case_that_goes_on_has_placeholders_and_their_places() -> None:
    draft = await routed(f"Where is my parcel? Write to {MAIL}", PRIVATE, f"I am {MAIL}")
    case = draft.data
    assert isinstance(case, Case)
    assert case.request.text == "Where is my parcel? Write to [EMAIL_1]"
    assert case.request.history[0].text == "I am [EMAIL_1]"
    assert [(one.kind, one.turn, one.start) for one in case.personal] == [
        ("EMAIL", 0, 5),
        ("EMAIL", None, 29),
    ]
    assert MAIL not in case.model_dump_json()


async def test_a_bundle_that_does_not_ask_for_it_redacts_nothing() -> None:
    draft = await routed(f"Where is my parcel? Write to {MAIL}", BUNDLE)
    assert isinstance(draft.data, Case)
    assert MAIL in draft.data.request.text
    assert "personal" not in draft.data.model_dump(mode="json")


async def test_personal_data_does_not_change_the_intent() -> None:
    for bundle in (BUNDLE, PRIVATE):
        draft = await routed(f"Where is my parcel? {MAIL}, 905-674-3793", bundle)
        assert isinstance(draft.data, Case)
        assert draft.data.route is not None
        assert draft.data.route.intent == "order_status"


async def test_a_long_conversation_is_redacted_the_same() -> None:
    draft = await routed(f"Where is my parcel? {MAIL}", PRIVATE, f"{MAIL} " * 1_000)
    assert isinstance(draft.data, Case)
    assert draft.data.request.text == "Where is my parcel? [EMAIL_1]"
    assert draft.data.request.history[0].text.startswith("[EMAIL_1] [EMAIL_1] ")


async def test_a_request_too_long_for_its_placeholders_is_refused() -> None:
    draft = await routed(" ".join(f"::{number:x}" for number in range(2_500)))
    assert isinstance(draft.data, Answer)
    assert draft.data.failures[0].code is FailureCode.OVERSIZE


async def test_a_pattern_that_takes_too_long_ends_the_request_and_not_the_service() -> None:
    hostile = Recogniser(kind="X", pattern=r"(a|aa|aaa)+$")
    spec = PrivacySpec(recognisers=(hostile,))
    with pytest.raises(NeverRetry, match="took longer"):
        await routed("a" * 10_000 + "b", BUNDLE.model_copy(update={"privacy": spec}))


async def test_a_rule_that_takes_too_long_does_the_same() -> None:
    rule = IntentRule(id="slow", pattern=r"(a|aa|aaa)+$")
    bundle = Bundle(name="b", version="1", intents={"slow": Intent(rules=(rule,))})
    with pytest.raises(NeverRetry, match="took longer"):
        await routed("a" * 10_000 + "b", bundle)
