"""Every code of the gate has a case that gets it and a neighbour that gets none.

The codes are read out of the gate's own source: a new one without its two cases fails here.
"""

import ast
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gate_world import (
    ANN,
    BUNDLE,
    CHUNKS,
    NOW,
    ROUTE,
    World,
    changed_bundle,
    chunk,
    event,
    make_case,
    proposal,
    refund,
    says,
)
from tests.unit.rules_world import Shop

import interlock.contract_validator
from interlock.bundles.classes import Override
from interlock.bundles.model import Bundle, OutputContract
from interlock.contract_validator.stage import decide
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input
from interlock_contracts.actions import Result
from interlock_contracts.answer import Answer
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode as Code
from interlock_contracts.proposal import Proposal, ToolCall
from interlock_contracts.request import Principal
from interlock_contracts.retrieval import RetrievalOutcome

Seen = Callable[[], Awaitable[set[Code]]]

NOT_OF_A_DECISION = {
    Code.STAGE_FAILED: "the gate's own trouble: the log, a key or the shadow; nothing is decided",
    Code.ROLE_NOT_ALLOWED: "the router's; the gate only knows that it is not repaired",
}

CITED = says("Refunds take five days.", ("c1", "Refunds take five days."))
WORDS = proposal(statements=[CITED])
READ = ToolCall(tool="get_order", arguments={"order_id": "A-1001"})


def codes_of(drafts: Sequence[Draft]) -> set[Code]:
    """Every code that is said anywhere in what follows."""
    found: set[Code] = set()
    for draft in drafts:
        data = draft.data
        if isinstance(data, Case) and data.verdict is not None:
            found |= {one.code for one in data.verdict.violations}
            found |= {one.code for action in data.verdict.actions for one in action.concerns}
        elif isinstance(data, Answer):
            found |= {one.code for one in data.failures}
        elif isinstance(data, Result) and data.failure is not None:
            found.add(data.failure.code)
    return found


async def caught(work: Awaitable[Sequence[Draft]]) -> set[Code]:
    try:
        return codes_of(await work)
    except NeverRetry as error:
        return {error.code}


async def judged(wanted: Proposal, bundle: Bundle = BUNDLE, **case: Any) -> set[Code]:
    """What the gate says of a proposal."""
    return await caught(World().decide_proposal(make_case(wanted, **case), bundle))


async def held_to(contract: dict[str, Any], text: str, quote: str = "Refunds take") -> set[Code]:
    """What the gate says of a sentence under an output contract."""
    given = OutputContract.model_validate(contract).model_dump()
    bundle = changed_bundle(outputs={"default": given})
    return await judged(proposal(statements=[says(text, ("c1", quote))]), bundle)


async def structured(data: dict[str, Any] | None, **contract: Any) -> set[Code]:
    """What the gate says of an English answer in one section, with data or without."""
    given = OutputContract.model_validate({"citations": "none", **contract}).model_dump()
    text = "## Answer\n\nYou can return what you have bought within thirty days of its delivery."
    cited = [("c1", "The limit is 500 EUR.")] if given["citations"] != "none" else []
    wanted = proposal(statements=[says(text, *cited)], data=data)
    return await judged(wanted, changed_bundle(outputs={"default": given}))


BOB_REVIEWS = changed_bundle(groups={"leads": ("bob",)}, reviewers={"refunds": ("leads",)})


async def decided(
    *,
    amount: int = 10_100,
    by: str = "bob",
    kind: str = "reviewed",
    bundle: Bundle = BUNDLE,
    **how: Any,
) -> set[Code]:
    """What follows from a person's decision; a review unless said otherwise."""
    world = World()
    text = f"Refund A-1001 {amount / 100:.2f} EUR"
    found = await world.judge(make_case(proposal(refund(amount)), text=text), bundle)
    return await caught(world.person(found["verdict"], by, kind=kind, bundle=bundle, **how))


async def of_an_answer(decision: Any = "approve", **how: Any) -> set[Code]:
    """What is said of a decision about an answer that an override holds."""
    seen = Override(id="seen", effect="review", answers=True, tenants=("acme",))
    bundle, world = changed_bundle(overrides=(seen.model_dump(),)), World()
    case = make_case(WORDS).model_copy(update={"bundle": bundle.digest})
    found = await world.judge(case, bundle)
    return await caught(world.person(found["verdict"], "bob", decision, bundle=bundle, **how))


async def in_shop(*calls: tuple[str, dict[str, Any]], before: int = 0) -> set[Code]:
    """What the gate says of calls that rules apply to, after so many refunds."""
    shop = Shop()
    for number in range(before):
        await shop.propose(("create_refund", {"order_id": f"A-{number}", "cents": 100}))
    verdict = await shop.propose(*calls)
    return {one.code for one in verdict.violations}


async def of_event(name: str, step: str = "1", **changes: Any) -> set[Code]:
    """What follows from an event that carries a case."""
    case = make_case(WORDS).model_copy(update=changes)
    world = World()
    world.came_from(make_case(WORDS))
    given = Input(event(name, step, case), BUNDLE, NOW, case)
    return await caught(decide(given, world.capabilities))


