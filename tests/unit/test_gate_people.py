"""A person's decision counts for exactly what was shown, in time, by the right person."""

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.gate_world import (
    BUNDLE,
    KEY,
    NOW,
    World,
    changed_bundle,
    event,
    make_case,
    proposal,
    refund,
)

from interlock.contract_validator.stage import decide
from interlock.runtime.errors import NeverRetry
from interlock.runtime.signing import Verifier
from interlock.runtime.stage import Input
from interlock_contracts.actions import Decided, Effect, Grant, Result
from interlock_contracts.canonical import digest
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode as Code

TTL = BUNDLE.limits.approval_ttl_s
TEXTS = {
    1_999: "Refund A-1001 19.99 EUR",
    5_100: "Refund A-1001 51.00 EUR",
    10_100: "Refund A-1001 101.00 EUR",
    20_100: "Refund A-1001 201.00 EUR",
}


@pytest.fixture
def world() -> World:
    return World()


async def waiting(world: World, amount: int = 10_100) -> Case:
    """The judged case of a refund: over 50 to be confirmed, over 100 reviewed, over 200 both."""
    judged = await world.judge(make_case(proposal(refund(amount)), text=TEXTS[amount]))
    case = judged["verdict"]
    assert isinstance(case, Case)
    return case


async def refusal(world: World, case: Case, by: str, **how: Any) -> Code:
    with pytest.raises(NeverRetry) as caught:
        await world.person(case, by, **how)
    return caught.value.code


async def test_a_review_gives_the_grant(world: World) -> None:
    case = await waiting(world)
    (draft,) = await world.person(case, "bob")
    grant = draft.data
    assert isinstance(grant, Grant)
    assert (draft.event, draft.step, draft.tail) == ("approved", "1-0", "create_refund")
    assert case.verdict is not None
    assert (grant.approved_by, grant.action_digest) == (("bob",), case.verdict.actions[0].digest)
    Verifier([KEY.public]).verify(grant, tool="create_refund", tenant="acme", now=NOW)


async def test_a_confirmation_gives_the_grant(world: World) -> None:
    case = await waiting(world, 5_100)
    (draft,) = await world.person(case, "ann", kind="confirmed")
    assert isinstance(draft.data, Grant)
    assert draft.data.approved_by == ("ann",)


@pytest.mark.parametrize(
    ("amount", "by", "kind"), [(5_100, "ann", "confirmed"), (10_100, "bob", "reviewed")]
)
async def test_a_denial_is_a_result_that_did_not_happen(
    world: World, amount: int, by: str, kind: str
) -> None:
    case = await waiting(world, amount)
    (draft,) = await world.person(case, by, "deny", kind=kind)
    assert (draft.event, draft.step, draft.tail) == ("result", "1-0", "create_refund")
    result = draft.data
    assert isinstance(result, Result)
    assert result.failure is not None
    assert (result.effect, result.failure.code) == (Effect.DID_NOT_HAPPEN, Code.APPROVAL_DENIED)


@pytest.mark.parametrize(("after_s", "name"), [(TTL - 1, "approved"), (TTL, "result")])
@pytest.mark.parametrize(
    ("amount", "by", "kind"), [(5_100, "ann", "confirmed"), (10_100, "bob", "reviewed")]
)
async def test_too_late_is_a_no(
    world: World, amount: int, by: str, kind: str, after_s: int, name: str
) -> None:
    case = await waiting(world, amount)
    (draft,) = await world.person(case, by, kind=kind, after_s=after_s)
    assert draft.event == name
    if isinstance(draft.data, Result):
        assert draft.data.failure is not None
        assert draft.data.failure.code is Code.APPROVAL_EXPIRED


@pytest.mark.parametrize(
    ("amount", "by", "how", "code"),
    [
        (10_100, "bob", {"digest": digest("other")}, Code.APPROVAL_MISMATCH),
        (10_100, "ann", {}, Code.REQUESTER_IS_APPROVER),
        (10_100, "bob", {"tail": "carol"}, Code.APPROVAL_MISMATCH),
        (10_100, "ann", {"kind": "confirmed"}, Code.APPROVAL_MISMATCH),
        (5_100, "bob", {"kind": "confirmed"}, Code.APPROVAL_MISMATCH),
        (5_100, "bob", {"kind": "reviewed"}, Code.APPROVAL_MISMATCH),
        (1_999, "bob", {"kind": "reviewed"}, Code.APPROVAL_MISMATCH),
    ],
)
async def test_what_is_no_approval_is_a_dead_letter(
    world: World, amount: int, by: str, how: dict[str, Any], code: Code
) -> None:
    case = await waiting(world, amount)
    assert await refusal(world, case, by, **how) is code


LEADS = changed_bundle(
    groups={"leads": ("bob", "eve")}, reviewers={"refunds": ("leads",), "general": ("leads",)}
)


async def test_only_those_of_the_class_review(world: World) -> None:
    text = TEXTS[10_100]
    judged = await world.judge(make_case(proposal(refund(10_100)), text=text), LEADS)
    assert judged["review"].reviewers == ("bob", "eve")
    assert await refusal(world, judged["verdict"], "carol", bundle=LEADS) is (
        Code.APPROVER_NOT_ALLOWED
    )
    (draft,) = await world.person(judged["verdict"], "bob", bundle=LEADS)
    assert isinstance(draft.data, Grant)
    assert draft.data.approved_by == ("bob",)


