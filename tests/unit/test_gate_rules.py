"""Limits and sequence rules over the history: what counts, for whom, how long, and what waits."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gate_world import NOW
from tests.unit.rules_world import BUNDLE, MODEL, Shop

from interlock.bundles.model import Bundle
from interlock.runtime.decision import Decider
from interlock.runtime.errors import SlowDown
from interlock.runtime.stage import Draft, Input
from interlock_contracts.actions import Effect, Result
from interlock_contracts.case import Step
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode as Code
from interlock_contracts.proposal import Proposal, ToolCall
from interlock_contracts.request import Request
from interlock_contracts.subjects import Subject
from interlock_contracts.verdict import Decision


@pytest.fixture
def shop() -> Shop:
    return Shop()


def refund(number: int, cents: int = 100, customer: str = "A") -> tuple[str, dict[str, Any]]:
    return "create_refund", {"order_id": f"{customer}-{number}", "cents": cents}


DAY = timedelta(days=1)


async def test_two_a_day_are_approved_and_the_third_is_not(shop: Shop) -> None:
    for number in (1, 2):
        verdict = await shop.propose(refund(number))
        assert verdict.decision is Decision.APPROVE
        (spend,) = verdict.actions[0].spends
        assert spend.number == number
    verdict = await shop.propose(refund(3))
    assert verdict.decision is Decision.REFUSE
    (wrong,) = verdict.violations
    assert (wrong.code, wrong.path) == (Code.LIMIT_EXCEEDED, "/calls/0")
    assert wrong.message == (
        "at most 2 calls in 1 day by facts.order.customer: 2 used, this adds 1"
    )
    assert [one.used for one in verdict.standings] == [2]
    assert verdict.actions[0].spends == ()


async def test_a_limit_counts_for_each_key_apart(shop: Shop) -> None:
    for number in (1, 2):
        await shop.propose(refund(number))
    assert (await shop.propose(refund(3, customer="B"))).decision is Decision.APPROVE


async def test_who_asks_does_not_matter_where_the_limit_counts_by_customer(shop: Shop) -> None:
    await shop.propose(refund(1), user="ann")
    await shop.propose(refund(2), user="bob")
    assert shop.codes(await shop.propose(refund(3), user="eve")) == [Code.LIMIT_EXCEEDED]


async def test_the_window_slides(shop: Shop) -> None:
    await shop.propose(refund(1))
    shop.result(Effect.LANDED)
    shop.now += DAY / 2
    await shop.propose(refund(2))
    shop.result(Effect.LANDED)
    shop.now += DAY / 2 - timedelta(seconds=1)
    assert shop.codes(await shop.propose(refund(3))) == [Code.LIMIT_EXCEEDED]
    shop.now += timedelta(seconds=1)
    assert (await shop.propose(refund(4))).decision is Decision.APPROVE
    assert shop.codes(await shop.propose(refund(5))) == [Code.LIMIT_EXCEEDED]


async def test_what_landed_late_counts_from_when_it_landed(shop: Shop) -> None:
    """A review that takes a day must not let twice as many happen at once."""
    for number in (1, 2):
        assert (await shop.propose(refund(number, 600))).decision is Decision.REVIEW
        at = shop.now
        shop.now += DAY - timedelta(minutes=1)
        shop.result(Effect.LANDED)
        shop.now = at
    shop.now += DAY + timedelta(minutes=1)
    assert shop.codes(await shop.propose(refund(3))) == [Code.LIMIT_EXCEEDED]


@pytest.mark.parametrize(
    ("effect", "decision"),
    [
        (Effect.DID_NOT_HAPPEN, Decision.APPROVE),
        (Effect.LANDED, Decision.REFUSE),
        (Effect.IN_DOUBT, Decision.REFUSE),
        (None, Decision.REFUSE),
    ],
)
async def test_only_what_did_not_happen_gives_its_place_back(
    shop: Shop, effect: Effect | None, decision: Decision
) -> None:
    await shop.propose(refund(1))
    await shop.propose(refund(2))
    if effect is not None:
        shop.result(effect)
    assert (await shop.propose(refund(3))).decision is decision


async def test_a_refused_attempt_costs_nothing(shop: Shop) -> None:
    for _ in range(3):
        verdict = await shop.propose(("create_refund", {"order_id": "A-1", "cents": -1}))
        assert verdict.decision is Decision.REPAIR
    assert not [one for one in shop.entries if one.subject.event == "spent"]
    for number in (1, 2):
        assert (await shop.propose(refund(number))).decision is Decision.APPROVE


async def test_a_question_to_a_person_holds_its_place(shop: Shop) -> None:
    for number in (1, 2):
        assert (await shop.propose(refund(number, 600))).decision is Decision.REVIEW
    assert shop.codes(await shop.propose(refund(3))) == [Code.LIMIT_EXCEEDED]


async def test_calls_of_one_proposal_count_together(shop: Shop) -> None:
    verdict = await shop.propose(refund(1), refund(2), refund(3))
    assert [(one.code, one.path) for one in verdict.violations] == [
        (Code.LIMIT_EXCEEDED, "/calls/2")
    ]
    assert all(action.spends == () for action in verdict.actions)
    verdict = await shop.propose(refund(1), refund(2))
    assert [action.spends[0].number for action in verdict.actions] == [1, 2]


async def test_a_sum_is_a_limit_too(shop: Shop) -> None:
    for cents, decision in ((400, "approve"), (601, "refuse"), (600, "approve"), (1, "refuse")):
        verdict = await shop.propose(("pay_out", {"cents": cents}), user=f"user{cents}")
        assert verdict.decision == decision
    assert verdict.violations[0].path == "/calls/0/arguments/cents"
    assert "1000 used, this adds 1" in verdict.violations[0].message


async def test_limits_of_one_name_are_one(shop: Shop) -> None:
    assert (await shop.propose(("send_gift", {"gift": "tea"}))).decision is Decision.APPROVE
    assert shop.codes(await shop.propose(("send_voucher", {"cents": 5}))) == [Code.LIMIT_EXCEEDED]


# sequence


async def test_read_before_write(shop: Shop) -> None:
    call = ("cancel_order", {"order_id": "A-1"})
    verdict = await shop.propose(call)
    assert verdict.decision is Decision.REPAIR  # the model can mend it: read first
    (wrong,) = verdict.violations
    assert wrong.code is Code.SEQUENCE_VIOLATION
    assert wrong.message == (
        "cancel_order only after get_order with the same order_id in this request: "
        "it has not been run"
    )


@pytest.mark.parametrize(
    ("order", "effect", "good"),
    [
        ("A-1", Effect.LANDED, True),
        ("A-2", Effect.LANDED, False),
        ("A-1", Effect.DID_NOT_HAPPEN, False),
        ("A-1", Effect.IN_DOUBT, False),
    ],
)
async def test_what_was_read_must_have_landed_and_be_the_same(
    shop: Shop, order: str, effect: Effect, good: bool
) -> None:
    await shop.propose(("get_order", {"order_id": order}))
    shop.result(effect)
    first, result = shop.last, shop.entries[-1].data
    assert first.proposal is not None
    assert first.verdict is not None
    assert isinstance(result, Result)
    step = Step(proposal=first.proposal, verdict=first.verdict, results=(result,))
    call = ToolCall(tool="cancel_order", arguments={"order_id": "A-1"})
    wanted = Proposal(calls=(call,), model=MODEL)
    later = first.model_copy(
        update={"step": 2, "verdict": None, "proposal": wanted, "steps": (step,)}
    )
    codes = shop.codes(shop.store(*await shop.judge(later)))
    assert (Code.SEQUENCE_VIOLATION not in codes) is good


async def verified(shop: Shop, effect: Effect | None, user: str = "ann") -> None:
    await shop.propose(("verify_identity", {"code": "77"}), user=user)
    if effect is not None:
        shop.result(effect)


EMAIL = ("change_email", {"email": "a@b.example"})


async def test_verified_in_another_request(shop: Shop) -> None:
    assert shop.codes(await shop.propose(EMAIL)) == [Code.SEQUENCE_VIOLATION]
    await verified(shop, Effect.LANDED)
    assert (await shop.propose(EMAIL)).decision is Decision.APPROVE
    shop.now += timedelta(minutes=15)
    verdict = await shop.propose(EMAIL)
    assert verdict.violations[0].message.endswith("in the last 15 minutes: it has not been run")


async def test_somebody_elses_verification_does_not_count(shop: Shop) -> None:
    await verified(shop, Effect.LANDED, user="bob")
    assert shop.codes(await shop.propose(EMAIL)) == [Code.SEQUENCE_VIOLATION]


@pytest.mark.parametrize("effect", [Effect.DID_NOT_HAPPEN, Effect.IN_DOUBT])
async def test_a_verification_that_failed_does_not_count(shop: Shop, effect: Effect) -> None:
    await verified(shop, effect)
    assert shop.codes(await shop.propose(EMAIL)) == [Code.SEQUENCE_VIOLATION]


async def test_a_dependent_waits_for_what_is_on_its_way_as_long_as_its_grant_holds(
    shop: Shop,
) -> None:
    await verified(shop, None)
    with pytest.raises(SlowDown):
        await shop.propose(EMAIL)
    shop.result(Effect.LANDED)
    assert (await shop.propose(EMAIL)).decision is Decision.APPROVE


async def test_a_dependent_waits_for_no_lost_grant(shop: Shop) -> None:
    await verified(shop, None)
    shop.now += timedelta(seconds=BUNDLE.limits.grant_ttl_s + 61)
    assert shop.codes(await shop.propose(EMAIL)) == [Code.SEQUENCE_VIOLATION]


async def test_what_is_wrong_anyway_does_not_wait(shop: Shop) -> None:
    await verified(shop, None)
    verdict = await shop.propose(EMAIL, ("pay_out", {"cents": 5000}))
    assert set(shop.codes(verdict)) == {Code.SEQUENCE_VIOLATION, Code.LIMIT_EXCEEDED}


async def test_waiting_ends_with_the_deadline(shop: Shop) -> None:
    """The runtime asks again until the request is too late, and then answers that."""
    case = shop.case([EMAIL], "ann").model_copy(update={"deadline": NOW + timedelta(seconds=1)})
    asked = []

    async def waiting(_: Input) -> Sequence[Draft]:
        asked.append(1)
        raise SlowDown(Code.SEQUENCE_VIOLATION, "on its way", 0.4)

    class OneBundle:
        def active(self, request: Request | None = None) -> Bundle:
            return BUNDLE

        async def get(self, digest: str) -> Bundle:
            return BUNDLE

    decider = Decider("gate", waiting, cell="ev", bundles=OneBundle(), log=shop.log)
    at = Subject("ev", "proposal", "acme", case.request.request_id, "1")
    (late,) = await decider.follow(Event(at, case, "p", "/generator", NOW), NOW)
    assert (late.subject.event, len(asked)) == ("answer", 3)
    assert late.time > NOW + timedelta(seconds=1)  # so that a replay comes to the same


# properties


@settings(max_examples=40)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 20),
            st.sampled_from([Effect.LANDED, Effect.DID_NOT_HAPPEN, Effect.IN_DOUBT, None]),
        ),
        max_size=12,
    )
)
async def test_never_more_than_two_effects_in_any_day(
    steps: list[tuple[int, Effect | None]],
) -> None:
    shop = Shop()
    times: list[datetime] = []
    for number, (hours, effect) in enumerate(steps):
        shop.now += timedelta(hours=hours)
        if (await shop.propose(refund(number))).decision is Decision.APPROVE:
            if effect is not None:
                shop.result(effect)
            if effect is not Effect.DID_NOT_HAPPEN:
                times.append(shop.now)
    for first in times:
        assert sum(first <= other < first + DAY for other in times) <= 2