def with_order(paid_cents: int) -> Seen:
    async def judge() -> set[Code]:
        world = World()
        world.orders["A-1001"] = {"customer": "ann", "paid_cents": paid_cents}
        return await caught(world.decide_proposal(make_case(proposal(refund()))))

    return judge


async def without_order(known: bool) -> set[Code]:
    world = World()
    if not known:
        del world.orders["A-1001"]
    return await caught(world.decide_proposal(make_case(proposal(refund()))))


def abstaining(outcome: RetrievalOutcome) -> tuple[Seen, Seen]:
    nothing = proposal(abstained=True)
    return partial(judged, nothing, outcome=outcome), partial(judged, WORDS)


def calls(tool: str, **arguments: Any) -> Proposal:
    return proposal(ToolCall(tool=tool, arguments=arguments))


def refunds(*given: Any, **more: Any) -> Seen:
    return partial(judged, proposal(refund(*given, **more)))


def policies(text: str) -> Bundle:
    return changed_bundle(policies={"x.cedar": text})


def blocks(tenant: str) -> Bundle:
    one = Override(id="o", effect="block", tenants=(tenant,))
    return changed_bundle(overrides=(one.model_dump(),))


MULTIPLIES = """@id("x") permit(principal, action, resource)
    when { context.request.intent like "*" };
    @id("y") forbid(principal, action == Interlock::Action::"create_refund", resource)
    when { context.arguments.amount_cents * %d > 1999 };"""
LATE = BUNDLE.limits.approval_ttl_s
MANY = [CITED, *[says("Why?")] * 200]
DAYS = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
SLOW = r"(?:x|xx)+y"
ROUTE_OF_ONE_TURN = ROUTE.model_copy(
    update={"budget": ROUTE.budget.model_copy(update={"max_turns": 1})}
)

