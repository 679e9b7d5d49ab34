"""Values of plain sentences stand in what the model was given, or the answer does not go out."""

from typing import Any

import pytest
from tests.unit.gate_world import (
    World,
    changed_bundle,
    chunk,
    make_case,
    proposal,
    says,
)

from interlock.bundles.model import Bundle, OutputContract
from interlock.contract_validator.checks.values import Given
from interlock_contracts.actions import Effect, Result
from interlock_contracts.case import Case, Step
from interlock_contracts.failures import FailureCode as Code
from interlock_contracts.proposal import ToolCall
from interlock_contracts.request import Turn
from interlock_contracts.verdict import ActionVerdict, Decision, Fact, Verdict

PAGE = (
    "Refunds take five to 7 days and cost 1,250.50 EUR at most. Since 2026-01-31 a 60-day return "
    "is free; write to help@shop.example or call +49 30 123456. Use form R-17, on 3 March 2027."
)


def held_to(values: Any, **contract: Any) -> Bundle:
    given = OutputContract(**{"citations": "none", "values": values} | contract)
    return changed_bundle(outputs={"default": given.model_dump()})


async def wrong(bundle: Bundle, *statements: Any, **case: Any) -> list[tuple[str, str]]:
    """Pointer and message of each value that is missing."""
    given = {"text": "Refund order A-1001 of 19.99 EUR", "chunks": [chunk("c1", PAGE)]} | case
    data = given.pop("data", None)
    made = make_case(proposal(statements=statements, data=data), **given)
    verdict = (await World().judge(made, bundle))["verdict"].verdict
    return [
        (one.path, one.message)
        for one in verdict.violations
        if one.code is Code.VALUE_NOT_IN_SOURCE
    ]


GIVEN = [
    "It takes 5 days.",  # the source says five
    "It takes 5-7 days, or seven.",
    "You have 60 days, a 60-day return, 60days.",
    "At most 1250.5 EUR, that is 1.250,50 €.",
    "It is free since January 31, 2026 (31.01.2026).",
    "It is free since 31 January.",
    "The form R-17 is from 2027-03-03.",
    "Write to HELP@shop.example or call +493012 3456.",
    "You paid 19.99 EUR for order a-1001.",
    "Nobody is asked for a thing. Trust us!",
    "What about 4711?",
    "1. It takes 5 days.",
    "Step 2: write to us, or repeat steps 3-4 and 9.",
    "* Write to us.\n\n3.",
    "Your 60-day-old order is refunded.",
    "## 9 Terms?",
]
INVENTED = {
    "It takes 8 days.": "8",
    "It takes 5-9 days.": "9",
    "You have 90 days.": "90",
    "You have a 90-day return.": "90-day",
    "At most 1,251.50 EUR.": "1,251.50",
    "It costs 15 %.": "15",
    "It is free since 2026-02-01.": "2026-02-01",
    "It is free since February 1st, 2026.": "February 1st, 2026",
    "It is free since 29 January.": "29",
    "Use the form R-18.": "R-18",
    "Write to help@shop.example.evil.org today.": "help@shop.example.evil.org",
    "Call +49 30 123457 now.": "+49 30 123457",
    "Your order A-1002 is here.": "A-1002",
    "See https://shop.example/pay for it.": "https://shop.example/pay",
    "Is it? It takes 8 days.": "8",
    "You paid 1001 EUR.": "1001",  # the tail of A-1001 is no number
    "You paid 1999 EUR.": "1999",  # 19.99 EUR are 1999 cents, not euros
}


@pytest.mark.parametrize("text", GIVEN)
async def test_what_was_given_may_be_said(text: str) -> None:
    assert await wrong(held_to("given"), says(text)) == []


@pytest.mark.parametrize("text", INVENTED)
async def test_what_was_not_is_named(text: str) -> None:
    ((path, message),) = await wrong(held_to("given"), says("Hello."), says(text))
    assert path == "/statements/1/text"
    assert message == f"{INVENTED[text]!r} does not stand in what the model was given"


@pytest.mark.parametrize("text", INVENTED)
async def test_without_the_word_of_the_contract_nothing_is_asked(text: str) -> None:
    assert await wrong(held_to(None), says(text)) == []


async def test_each_value_is_named_once() -> None:
    found = await wrong(held_to("given"), says("It takes 8 days, 8 or 9, not 8. Or 10 days."))
    assert [message.split(" ")[0] for _, message in found] == ["'8'", "'9'", "'10'"]


def test_old_contracts_keep_their_digest() -> None:
    assert {"values", "review_class"}.isdisjoint(OutputContract().model_dump())


# where it may stand


