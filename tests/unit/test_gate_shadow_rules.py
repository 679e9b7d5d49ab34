"""A bundle in the shadow is judged over the same history as the decision it stands beside."""

from typing import Any

import pytest
from tests.unit.rules_world import BUNDLE, Shop

from interlock.contract_validator.ledger import Ledgers
from interlock.contract_validator.shadow import Shadow
from interlock.runtime.stage import Input
from interlock_contracts.actions import Effect
from interlock_contracts.event import Event
from interlock_contracts.subjects import Subject
from interlock_contracts.verdict import Decision

EMAIL = ("change_email", {"email": "a@b.example"})


@pytest.mark.parametrize("verified", [True, False])
async def test_a_prerequisite_counts_in_the_shadow_as_it_did_in_the_decision(
    verified: bool,
) -> None:
    shop = Shop()
    if verified:
        await shop.propose(("verify_identity", {"code": "77"}))
        shop.result(Effect.LANDED)
    real = await shop.propose(EMAIL)
    case = shop.last.model_copy(update={"verdict": None})
    at = Subject("ev", "proposal", "acme", case.request.request_id, "1")
    given = Input(Event(at, case, "p", "/generator", shop.now), BUNDLE, shop.now, case)
    nothing: Any = None
    shadow = Shadow(nothing, nothing, Ledgers(shop.log, lambda: shop.now), nothing)
    same = await shadow._verdict(given, real, BUNDLE)
    assert same == real
    assert (same.decision is Decision.APPROVE) is verified
