"""What the extractive model is asked in tests, and how its output is read."""

from typing import Any

from interlock.bundles.model import OutputContract
from interlock.models.parse import Output
from interlock.models.port import ModelRequest
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case, Step
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import ModelRecord, Proposal
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.retrieval import Chunk, Context, RetrievalOutcome
from interlock_contracts.routing import Risk
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import Decision, Verdict, violation

REQUEST_ID = "01JD0000000000000000000000"
ZERO = "sha256:" + "0" * 64
ORDER_ID = {
    "type": "string",
    "pattern": "^[A-Z]-[0-9]{4}$",
    "description": "An order number, such as A-1001.",
    "x-slot": "pattern",
}
AMOUNT = {
    "type": "integer",
    "exclusiveMinimum": 0,
    "maximum": 100_000,
    "description": "How much to pay back.",
    "x-slot": "money_cents",
}
REASON = {"enum": ["damaged", "wrong item", "late", "other"], "default": "other", "x-slot": "enum"}
ADDRESS = {
    "type": "string",
    "minLength": 10,
    "x-slot": "after",
    "x-after": ["new address is", "to"],
}


def spec(name: str, effect: Any, description: str, required: list[str], **properties: Any) -> Any:
    return ToolSpec(
        name=name,
        description=description,
        effect=effect,
        risk=Risk.LOW,
        recovery="operator",
        parameters={"type": "object", "properties": properties, "required": required},
        summary={
            "create_refund": "Refund {amount_cents} cents of order {order_id}",
            "get_order": "Look up order {order_id}",
        }.get(name, ""),
    )


GET_ORDER: ToolSpec = spec(
    "get_order", "read", "Look up one order.", ["order_id"], order_id=ORDER_ID
)
REFUND: ToolSpec = spec(
    "create_refund",
    "write",
    "Pay money of an order back.",
    ["order_id", "amount_cents"],
    order_id=ORDER_ID,
    amount_cents=AMOUNT,
    reason=REASON,
)
MOVE: ToolSpec = spec(
    "change_address",
    "write",
    "Change the delivery address of an order.",
    ["order_id", "address"],
    order_id=ORDER_ID,
    address=ADDRESS,
)

RETURNS = """# Returns

You have **30 days** to return
an item. Used items are not taken back.

## Labels

- The return label is free within the country.
- For other countries you pay the postage yourself.

| zone | cost |
| --- | --- |
| Canada | 12 dollars shipping |
"""
CARE = "# Kettle care\n\nDescale the kettle every 3 months. Never put the base in water."


def chunk(number: int, text: str, title: str = "", score: float = 1.0) -> Chunk:
    return Chunk(
        handle=f"c{number}",
        chunk_id=f"chunk-{number}",
        document_id=f"doc-{number}",
        version=ZERO,
        digest=digest_bytes(text.encode()),
        source="help",
        tenant="acme",
        title=title,
        text=text,
        score=score,
    )


CHUNKS = (chunk(1, RETURNS, "Returns", 0.9), chunk(2, CARE, "Kettle care", 0.6))


def ask(
    text: str,
    *tools: ToolSpec,
    chunks: tuple[Chunk, ...] = (),
    history: tuple[str, ...] = (),
    steps: tuple[Step, ...] = (),
    contract: OutputContract | None = None,
) -> ModelRequest:
    turns = tuple(
        Turn(role="assistant" if said.startswith(">") else "user", text=said.lstrip("> "))
        for said in history
    )
    request = Request(
        request_id=REQUEST_ID,
        tenant="acme",
        principal=Principal(user="u1", role="customer"),
        text=text,
        history=turns,
    )
    context = Context(outcome=RetrievalOutcome.FOUND, chunks=chunks) if chunks else None
    case = Case(request=request, bundle=ZERO, context=context, steps=steps, step=len(steps))
    contract, step = contract or OutputContract(), len(steps) + 1
    return ModelRequest(case, (), "", tools, contract, step, known=tools)


def record(provider: str = "extractive") -> ModelRecord:
    return ModelRecord(route="default", provider=provider, model="m", prompt=ZERO, output="{}")


def said(output: Output) -> str:
    return "\n".join(statement.text for statement in output.statements)


def refused(output: Output, *paths: str) -> Step:
    proposal = Proposal(statements=output.statements, calls=output.calls, model=record())
    violations = tuple(violation(FailureCode.FORBIDDEN_CONTENT, path, "no") for path in paths)
    return Step(proposal=proposal, verdict=Verdict(decision=Decision.REPAIR, violations=violations))
