"""What policies see of the request beside arguments and facts: history, limits, names said."""

from typing import Any

import pytest
from tests.unit.gate_world import ANN, BUNDLE, make_case, proposal, refund

from interlock.bundles.model import Bundle
from interlock.contract_validator.checks.said import limit_cents, names_said
from interlock.contract_validator.policy import Policies, history
from interlock_contracts.actions import Effect, Result
from interlock_contracts.case import Step
from interlock_contracts.request import Request, Turn
from interlock_contracts.verdict import ActionVerdict, Decision, PolicyDecision, Verdict

TOOL = BUNDLE.tools["create_refund"]
GIVEN = {"order_id": "A-1001", "amount_cents": 1999}


def done(tool: str, effect: Effect, arguments: dict[str, Any]) -> Step:
    action = ActionVerdict(
        action="1-0",
        tool=tool,
        arguments=arguments,
        decision=Decision.APPROVE,
        digest="sha256:" + "0" * 64,
    )
    result = Result(action="1-0", tool=tool, effect=effect, effect_key="k")
    return Step(
        proposal=proposal(refund()),
        verdict=Verdict(decision=Decision.APPROVE, actions=(action,)),
        results=(result,),
    )


@pytest.mark.parametrize(
    ("effect", "arguments", "found"),
    [
        (Effect.LANDED, GIVEN, (["create_refund"], True)),
        (Effect.IN_DOUBT, GIVEN, (["create_refund"], True)),
        (Effect.LANDED, {**GIVEN, "amount_cents": 1}, (["create_refund"], False)),
        (Effect.DID_NOT_HAPPEN, GIVEN, ([], False)),
    ],
)
def test_history_counts_what_may_have_landed(
    effect: Effect, arguments: dict[str, Any], found: tuple[list[str], bool]
) -> None:
    known = history(TOOL, GIVEN, [done("create_refund", effect, arguments)])
    assert (known["done"], known["repeated"]) == found


def said(text: str, *before: str) -> Request:
    turns = tuple(Turn(role="user", text=one) for one in before)
    return make_case(proposal(), text=text, history=turns).request


@pytest.mark.parametrize(
    ("texts", "limit"),
    [
        (["I can pay up to $600 for it."], 60_000),
        (["Not more than 1,250.50 EUR please"], 125_050),
        (["within a $600 budget", "up to $100"], 60_000),
        (["yes", "my 20 dollar limit stands, it must not exceed $20"], 2_000),
        (["up to 3 bags", "it cost $500", "under 5 minutes"], None),
        (["up to $" + "9" * 400], None),
    ],
)
def test_the_latest_limit_that_was_stated(texts: list[str], limit: int | None) -> None:
    assert limit_cents(said(*texts)) == limit


def test_names_with_digits_and_no_others() -> None:
    request = said("Card ending in 7334, order A-1001.", "my flight HAT039")
    assert names_said(request) == ["7334", "A-1001", "HAT039"]


def judge(policy: str, text: str, *steps: Step) -> PolicyDecision:
    bundle = Bundle.model_validate(BUNDLE.model_dump() | {"policies": {"a.cedar": policy}})
    request, facts = said(text), {"order": {"customer": "ann", "paid_cents": 5_000}}
    return Policies(bundle).judge(ANN, TOOL, GIVEN, facts, request, "refund", steps)


ALL = '@id("all") permit(principal, action, resource);'


@pytest.mark.parametrize(
    ("when", "text", "effect", "allowed"),
    [
        ('context.history.done.contains("create_refund")', "hi", Effect.LANDED, False),
        ('context.history.done.contains("create_refund")', "hi", Effect.DID_NOT_HAPPEN, True),
        ("context.history.repeated", "hi", Effect.LANDED, False),
        ("context.request has limit_cents && context.arguments.amount_cents > "
         "context.request.limit_cents", "up to $10", Effect.LANDED, False),
        ("context.request has limit_cents && context.arguments.amount_cents > "
         "context.request.limit_cents", "up to $20", Effect.LANDED, True),
        ('!context.request.said.contains(context.arguments.order_id)', "A-1001", Effect.LANDED,
         True),
        ('!context.request.said.contains(context.arguments.order_id)', "B-1", Effect.LANDED,
         False),
    ],
)  # fmt: skip
def test_policies_judge_by_it(when: str, text: str, effect: Effect, allowed: bool) -> None:
    rule = f'@id("no") forbid(principal, action, resource) when {{ {when} }};'
    found = judge(ALL + rule, text, done("create_refund", effect, GIVEN))
    assert (found.allowed, found.errors) == (allowed, ())
