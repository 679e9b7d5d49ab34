"""A tool contract is written as a model and read as data."""

from typing import Any

import pytest
from pydantic import Field, ValidationError

from interlock_contracts.routing import Risk
from interlock_contracts.tools import FactSpec, ToolArguments, ToolSpec, fact, tool, tool_spec
from interlock_contracts.verdict import Origin


@tool(
    effect="write",
    risk="high",
    roles=["customer"],
    accepts={"amount_cents": ["fact"]},
    facts=[fact("order", get="get_order", order_id="order_id")],
    summary="Refund {order_id}",
)
class CreateRefund(ToolArguments):
    """Refund money
    of an order."""

    order_id: str = Field(pattern=r"^[A-Z]-[0-9]{4}$")
    amount_cents: int = Field(gt=0)


@tool(effect="read")
class GetOrder(ToolArguments):
    """Look an order up."""

    order_id: str


def test_a_tool_becomes_data_that_round_trips() -> None:
    spec = tool_spec(CreateRefund)
    assert (spec.name, spec.description) == ("create_refund", "Refund money of an order.")
    assert (spec.effect, spec.risk, spec.roles) == ("write", Risk.HIGH, ("customer",))
    assert spec.accepts == {"amount_cents": (Origin.FACT,)}
    assert spec.facts == (
        FactSpec(name="order", tool="get_order", arguments={"order_id": "order_id"}),
    )
    assert spec.parameters["required"] == ["order_id", "amount_cents"]
    assert spec.parameters["additionalProperties"] is False
    assert ToolSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_write_whose_outcome_is_unknown_goes_to_a_person_by_default() -> None:
    assert tool_spec(CreateRefund).recovery == "operator"
    assert tool_spec(GetOrder).recovery == "idempotent"


def test_a_contract_is_not_inherited() -> None:
    class Bigger(CreateRefund):
        pass

    for model in (Bigger, ToolArguments):
        with pytest.raises(TypeError, match="is no tool"):
            tool_spec(model)


@pytest.mark.parametrize(
    "arguments",
    [
        {"order_id": "A-1042"},
        {"order_id": "A-1042", "amount_cents": "100"},
        {"order_id": "A-1042", "amount_cents": 100.0},
        {"order_id": "A-1042", "amount_cents": 0},
        {"order_id": "A-1042\n", "amount_cents": 1},
        {"order_id": "A-1042", "amount_cents": 1, "tenant": "umbra"},
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any]) -> None:
    CreateRefund.model_validate({"order_id": "A-1042", "amount_cents": 100})
    with pytest.raises(ValidationError):
        CreateRefund.model_validate(arguments)


def test_an_unknown_origin_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="rumour"):

        @tool(effect="read", accepts={"order_id": ["rumour"]})
        class Bad(ToolArguments):
            order_id: str
