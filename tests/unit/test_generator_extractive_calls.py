"""The extractive model: filling slots and proposing calls."""

import pytest
from tests.support.extractive import (
    ADDRESS,
    AMOUNT,
    GET_ORDER,
    MOVE,
    ORDER_ID,
    REASON,
    REFUND,
    ask,
    refused,
    said,
    spec,
)

from interlock.models.extractive.model import answer
from interlock.models.extractive.slots import fill, find
from interlock.models.parse import Output
from interlock_contracts.proposal import ToolCall

# filling slots


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("refund $45 please", (4500,)),
        ("45.50 dollars", (4550,)),
        ("€12", (1200,)),
        ("12,50 €", (1250,)),
        ("I want £1,00 back", (100,)),
        ("$999.9", (99990,)),
        ("$1,000.00", (100000,)),
        ("99 cents", (99,)),
        ("$20, yes $20", (2000,)),
        ("I paid $60, give me $20", (6000, 2000)),
        ("order 4500", ()),
        ("-$45", ()),
        ("$0", ()),
        ("$45.505", ()),
        ("$2,000,000", ()),
        ("A-1001", ()),
    ],
)
def test_amounts_of_money(text: str, cents: tuple[int, ...]) -> None:
    assert find(AMOUNT, text) == cents


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("order A-1001.", ("A-1001",)),
        ("(A-1001), B-2002", ("A-1001", "B-2002")),
        ("order a-1001", ("A-1001",)),
        ("XA-1001", ()),
        ("A-10012", ()),
        ("A-1001-7", ()),
    ],
)
def test_patterns(text: str, found: tuple[str, ...]) -> None:
    assert find(ORDER_ID, text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("it arrived damaged", ("damaged",)),
        ("you sent the wrong items", ("wrong item",)),
        ("an item came late", ("late",)),
        ("I do not like it", ()),
    ],
)
def test_members_of_an_enum(text: str, found: tuple[str, ...]) -> None:
    assert find(REASON, text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ship A-1001 to 12 Elm Street, Portland please.", ("12 Elm Street, Portland",)),
        ("I want to move it to 12 Elm Street instead", ("12 Elm Street",)),
        ("My new address is 5 St. James Road. Thanks", ("5 St. James Road",)),
        ("send it to my office", ()),
        ("to", ()),
    ],
)
def test_words_after_a_marker(text: str, found: tuple[str, ...]) -> None:
    assert find(ADDRESS, text) == found


@pytest.mark.parametrize("text", ["to " * 5_000, "1," * 8_000, "$" * 16_000, "a-" * 8_000])
def test_long_monotonous_texts_take_no_long_time(text: str) -> None:
    for schema in (ORDER_ID, AMOUNT, REASON, ADDRESS):
        assert len(find(schema, text)) <= 1


def test_text_takes_the_users_own_words() -> None:
    assert find({"type": "string", "x-slot": "text"}, " Call me. ") == ("Call me.",)
    assert find({"type": "string", "maxLength": 3, "x-slot": "text"}, "Call me.") == ()


def test_a_slot_in_a_reference_or_an_optional_is_found() -> None:
    tool = spec("t", "read", "T.", [], a={"$ref": "#/$defs/Id"}, b={"anyOf": [REASON, {}]})
    tool = tool.model_copy(update={"parameters": {**tool.parameters, "$defs": {"Id": ORDER_ID}}})
    assert fill(tool, ["A-1001 is late"]).arguments == {"a": "A-1001", "b": "late"}


def test_the_newest_turn_of_the_user_wins() -> None:
    filled = fill(REFUND, ["make it $30", "refund $20 of A-1001", "or A-1002"])
    assert filled.arguments == {"order_id": "A-1001", "amount_cents": 3000}
    assert filled.missing == ()


# proposing calls


def test_all_slots_filled_makes_the_call() -> None:
    output = answer(ask("Refund $45 of A-1001, it was damaged", REFUND, GET_ORDER))
    arguments = {"order_id": "A-1001", "amount_cents": 4500, "reason": "damaged"}
    assert output == Output(calls=(ToolCall(tool="create_refund", arguments=arguments),))


def test_a_missing_slot_is_asked_for_by_its_description() -> None:
    output = answer(ask("I want a refund of $45", REFUND))
    assert output.calls == ()
    assert said(output) == "Which order is it about (an order number, such as A-1001)?"


def test_the_reply_to_a_question_completes_the_call() -> None:
    output = answer(ask("A-1001", REFUND, history=("I want a refund of $45", "> Which order?")))
    assert output.calls[0].arguments == {"order_id": "A-1001", "amount_cents": 4500}


def test_the_assistants_words_fill_no_slot() -> None:
    output = answer(ask("Refund it", REFUND, history=("> You have A-1001, paid $45.",)))
    assert output.calls == ()


def test_two_amounts_are_asked_about_and_not_guessed() -> None:
    output = answer(ask("I paid $60 for A-1001 and want a $20 refund", REFUND))
    assert output.calls == ()
    assert said(output) == "What is the amount (60.00 or 20.00)?"


def test_two_orders_are_two_look_ups_but_never_two_writes() -> None:
    reads = answer(ask("Where are A-1001 and A-1002?", GET_ORDER))
    assert [c.arguments["order_id"] for c in reads.calls] == ["A-1001", "A-1002"]
    write = answer(ask("Refund $5 on A-1001 and A-1002", REFUND))
    assert write.calls == ()
    assert said(write) == "Which order is it about (A-1001 or A-1002)?"


def test_a_look_up_is_preferred_unless_the_write_is_named() -> None:
    assert answer(ask("Where is A-1001?", REFUND, GET_ORDER)).calls[0].tool == "get_order"
    named = answer(ask("Change the address of A-1001 to 12 Elm Street", GET_ORDER, MOVE))
    assert named.calls[0].tool == "change_address"


def test_a_tool_that_is_not_offered_is_never_called() -> None:
    output = answer(ask("Refund $45 of A-1001", GET_ORDER))
    assert {call.tool for call in output.calls} <= {"get_order"}


def test_declining_does_nothing() -> None:
    output = answer(ask("No, thanks", REFUND, history=("Refund $45 of A-1001", "> Sure?")))
    assert output.calls == ()
    assert "anything else" in said(output)
    assert answer(ask("yes, do it", REFUND, history=("Refund $45 of A-1001", "> Sure?"))).calls


def test_a_refused_argument_is_asked_for_again() -> None:
    text = "Refund $45 of A-1001"
    first = answer(ask(text, REFUND))
    step = refused(first, "/calls/0/arguments/amount_cents")
    second = answer(ask(text, REFUND, steps=(step,)))
    assert second.calls == ()
    assert said(second) == "What is the amount (how much to pay back)?"
    third = answer(ask(text, REFUND, steps=(step, refused(second, "/statements/0"))))
    assert third.abstained


def test_a_call_refused_as_such_is_not_made_again() -> None:
    text = "Refund $45 of A-1001"
    step = refused(answer(ask(text, REFUND)), "/calls/0")
    assert answer(ask(text, REFUND, steps=(step,))).abstained
