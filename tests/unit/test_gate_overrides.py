"""Overrides at the gate: what would be automatic waits for a person, whoever drops the word."""

from typing import Any

import pytest
from tests.unit.gate_world import (
    BUNDLE,
    NOW,
    ROUTE,
    World,
    changed_bundle,
    event,
    make_case,
    proposal,
    refund,
    says,
)

from interlock.bundles.classes import Override
from interlock.bundles.model import Bundle
from interlock.contract_validator.stage import decide
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Input
from interlock_contracts.failures import FailureCode
from interlock_contracts.privacy import PersonalData
from interlock_contracts.proposal import ToolCall
from interlock_contracts.request import Principal
from interlock_contracts.verdict import Decision

CARD = PersonalData(kind="CARD", placeholder="[CARD_1]", start=0, end=4)


def guarded(*overrides: Override) -> Bundle:
    return changed_bundle(overrides=tuple(one.model_dump() for one in overrides))


def override(effect: Any = "confirm", **of: Any) -> Override:
    return Override(id="o", effect=effect, **of)


@pytest.mark.parametrize(
    "of",
    [
        {"intents": ("refund",)},
        {"risks": (ROUTE.risk,)},
        {"roles": ("customer",)},
        {"channels": ("api",)},
        {"tenants": ("acme",)},
        {"groups": ("watched",)},
        {"tenants": ("acme", "globex"), "roles": ("customer",)},
    ],
)
async def test_an_action_of_the_class_is_not_automatic(of: dict[str, Any]) -> None:
    bundle = changed_bundle(overrides=(override(**of).model_dump(),), groups={"watched": ("ann",)})
    found = await World().judge(make_case(proposal(refund())), bundle)
    verdict = found["verdict"].verdict
    assert verdict.decision is Decision.CONFIRM
    assert verdict.actions[0].policy.overrides == ("o",)
    assert verdict.actions[0].policy.obligations == ("confirm",)
    assert "approved" not in found
    assert found["confirm"].tool == "create_refund"


@pytest.mark.parametrize(
    "of",
    [{"intents": ("other",)}, {"tenants": ("globex",)}, {"roles": ("customer",), "groups": ("x",)}],
)
async def test_an_action_of_another_class_is(of: dict[str, Any]) -> None:
    found = await World().judge(make_case(proposal(refund())), guarded(override(**of)))
    assert found["verdict"].verdict.decision is Decision.APPROVE
    assert "overrides" not in found["verdict"].verdict.actions[0].policy.model_dump()


@pytest.mark.parametrize(
    ("of", "amount", "review_class"),
    [
        ({"review_class": "fraud"}, 1999, "fraud"),
        ({}, 1999, "money"),
        # A review that the policies want stays with those who have to do it.
        ({"review_class": "fraud"}, 15_000, "refunds"),
    ],
)
async def test_a_forced_review_has_a_class(
    of: dict[str, Any], amount: int, review_class: str
) -> None:
    bundle = guarded(override("review", tenants=("acme",), **of))
    text = f"Please refund {amount / 100:.2f} EUR for order A-1001."
    route = ROUTE.model_copy(update={"review_class": "money"})
    found = await World().judge(make_case(proposal(refund(amount)), text=text, route=route), bundle)
    assert found["verdict"].verdict.decision is Decision.REVIEW
    assert found["review"].review_class == review_class
    assert "approved" not in found


async def test_both_the_requester_and_a_reviewer_may_be_forced() -> None:
    two = (override("review", tenants=("acme",)), override("confirm", roles=("customer",)))
    found = await World().judge(make_case(proposal(refund())), guarded(*two))
    assert found["verdict"].verdict.decision is Decision.REVIEW
    assert {"confirm", "review"} <= found.keys()


async def test_personal_data_in_the_request_makes_a_class() -> None:
    bundle = guarded(override(personal=("CARD",)))
    case = make_case(proposal(refund()), personal=(CARD,))
    world = World()
    request = case.request
    world.events.append(event("request", "0", request, sequence=1))
    assert (await world.judge(case, bundle))["verdict"].verdict.decision is Decision.CONFIRM
    plain = make_case(proposal(refund()))
    assert (await World().judge(plain, bundle))["verdict"].verdict.decision is Decision.APPROVE


async def test_a_look_up_and_an_answer_are_not_held_back() -> None:
    bundle = guarded(override("review", tenants=("acme",)))
    look = ToolCall(tool="get_order", arguments={"order_id": "A-1001"})
    looked = await World().judge(make_case(proposal(look), text="Where is A-1001?"), bundle)
    assert looked["verdict"].verdict.decision is Decision.APPROVE
    answer = proposal(
        statements=[says("Refunds take five days.", ("c1", "Refunds take five days"))]
    )
    assert "answer" in await World().judge(make_case(answer), bundle)


async def test_a_block_is_a_refusal_and_never_repaired() -> None:
    bundle = guarded(override("block", tenants=("acme",)))
    found = await World().judge(make_case(proposal(refund())), bundle)
    assert found["verdict"].verdict.decision is Decision.REFUSE
    assert [one.code for one in found["answer"].failures] == [FailureCode.REQUEST_BLOCKED]
    assert "repair" not in found


async def test_what_the_policies_forbid_stays_forbidden() -> None:
    bundle = guarded(override(tenants=("acme",)))
    found = await World().judge(
        make_case(proposal(ToolCall(tool="search_notes", arguments={"order_id": "A-1001"}))), bundle
    )
    assert found["verdict"].verdict.decision is Decision.REFUSE


LISTED = ROUTE.model_copy(update={"overrides": ("o",)})


async def test_a_generator_that_drops_an_override_is_found_out() -> None:
    bundle = guarded(override(tenants=("acme",)))
    honest = make_case(proposal(refund()), route=LISTED)
    world = World()
    world.came_from(honest)
    sent = honest.model_copy(update={"route": ROUTE})
    with pytest.raises(NeverRetry) as caught:
        await decide(Input(event("proposal", "1", sent), bundle, NOW, sent), world.capabilities)
    assert caught.value.code is FailureCode.CASE_ALTERED


async def test_an_override_that_nobody_listed_holds_all_the_same() -> None:
    bundle = guarded(override(tenants=("acme",)))
    found = await World().judge(make_case(proposal(refund()), route=ROUTE), bundle)
    assert found["verdict"].verdict.decision is Decision.CONFIRM


async def test_a_forged_class_is_found_out() -> None:
    bundle = guarded(override(roles=("customer",)))
    honest = make_case(proposal(refund()), route=LISTED)
    world = World()
    world.came_from(honest)
    agent = honest.request.model_copy(update={"principal": Principal(user="ann", role="agent")})
    sent = honest.model_copy(update={"request": agent})
    with pytest.raises(NeverRetry, match="request"):
        await decide(Input(event("proposal", "1", sent), bundle, NOW, sent), world.capabilities)


def test_bundles_without_overrides_keep_their_digest() -> None:
    assert "overrides" not in BUNDLE.model_dump()