def after_a_call() -> dict[str, Any]:
    """A case whose model has looked up an order, for 4242 cents."""
    call = ToolCall(tool="get_order", arguments={"order_id": "B-7"})
    action = ActionVerdict(
        action="1-0",
        tool="get_order",
        arguments=call.arguments,
        decision=Decision.APPROVE,
        digest="sha256:" + "0" * 64,
    )
    fact = Fact(name="limit", tool="get_limit", arguments={}, value={"left": 3, "share": 0.25})
    output = {"cents": 4242, "days": [11], "when": "2026-05-06T10:00:00Z", "ok": True, "n": None}
    result = Result(
        action="1-0", tool="get_order", effect=Effect.LANDED, effect_key="k", output=output
    )
    verdict = Verdict(decision=Decision.APPROVE, actions=(action,), facts=(fact,))
    step = Step(proposal=proposal(call), verdict=verdict, results=(result,))
    return {"step": 2, "steps": (step,)}


@pytest.mark.parametrize(
    "text",
    [
        "It was 42.42 EUR, or 4242 cents.",
        "In 11 days, on 6 May 2026 at 10:00.",
        "Order B-7 has 3 left, and 25 % off.",
    ],
)
async def test_what_systems_said_may_be_said(text: str) -> None:
    assert await wrong(held_to("given"), says(text), **after_a_call()) == []
    assert await wrong(held_to("given"), says(text)) != []


async def test_the_conversation_may_be_repeated() -> None:
    history = [Turn(role="user", text="I am 44."), Turn(role="assistant", text="You have 45 left.")]
    for text in ("You are 44.", "As said, you have 45 left."):
        assert await wrong(held_to("given"), says(text), history=history) == []
        assert await wrong(held_to("given"), says(text)) != []


# sentences that cite

TWO = [chunk("c1", "Returns are free for 60 days."), chunk("c2", "Delivery takes 9 days.")]


@pytest.mark.parametrize(
    ("values", "citing", "missing"),
    [
        ("given", "You have 9 days for order A-1001.", 0),
        ("cited", "You have 9 days for order A-1001.", 1),
        ("cited", "You have 60 days for order A-1001.", 0),
        ("given", "You have 61 days.", 1),
    ],
)
async def test_a_sentence_that_cites_may_be_held_to_what_it_cites(
    values: str, citing: str, missing: int
) -> None:
    cited = says(citing, ("c1", "Returns are free"))
    found = await wrong(held_to(values), says("It takes 9 days."), cited, chunks=TWO)
    where = "this cites or what was asked" if values == "cited" else "the model was given"
    assert len(found) == missing
    assert all(path == "/statements/1/text" and where in message for path, message in found)


async def test_a_result_is_cited_like_a_passage() -> None:
    cited = says("It was 42.42 EUR.", ("r1-0", '"cents":4242'))
    assert await wrong(held_to("cited"), cited, **after_a_call()) == []
    other = says("It was 42.42 EUR.", ("c1", "Refunds"))
    assert len(await wrong(held_to("cited"), other, **after_a_call())) == 1


# data


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        ({"days": 60, "order": "A-1001"}, []),
        ({"days": 61, "order": "A-1002"}, ["/data/days", "/data/order"]),
        ({"free": True, "none": None}, []),
    ],
)
async def test_data_is_held_to_what_was_given(data: dict[str, Any], missing: list[str]) -> None:
    bundle = held_to("given", json_schema={"properties": {name: {} for name in data}})
    found = await wrong(bundle, says("Here it is."), data=data)
    assert [path for path, _ in found] == missing


def test_number_words_of_a_source() -> None:
    given = Given(["Within twenty-four hours, forty two minutes, a dozen, on the third, a hundred"])
    assert list(given.lacks("24, 42, 12, 3, 100 and 41")) == ["41"]


def test_a_case_without_anything_gives_nothing() -> None:
    assert list(Given([]).lacks("It takes 5 days.")) == ["5"]
    assert list(Given([]).lacks("It takes days.")) == []


async def test_wrong_values_go_back_for_repair() -> None:
    made = make_case(proposal(statements=[says("It takes 8 days.")]), chunks=[chunk("c1", PAGE)])
    found = await World().judge(made, held_to("given"))
    assert isinstance(found["repair"], Case)
    assert found["repair"].steps[0].verdict.violations[0].path == "/statements/0/text"


@pytest.mark.parametrize(
    "unit", ["a-", "-", "9", "1.111", "1,", "\n", "a.", "x@", "steps 1 and ", "a1-"]
)
def test_a_text_made_to_take_long_does_not(unit: str) -> None:
    """What takes the square of the length would not come to an end before the test is stopped."""
    text = unit * (200_000 // len(unit))
    list(Given(["It takes 5 days."]).lacks(text))
    assert list(Given([text]).lacks("Order A-4711")) == ["A-4711"]
