"""The embedded model with a request of several parts: all calls first, then all that is to say."""

from pathlib import Path

from tests.unit.gate_world import chunk, make_case, proposal

from interlock.bundles.compile import compile_bundle
from interlock.bundles.routes import ModelCandidate
from interlock.models.extractive.model import answer
from interlock.models.port import ModelRequest
from interlock_contracts.actions import Effect, Result
from interlock_contracts.case import Case, Step
from interlock_contracts.proposal import ToolCall
from interlock_contracts.retrieval import Trust
from interlock_contracts.routing import Part, Risk, Route
from interlock_contracts.verdict import ActionVerdict, Decision, Verdict

BUNDLE = compile_bundle(Path(__file__).parents[2] / "examples/support")
TEXT = "Cancel order A-1005 and how many days do I have to return something?"
HELP = "You have 30 days to return something. Shipping costs $5."
CUT = TEXT.index(" and ")


def part(intent: str, start: int, end: int, *tools: str) -> Part:
    return Part(
        intent=intent,
        risk=Risk.LOW,
        start=start,
        end=end,
        confidence=1.0,
        margin=1.0,
        tools=tools,
        output="default",
    )


ROUTE = Route(
    intent="cancel_order",
    risk=Risk.MEDIUM,
    confidence=1.0,
    margin=1.0,
    sources=("public_help",),
    tools=("cancel_order", "get_order"),
    output="action",
    model_route="default",
    parts=(
        part("cancel_order", 0, CUT, "cancel_order"),
        part("answer_question", CUT + 5, len(TEXT)),
    ),
)
CASE = make_case(
    proposal(), text=TEXT, route=ROUTE, chunks=(chunk("c1", HELP, trust=Trust.TRUSTED),)
)
CALL = ToolCall(tool="cancel_order", arguments={"order_id": "A-1005"})


def request(case: Case) -> ModelRequest:
    contract = BUNDLE.output_of(ROUTE)
    assert contract is not None
    tools = tuple(BUNDLE.tools[name] for name in ROUTE.tools)
    candidate = ModelCandidate(provider="extractive", model="extractive-1")
    return ModelRequest(case, (candidate,), "", tools, contract, case.step, known=tools)


def test_the_call_comes_first_and_then_both_are_told() -> None:
    first = answer(request(CASE))
    assert [call.tool for call in first.calls] == ["cancel_order"]
    assert first.calls[0].arguments["order_id"] == "A-1005"
    verdict = Verdict(
        decision=Decision.APPROVE,
        actions=(
            ActionVerdict(
                action="1-0",
                tool=CALL.tool,
                arguments=CALL.arguments,
                decision=Decision.APPROVE,
                digest=BUNDLE.digest,
            ),
        ),
    )
    landed = Result(
        action="1-0",
        tool=CALL.tool,
        effect=Effect.LANDED,
        effect_key="k",
        output={"status": "cancelled"},
    )
    step = Step(proposal=proposal(CALL), verdict=verdict, results=(landed,))
    told = answer(request(CASE.model_copy(update={"steps": (step,), "step": 2})))
    assert not told.calls
    handles = [one.citations[0].handle for one in told.statements]
    assert handles == ["r1-0", "c1"]
    assert "30 days" in told.statements[1].text


def test_two_questions_are_answered_each_by_its_own_words() -> None:
    text = "How many days do I have to return something? What does shipping cost?"
    at = text.index("? ") + 1
    parts = (part("answer_question", 0, at), part("shipping", at + 1, len(text)))
    route = ROUTE.model_copy(update={"parts": parts, "tools": ()})
    case = CASE.model_copy(
        update={"route": route, "request": CASE.request.model_copy(update={"text": text})}
    )
    told = answer(
        ModelRequest(case, request(case).candidates, "", (), BUNDLE.outputs["default"], 1)
    )
    said = " ".join(one.text for one in told.statements)
    assert "30 days" in said
    assert "$5" in said