async def test_a_second_person_is_one_of_the_class_too(world: World) -> None:
    text = TEXTS[20_100]
    judged = await world.judge(make_case(proposal(refund(20_100)), text=text), LEADS)
    case = judged["verdict"]
    assert await world.person(case, "ann", kind="confirmed", bundle=LEADS) == []
    assert await refusal(world, case, "carol", bundle=LEADS) is Code.APPROVER_NOT_ALLOWED
    assert await world.person(case, "bob", bundle=LEADS) == []
    (draft,) = await world.person(case, "eve", bundle=LEADS)
    assert isinstance(draft.data, Grant)
    assert draft.data.approved_by == ("ann", "bob", "eve")


async def test_after_a_dead_letter_the_action_still_waits(world: World) -> None:
    case = await waiting(world)
    await refusal(world, case, "ann")
    (draft,) = await world.person(case, "bob")
    assert draft.event == "approved"


async def test_nobody_decides_what_nobody_was_asked(world: World) -> None:
    case = await waiting(world)
    world.events.clear()
    assert await refusal(world, case, "bob") is Code.APPROVAL_MISMATCH


@pytest.mark.parametrize(
    ("decided", "step"), [("1-0", "1-1"), ("1-1", "1-1")], ids=["contradicts", "unknown"]
)
async def test_an_action_that_is_not_there(world: World, decided: str, step: str) -> None:
    case = await waiting(world)
    data = Decided(action=decided, decision="approve", digest=digest("x"), by="bob")
    given = Input(event("reviewed", step, data, tail="bob"), BUNDLE, NOW, case)
    with pytest.raises(NeverRetry):
        await decide(given, world.capabilities)


def altered(case: Case, **changes: Any) -> Case:
    """The case as somebody who tampers with the record would have it."""
    assert case.verdict is not None
    action = case.verdict.actions[0].model_copy(update=changes)
    verdict = case.verdict.model_copy(update={"actions": (action,)})
    return case.model_copy(update={"verdict": verdict})


async def test_no_argument_changes_after_it_was_shown(world: World) -> None:
    case = await waiting(world)
    more = altered(case, arguments=refund(20_000).arguments)
    assert await refusal(world, more, "bob") is Code.APPROVAL_MISMATCH


async def test_no_fact_changes_after_it_was_shown(world: World) -> None:
    case = await waiting(world)
    assert case.verdict is not None
    facts = tuple(
        fact.model_copy(update={"value": {"customer": "ann", "paid_cents": 1}})
        for fact in case.verdict.facts
    )
    verdict = case.verdict.model_copy(update={"facts": facts})
    other = case.model_copy(update={"verdict": verdict})
    assert await refusal(world, other, "bob") is Code.APPROVAL_MISMATCH


# several people


@pytest.mark.parametrize(
    "order", [["ann", "bob", "eve"], ["bob", "ann", "eve"], ["eve", "bob", "ann"]]
)
async def test_two_persons_and_the_requester_where_the_policy_wants_them(
    world: World, order: list[str]
) -> None:
    case = await waiting(world, 20_100)
    for by in order[:-1]:
        kind = "confirmed" if by == "ann" else "reviewed"
        assert await world.person(case, by, kind=kind) == []
    kind = "confirmed" if order[-1] == "ann" else "reviewed"
    (draft,) = await world.person(case, order[-1], kind=kind)
    assert isinstance(draft.data, Grant)
    assert draft.data.approved_by == ("ann", "bob", "eve")


async def test_one_person_under_two_names_that_look_alike_is_one(world: World) -> None:
    case = await waiting(world, 20_100)
    await world.person(case, "ann", kind="confirmed")
    assert await world.person(case, "bob.x") == []
    assert await world.person(case, "bob x") == []


async def test_one_no_is_enough(world: World) -> None:
    case = await waiting(world, 20_100)
    await world.person(case, "bob")
    (draft,) = await world.person(case, "eve", "deny")
    assert draft.event == "result"


@pytest.mark.parametrize(("first", "second"), [("approve", "deny"), ("deny", "approve")])
async def test_the_first_decision_on_the_log_settles_it(
    world: World, first: Any, second: Any
) -> None:
    case = await waiting(world)
    assert len(await world.person(case, "bob", first)) == 1
    assert await refusal(world, case, "eve", decision=second) is Code.APPROVAL_MISMATCH


async def test_a_redelivered_decision_gives_the_same_again(world: World) -> None:
    case = await waiting(world)
    first = await world.person(case, "bob")
    given = Input(world.events[-1], BUNDLE, NOW + timedelta(seconds=60), case)
    await refusal(world, case, "eve", decision="deny")
    assert await decide(given, world.capabilities) == first


async def test_an_approval_of_something_else_does_not_count_as_one_of_two(world: World) -> None:
    case = await waiting(world, 20_100)
    await world.person(case, "ann", kind="confirmed")
    await refusal(world, case, "bob", digest=digest("other"))
    assert await world.person(case, "eve") == []
