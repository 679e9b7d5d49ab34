"""The tools of the support feature, as contracts. What they do is in `shop.py`.

`x-slot` tells the deterministic `extractive` model how to fill an argument; real models see
it as part of the schema and may ignore it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from interlock_contracts.rules import limit
from interlock_contracts.tools import ToolArguments, fact, tool

OrderId = Annotated[
    str,
    Field(
        pattern=r"^[AG]-[0-9]{4}$",
        description="An order number, such as A-1001.",
        json_schema_extra={"x-slot": "pattern"},
    ),
]

Reason = Literal["damaged", "wrong item", "late", "faulty", "changed my mind", "other"]


class Order(BaseModel):
    """One order, as the shop's database has it. Policies judge by it."""

    order_id: str
    customer: str
    items: str
    placed_on: str
    status: Literal["processing", "shipped", "delivered", "cancelled"]
    address: str
    paid_cents: int
    refunded_cents: int
    refundable_cents: int
    summary: str


class Refund(BaseModel):
    """Money that was paid back."""

    refund_id: str
    order_id: str
    amount_cents: int
    summary: str


class Receipt(BaseModel):
    """A receipt on its way by e-mail."""

    order_id: str
    email: str
    summary: str


ORDER = fact("order", get="get_order", order_id="order_id")


@tool(
    effect="read",
    roles=["customer", "agent"],
    facts=[ORDER],
    returns=Order,
    summary="Look up order {order_id}",
)
class GetOrder(ToolArguments):
    """Look up one order: its items, status, delivery address, and what was paid and refunded."""

    order_id: OrderId


@tool(
    effect="write",
    risk="high",
    recovery="idempotent",
    roles=["customer", "agent"],
    facts=[ORDER],
    limits=[limit(5, per="week", by="arguments.order_id")],
    returns=Refund,
    summary="Refund {amount_cents} cents of order {order_id}",
)
class CreateRefund(ToolArguments):
    """Pay money of an order back to the means it was paid with."""

    order_id: OrderId
    amount_cents: int = Field(
        gt=0,
        le=1_000_000,
        description="How much to pay back, in cents.",
        json_schema_extra={"x-slot": "money_cents"},
    )
    reason: Reason = Field(
        default="other",
        description="Why the money goes back.",
        json_schema_extra={"x-slot": "enum"},
    )


@tool(
    effect="write",
    risk="medium",
    recovery="idempotent",
    roles=["customer", "agent"],
    facts=[ORDER],
    returns=Order,
    summary="Cancel order {order_id}",
)
class CancelOrder(ToolArguments):
    """Cancel an order that has not been shipped; what was paid goes back in full."""

    order_id: OrderId


@tool(
    effect="write",
    risk="medium",
    recovery="reconcile",
    roles=["customer", "agent"],
    facts=[ORDER],
    accepts={"address": ["user"]},
    returns=Order,
    summary="Deliver order {order_id} to {address}",
)
class ChangeAddress(ToolArguments):
    """Change the delivery address of an order that has not been shipped."""

    order_id: OrderId
    address: str = Field(
        min_length=10,
        max_length=200,
        description="The new delivery address, on one line.",
        json_schema_extra={
            "x-slot": "after",
            "x-after": ["new address is", "new address:", "deliver it to", "to"],
        },
    )


@tool(
    effect="external",
    risk="medium",
    recovery="idempotent",
    roles=["customer", "agent"],
    facts=[ORDER],
    accepts={"email": ["user"]},
    returns=Receipt,
    summary="Send the receipt of order {order_id} to {email}",
)
class SendReceipt(ToolArguments):
    """Send the receipt or invoice of an order to an e-mail address."""

    order_id: OrderId
    email: str = Field(
        pattern=r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$",
        max_length=254,
        description="The e-mail address it goes to.",
        json_schema_extra={"x-slot": "pattern", "x-personal": "EMAIL"},
    )
