"""Declaring limits and sequence rules: what a contract may say, and what mistakes are told."""

from typing import Any

import pytest
from pydantic import Field
from tests.unit.rules_world import BUNDLE, GetOrder, PayOut

from interlock.bundles.model import Intent
from interlock.bundles.rules import check_rules as check_bundle
from interlock.contract_validator.rules import span, words_of
from interlock_contracts.rules import after, limit, seconds
from interlock_contracts.tools import ToolArguments, fact, tool, tool_spec


def test_spans_of_time() -> None:
    assert [seconds(one) for one in ("minute", "15m", "36h", "day", "2w", 5)] == [
        60, 900, 129_600, 86_400, 1_209_600, 5
    ]  # fmt: skip
    assert [span(one) for one in (86_400, 129_600, 90, 61)] == [
        "1 day", "36 hours", "90 seconds", "61 seconds"
    ]  # fmt: skip
    for wrong in ("month", "0h", "1y", ""):
        with pytest.raises(ValueError, match="span of time"):
            seconds(wrong)


def test_rules_in_words() -> None:
    assert words_of(limit(500, per="week", sum="cents", by=(), name="money")) == (
        "at most 500 cents of money in 1 week"
    )


def test_a_contract_without_rules_keeps_its_bytes() -> None:
    data = tool_spec(GetOrder).model_dump(mode="json")
    assert not {"limits", "after"} & set(data)
    assert {"limits"} <= set(tool_spec(PayOut).model_dump(mode="json"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"limits": [limit(2, per="day", by="customer")]}, "count by 'user'"),
        ({"limits": [limit(2, per="day", by="arguments.nobody")]}, "no such argument"),
        ({"limits": [limit(2, per="day", by="facts.sale.customer")]}, "no fact 'sale'"),
        ({"limits": [limit(2, per="day", by="facts.order.vip")]}, "does not always return it"),
        ({"limits": [limit(1.5, per="day")]}, "a whole number"),
        ({"limits": [limit(5, per="day", sum="euros")]}, "no argument 'euros'"),
        ({"limits": [limit(5, per="day", sum="order_id")]}, "is no number"),
        ({"limits": [limit(5, per="day", sum="signed")]}, "may be negative"),
        (
            {"limits": [limit(5, per="day", name="a"), limit(5, per="day", name="a", sum="cents")]},
            "two different things",
        ),
        ({"after": [after("nothing")]}, "no such tool"),
        ({"after": [after("changed")]}, "cannot wait for itself"),
        ({"after": [after("get_order", same=["cents"])]}, "get_order has no argument 'cents'"),
        ({"after": [after("get_order", same={"order_id": "x"})]}, "changed has no argument 'x'"),
        ({"after": ["send_gift"]}, "intent 'small' has no send_gift"),
    ],
)
def test_mistakes_in_rules_are_told(changes: dict[str, Any], told: str) -> None:
    @tool(effect="write", facts=[fact("order", get="get_order", order_id="order_id")], **changes)
    class Changed(ToolArguments):
        order_id: str
        cents: int = Field(gt=0)
        signed: int

    spec = tool_spec(Changed)
    intents = {"small": Intent(tools=("changed", "get_order"))}
    bundle = BUNDLE.model_copy(
        update={"tools": {**BUNDLE.tools, spec.name: spec}, "intents": intents}
    )
    problems = [one for one in check_bundle(bundle) if "changed" in one]
    assert any(told in one for one in problems), problems


def test_the_rules_above_are_in_order() -> None:
    assert list(check_bundle(BUNDLE)) == []