CASES: dict[Code, tuple[Seen, Seen]] = {
    # retrieval
    Code.NOTHING_INDEXED: abstaining(RetrievalOutcome.NOTHING_INDEXED),
    Code.FILTERED_OUT: abstaining(RetrievalOutcome.FILTERED_OUT),
    Code.RANKED_OUT: abstaining(RetrievalOutcome.RANKED_OUT),
    Code.NOT_RETRIEVED: abstaining(RetrievalOutcome.NOT_RETRIEVED),
    # routing
    Code.REQUEST_BLOCKED: (
        partial(judged, proposal(refund()), blocks("acme")),
        partial(judged, proposal(refund()), blocks("globex")),
    ),
    # tool calls
    Code.TOOL_UNKNOWN: (partial(judged, calls("drop_all")), refunds()),
    Code.TOOL_NOT_ALLOWED: (
        partial(judged, calls("close_shop")),
        partial(
            judged,
            calls("close_shop"),
            text="Close the shop.",
            principal=Principal(user="ann", role="customer", scopes=("ops",)),
        ),
    ),
    Code.ARGUMENTS_INVALID: (refunds("1999"), refunds(1999)),
    Code.ARGUMENT_UNGROUNDED: (refunds(4711), refunds(1999)),
    Code.FACT_UNAVAILABLE: (partial(without_order, False), partial(without_order, True)),
    Code.SEQUENCE_VIOLATION: (
        partial(in_shop, ("cancel_order", {"order_id": "A-1"})),
        partial(in_shop, ("get_order", {"order_id": "A-1"})),
    ),
    Code.LIMIT_EXCEEDED: (
        partial(in_shop, ("create_refund", {"order_id": "A-9", "cents": 100}), before=2),
        partial(in_shop, ("create_refund", {"order_id": "A-9", "cents": 100}), before=1),
    ),
    Code.TURNS_EXHAUSTED: (
        partial(judged, proposal(refund()), route=ROUTE_OF_ONE_TURN),
        partial(judged, proposal(refund())),
    ),
    # people
    Code.APPROVAL_DENIED: (partial(decided, decision="deny"), decided),
    Code.APPROVAL_EXPIRED: (
        partial(decided, after_s=LATE),
        partial(decided, after_s=LATE - 1),
    ),
    Code.APPROVAL_MISMATCH: (partial(decided, digest="sha256:" + "0" * 64), decided),
    Code.REQUESTER_IS_APPROVER: (partial(decided, by="ann"), partial(decided, by="bob")),
    Code.APPROVER_NOT_ALLOWED: (
        partial(decided, by="carol", bundle=BOB_REVIEWS),
        partial(decided, by="bob", bundle=BOB_REVIEWS),
    ),
    # output contracts
    Code.OUTPUT_MALFORMED: (partial(judged, proposal(malformed="no JSON")), partial(judged, WORDS)),
    Code.CITATION_MISSING: (
        partial(judged, proposal(statements=[says("All is well.")])),
        partial(judged, proposal(statements=[says("Is all well?")])),
    ),
    Code.CITATION_NOT_RETRIEVED: (
        partial(judged, proposal(statements=[says("x", ("c7", "Refunds take five days."))])),
        partial(judged, WORDS),
    ),
    Code.QUOTE_NOT_IN_SOURCE: (
        partial(held_to, {}, "Refunds take a while.", "Refunds take a while"),
        partial(held_to, {}, "Refunds take a while.", "Refunds take"),
    ),
    Code.STATEMENT_UNSUPPORTED: (
        partial(
            held_to,
            {"min_support": 0.9},
            "Refunds cost 40 USD.",
        ),
        partial(held_to, {"min_support": 0.9}, "Refunds take five days."),
    ),
    Code.LENGTH_EXCEEDED: (
        partial(judged, proposal(statements=MANY)),
        partial(judged, proposal(statements=MANY[:10])),
    ),
    Code.FORBIDDEN_CONTENT: (
        partial(held_to, {"forbidden": ("guarantee[ds]?",)}, "Guaranteed."),
        partial(held_to, {"forbidden": ("guarantee[ds]?",)}, "Guarded."),
    ),
    Code.PATTERN_TIMEOUT: (
        partial(held_to, {"forbidden": (SLOW,)}, "x" * 60 + "z y"),
        partial(held_to, {"forbidden": (SLOW,)}, "x z y"),
    ),
    Code.DATA_INVALID: (
        partial(structured, {"days": "5"}, json_schema=DAYS),
        partial(structured, {"days": 5}, json_schema=DAYS),
    ),
    Code.VALUE_NOT_IN_SOURCE: (
        partial(structured, {"days": 6}, json_schema=DAYS, citations="every"),
        partial(structured, {"days": 500}, json_schema=DAYS, citations="every"),
    ),
    Code.SECTION_MISSING: (
        partial(structured, None, sections=("Answer", "Contact")),
        partial(structured, None, sections=("Answer",)),
    ),
    Code.LANGUAGE_WRONG: (
        partial(structured, None, language="de"),
        partial(structured, None, language="en"),
    ),
    Code.PLACEHOLDER_UNKNOWN: (
        partial(judged, proposal(refund(iban="[IBAN_9]")), changed_bundle(privacy={})),
        partial(judged, proposal(refund(iban="DE12 3456")), changed_bundle(privacy={})),
    ),
    Code.REPAIRS_EXHAUSTED: (
        partial(judged, proposal(refund(4711)), step=2),
        partial(judged, proposal(refund(1999)), step=2),
    ),
    Code.ANSWER_DENIED: (partial(of_an_answer, "deny"), partial(of_an_answer, "approve")),
    Code.ANSWER_EXPIRED: (partial(of_an_answer, after_s=86_400), partial(of_an_answer, after_s=60)),
    # safety
    Code.POLICY_FORBIDS: (with_order(1_000), with_order(1_999)),
    Code.POLICY_ERROR: (
        partial(judged, proposal(refund()), policies(MULTIPLIES % (2**63 - 1))),
        partial(judged, proposal(refund()), policies(MULTIPLIES % 1)),
    ),
    Code.TENANT_BOUNDARY: (
        partial(judged, WORDS, chunks=[*CHUNKS, chunk("c9", "Theirs.", tenant="globex")]),
        partial(judged, WORDS, chunks=[*CHUNKS, chunk("c9", "Ours.")]),
    ),
    Code.SCOPE_MISSING: (
        partial(judged, WORDS, chunks=[*CHUNKS, chunk("c9", "Secret.", scopes=("staff",))]),
        partial(
            judged,
            WORDS,
            chunks=[*CHUNKS, chunk("c9", "Secret.", scopes=("staff",))],
            principal=ANN.model_copy(update={"scopes": ("staff",)}),
        ),
    ),
    Code.UNTRUSTED_INSTRUCTION: (
        partial(judged, proposal(refund(iban="DE99 1234"))),
        partial(judged, proposal(refund(iban="DE12 3456"))),
    ),
    # the case itself
    Code.CASE_ALTERED: (
        partial(of_event, "proposal", deadline=NOW),
        partial(of_event, "proposal"),
    ),
    Code.EVENT_INVALID: (
        partial(of_event, "proposal", route=None),
        partial(of_event, "proposal"),
    ),
    Code.EVENT_UNKNOWN: (partial(of_event, "context", "0"), partial(of_event, "proposal")),
}


def codes_in_source() -> set[Code]:
    """What the modules of the gate say, in code."""
    package = Path(interlock.contract_validator.__file__).parent
    return {
        Code[node.attr]
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "FailureCode"
    }


def test_every_code_of_the_gate_has_its_two_cases() -> None:
    assert codes_in_source() - set(NOT_OF_A_DECISION) == set(CASES)


@pytest.mark.parametrize("code", CASES)
async def test_must_reject(code: Code) -> None:
    reject, _ = CASES[code]
    assert code in await reject()


@pytest.mark.parametrize("code", CASES)
async def test_must_accept(code: Code) -> None:
    _, accept = CASES[code]
    assert await accept() == set()
