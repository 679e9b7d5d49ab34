"""An answer goes out by itself, or with a person's word for exactly this one, or not at all."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.gate_world import (
    ANN,
    BUNDLE,
    CHUNKS,
    NOW,
    World,
    changed_bundle,
    chunk,
    event,
    make_case,
    proposal,
    refund,
    says,
)

from interlock.bundles.classes import Override
from interlock.bundles.model import Bundle, OutputContract
from interlock.contract_validator.holding import MENDS
from interlock.contract_validator.stage import decide
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Input
from interlock_contracts.actions import Decided, Notice
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.answer_review import AnswerReview
from interlock_contracts.canonical import digest
from interlock_contracts.case import Case, Step
from interlock_contracts.failures import FailureCode as Code
from interlock_contracts.proposal import Proposal
from interlock_contracts.verdict import Decision

TTL = BUNDLE.limits.approval_ttl_s
SAYS = "Refunds take five days."
CLEAN = proposal(statements=[says(SAYS, ("c1", SAYS))])
WRONG = proposal(
    statements=[
        says(SAYS, ("c1", SAYS)),
        says("They take a week at most.", ("c1", "They take a week.")),
        says("Nobody has ever complained."),
    ]
)
"""A good sentence, one with a quote that does not stand there, one that cites nothing."""


def bundle(*overrides: Override, **contract: Any) -> Bundle:
    """The shop with a review as the fallback of its answers, unless said otherwise."""
    given = OutputContract.model_validate({"fallback": "review", **contract})
    return changed_bundle(
        outputs={"default": given.model_dump()},
        overrides=tuple(one.model_dump() for one in overrides),
    )


SEEN = Override(id="seen", effect="review", answers=True, tenants=("acme",))
REVIEWED = bundle()


@pytest.fixture
def world() -> World:
    return World()


async def judged(
    world: World, wanted: Proposal = WRONG, given: Bundle = REVIEWED, step: int = 2, **more: Any
) -> dict[str, Any]:
    """What follows from a proposal after the last repair, by event."""
    case = make_case(wanted, step=step, **more).model_copy(update={"bundle": given.digest})
    return await world.judge(case, given)


async def held(world: World, given: Bundle = REVIEWED, **more: Any) -> Case:
    case = (await judged(world, given=given, **more))["verdict"]
    assert isinstance(case, Case)
    return case


async def refusal(world: World, case: Case, by: str, **how: Any) -> Code:
    with pytest.raises(NeverRetry) as caught:
        await world.person(case, by, bundle=REVIEWED, **how)
    return caught.value.code


async def test_after_the_last_repair_a_person_is_asked_and_nothing_goes_out(world: World) -> None:
    found = await judged(world)
    assert set(found) == {"verdict", "answer_review", "notice"}
    verdict, card = found["verdict"].verdict, found["answer_review"]
    assert isinstance(card, AnswerReview)
    assert (verdict.decision, verdict.held.action) == (Decision.REVIEW, "2-answer")
    assert (card.digest, card.review_class) == (verdict.held.digest, "general")
    assert (card.requester, card.request_text) == ("ann", found["verdict"].request.text)
    assert card.answer.text == WRONG.text
    assert [one.quote for one in card.answer.sources] == [SAYS]
    assert [one.handle for one in card.chunks] == ["c1"]
    assert [(one.code, one.path) for one in card.objections] == [
        (Code.QUOTE_NOT_IN_SOURCE, "/statements/1/citations/0/quote"),
        (Code.CITATION_MISSING, "/statements/2"),
    ]
    assert [one.mend for one in card.objections] == [MENDS[one.code] for one in card.objections]
    assert card.expires_at == NOW + timedelta(seconds=TTL)
    notice = found["notice"]
    assert isinstance(notice, Notice)
    assert (notice.waiting_for, notice.action) == ("review", "2-answer")


async def test_the_reviewer_sees_what_was_sent_back(world: World) -> None:
    first = await judged(world, step=1)
    assert first["repair"].steps[0].verdict.decision is Decision.REPAIR
    again = first["repair"].model_copy(update={"step": 2, "proposal": WRONG})
    card = (await world.judge(again, REVIEWED))["answer_review"]
    assert [(one.step, one.text) for one in card.attempts] == [(1, WRONG.text)]
    assert card.attempts[0].violations == first["verdict"].verdict.violations


async def test_approved_it_goes_out_as_shown_and_says_by_whom_past_what(world: World) -> None:
    case = await held(world)
    shown = world.events[-2].data
    assert isinstance(shown, AnswerReview)
    (draft,) = await world.person(case, "bob", bundle=REVIEWED)
    answer = draft.data
    assert isinstance(answer, Answer)
    assert (draft.event, draft.step, draft.tail) == ("answer", "0", None)
    assert answer.model_copy(update={"approval": None}) == shown.answer
    assert answer.status is AnswerStatus.ANSWERED
    assert answer.approval is not None
    assert (answer.approval.by, answer.approval.digest) == (("bob",), shown.digest)
    assert answer.approval.accepted == (Code.QUOTE_NOT_IN_SOURCE, Code.CITATION_MISSING)


@pytest.mark.parametrize(
    ("decision", "after_s", "code"),
    [
        ("deny", 60, Code.ANSWER_DENIED),
        ("deny", TTL, Code.ANSWER_EXPIRED),
        ("approve", TTL, Code.ANSWER_EXPIRED),
    ],
)
async def test_a_no_and_too_late_are_refusals(
    world: World, decision: Any, after_s: int, code: Code
) -> None:
    case = await held(world)
    (draft,) = await world.person(case, "bob", decision, after_s=after_s, bundle=REVIEWED)
    answer = draft.data
    assert isinstance(answer, Answer)
    assert (answer.status, answer.text) == (AnswerStatus.REFUSED, "No.")
    assert (answer.approval, answer.sources) == (None, ())
    assert [one.code for one in answer.failures] == [
        code,
        Code.QUOTE_NOT_IN_SOURCE,
        Code.CITATION_MISSING,
    ]


async def test_in_the_last_second_a_yes_counts(world: World) -> None:
    case = await held(world)
    (draft,) = await world.person(case, "bob", after_s=TTL - 1, bundle=REVIEWED)
    assert isinstance(draft.data, Answer)
    assert draft.data.approval is not None


async def expired(world: World, case: Case) -> Any:
    asked = next(one for one in world.events if one.subject.event == "answer_review")
    given = Input(asked, REVIEWED, NOW, case)
    return await decide(given, world.capabilities)


async def test_what_nobody_decides_expires_by_itself(world: World) -> None:
    case = await held(world)
    (draft,) = await expired(world, case)
    assert (draft.event, draft.data.status) == ("answer", AnswerStatus.REFUSED)
    assert draft.data.failures[0].code is Code.ANSWER_EXPIRED


@pytest.mark.parametrize(("logged", "answers"), [(60, 0), (TTL, 1)])
async def test_a_decision_in_time_keeps_it_from_expiring(
    world: World, logged: int, answers: int
) -> None:
    case = await held(world)
    await world.person(case, "bob", bundle=REVIEWED)
    at = NOW + timedelta(seconds=logged)
    world.events[-1] = replace(world.events[-1], logged_at=at)
    assert len(await expired(world, case)) == answers


@pytest.mark.parametrize(
    ("by", "how", "code"),
    [
        ("bob", {"digest": digest("other")}, Code.APPROVAL_MISMATCH),
        ("ann", {}, Code.REQUESTER_IS_APPROVER),
        ("ann", {"decision": "deny"}, Code.REQUESTER_IS_APPROVER),
        ("bob", {"tail": "carol"}, Code.APPROVAL_MISMATCH),
        ("ann", {"kind": "confirmed"}, Code.APPROVAL_MISMATCH),
    ],
)
async def test_what_is_no_decision_is_a_dead_letter_and_the_answer_still_waits(
    world: World, by: str, how: dict[str, Any], code: Code
) -> None:
    case = await held(world)
    assert await refusal(world, case, by, **how) is code
    (draft,) = await world.person(case, "eve", bundle=REVIEWED)
    assert draft.data.approval.by == ("eve",)  # type: ignore[attr-defined]  # an answer


@pytest.mark.parametrize("name", ["1-answer", "2-0", "answer"])
async def test_there_is_no_other_answer_to_decide_about(world: World, name: str) -> None:
    case = await held(world)
    assert case.verdict is not None
    assert case.verdict.held is not None
    said = Decided(action=name, decision="approve", digest=case.verdict.held.digest, by="bob")
    with pytest.raises(NeverRetry) as caught:
        came = event("reviewed", name, said, tail="bob")
        await decide(Input(came, REVIEWED, NOW, case), world.capabilities)
    assert caught.value.code is Code.APPROVAL_MISMATCH


async def test_nobody_decides_what_nobody_was_asked(world: World) -> None:
    case = await held(world)
    world.events.clear()
    assert await refusal(world, case, "bob") is Code.APPROVAL_MISMATCH


@pytest.mark.parametrize("first", ["approve", "deny"])
async def test_the_first_decision_settles_it_and_again_gives_the_same(
    world: World, first: Any
) -> None:
    case = await held(world)
    made = await world.person(case, "bob", first, bundle=REVIEWED)
    given = Input(world.events[-1], REVIEWED, NOW + timedelta(seconds=60), case)
    for other in ("approve", "deny"):
        assert await refusal(world, case, other, decision=other) is Code.APPROVAL_MISMATCH
    assert await decide(given, world.capabilities) == made


def altered(case: Case, what: str) -> Case:
    """The judged case as somebody who tampers with the record would have it."""
    assert case.verdict is not None
    assert case.context is not None
    changed: dict[str, Any] = {
        "text": {"proposal": proposal(statements=[*WRONG.statements[:2], says("Trust us.")])},
        "passages": {
            "context": case.context.model_copy(
                update={"chunks": (chunk("c1", CHUNKS[0].text + " More."), CHUNKS[1])}
            )
        },
        "requester": {
            "request": case.request.model_copy(
                update={"principal": ANN.model_copy(update={"user": "eve"})}
            )
        },
        "nothing wrong": {"proposal": CLEAN},
    }
    return case.model_copy(update=changed[what])


@pytest.mark.parametrize("what", ["text", "passages", "requester", "nothing wrong"])
async def test_nothing_changes_after_it_was_shown(world: World, what: str) -> None:
    case = await held(world)
    assert await refusal(world, altered(case, what), "bob") is Code.APPROVAL_MISMATCH


async def test_the_generator_cannot_go_on_while_an_answer_waits(world: World) -> None:
    case = await held(world)
    assert case.verdict is not None
    world.events.append(event("verdict", "2", case, sequence=9))
    steps = (*case.steps, Step(proposal=WRONG, verdict=case.verdict))
    further = case.model_copy(
        update={"step": 3, "steps": steps, "proposal": CLEAN, "verdict": None}
    )
    with pytest.raises(NeverRetry) as caught:
        came = event("proposal", "3", further)
        await decide(Input(came, REVIEWED, NOW, further), world.capabilities)
    assert caught.value.code is Code.CASE_ALTERED


# what a person may let stand, and what nobody may

ACCEPTABLE: dict[Code, tuple[Proposal, dict[str, Any]]] = {
    Code.CITATION_MISSING: (proposal(statements=[says(SAYS)]), {}),
    Code.CITATION_NOT_RETRIEVED: (proposal(statements=[says(SAYS, ("c9", SAYS))]), {}),
    Code.QUOTE_NOT_IN_SOURCE: (proposal(statements=[says(SAYS, ("c1", "In a day."))]), {}),
    Code.VALUE_NOT_IN_SOURCE: (
        proposal(statements=[says(SAYS, ("c1", SAYS))], data={"days": 6}),
        {"json_schema": {"properties": {"days": {"type": "integer"}}}},
    ),
    Code.STATEMENT_UNSUPPORTED: (
        proposal(statements=[says("Refunds cost 40 USD in all other cases.", ("c1", SAYS))]),
        {"min_support": 0.9},
    ),
    Code.LENGTH_EXCEEDED: (CLEAN, {"max_chars": 5}),
    Code.SECTION_MISSING: (CLEAN, {"sections": ("Answer",)}),
    Code.LANGUAGE_WRONG: (
        proposal(
            statements=[says("Refunds are paid within five days of their arrival.", ("c1", SAYS))]
        ),
        {"language": "de"},
    ),
}


@pytest.mark.parametrize("code", MENDS)
async def test_a_person_may_let_stand(world: World, code: Code) -> None:
    wanted, contract = ACCEPTABLE[code]
    found = await judged(world, wanted, bundle(**contract))
    assert "answer" not in found
    assert {one.code for one in found["answer_review"].objections} == {code}
    (draft,) = await world.person(found["verdict"], "bob", bundle=bundle(**contract))
    assert isinstance(draft.data, Answer)
    assert draft.data.approval is not None
    assert draft.data.approval.accepted == (code,)


NEVER: list[tuple[Code, Proposal, dict[str, Any], dict[str, Any]]] = [
    (Code.TENANT_BOUNDARY, WRONG, {}, {"chunks": [*CHUNKS, chunk("c9", "x", tenant="globex")]}),
    (Code.SCOPE_MISSING, WRONG, {}, {"chunks": [*CHUNKS, chunk("c9", "x", scopes=("staff",))]}),
    (Code.FORBIDDEN_CONTENT, WRONG, {"forbidden": ("week",)}, {}),
    (Code.DATA_INVALID, WRONG.model_copy(update={"data": {"days": 1}}), {}, {}),
    (Code.OUTPUT_MALFORMED, proposal(malformed="{"), {}, {}),
    (Code.TOOL_UNKNOWN, proposal(refund(1_999).model_copy(update={"tool": "x"})), {}, {}),
]


@pytest.mark.parametrize(
    ("code", "wanted", "contract", "more"), NEVER, ids=lambda one: str(one)[:20]
)
async def test_nobody_may_let_stand(
    world: World, code: Code, wanted: Proposal, contract: dict[str, Any], more: dict[str, Any]
) -> None:
    found = await judged(world, wanted, bundle(**contract), **more)
    assert set(found) == {"verdict", "answer"}
    assert found["answer"].status is AnswerStatus.REFUSED
    assert code in {one.code for one in found["answer"].failures}
    assert code not in MENDS


async def test_what_was_not_found_is_said_without_a_person(world: World) -> None:
    found = await judged(world, proposal(abstained=True))
    assert found["answer"].text == "Not in our pages."


@pytest.mark.parametrize(
    ("contract", "route_class", "review_class"),
    [({"review_class": "experts"}, "money", "experts"), ({}, "money", "money")],
)
async def test_who_is_asked(
    world: World, contract: dict[str, Any], route_class: str, review_class: str
) -> None:
    case = make_case(WRONG, step=2)
    assert case.route is not None
    route = case.route.model_copy(update={"review_class": route_class})
    found = await judged(world, given=bundle(**contract), route=route)
    assert found["answer_review"].review_class == review_class


# every answer of a class of requests


async def test_an_override_holds_a_clean_answer(world: World) -> None:
    given = bundle(SEEN, fallback="refuse")
    found = await judged(world, CLEAN, given, step=1)
    card = found["answer_review"]
    assert "answer" not in found
    assert (card.overrides, card.objections) == (("seen",), ())
    (draft,) = await world.person(found["verdict"], "bob", bundle=given)
    assert isinstance(draft.data, Answer)
    assert draft.data.approval is not None
    assert (draft.data.text, draft.data.approval.accepted) == (SAYS, ())


async def test_denied_it_is_refused_for_that_alone(world: World) -> None:
    given = bundle(SEEN, fallback="refuse")
    found = await judged(world, CLEAN, given, step=1)
    (draft,) = await world.person(found["verdict"], "bob", "deny", bundle=given)
    assert isinstance(draft.data, Answer)
    assert [one.code for one in draft.data.failures] == [Code.ANSWER_DENIED]


@pytest.mark.parametrize(
    "changes", [{"tenants": ("globex",)}, {"answers": False}], ids=["other class", "actions only"]
)
async def test_another_override_does_not(world: World, changes: dict[str, Any]) -> None:
    other = SEEN.model_copy(update=changes)
    found = await judged(world, CLEAN, bundle(other), step=1)
    assert set(found) == {"verdict", "answer"}


async def test_a_refusal_is_nothing_to_be_seen(world: World) -> None:
    for wanted in (WRONG, proposal(abstained=True)):
        found = await judged(world, wanted, bundle(SEEN, fallback="refuse"))
        assert found["answer"].status is AnswerStatus.REFUSED


async def test_the_sentence_that_is_quoted_instead_is_seen_too(world: World) -> None:
    given = bundle(SEEN, fallback="extractive")
    found = await judged(world, WRONG, given, text="How long do refunds take?")
    assert found["answer_review"].answer.text == SAYS
    (draft,) = await world.person(found["verdict"], "bob", bundle=given)
    assert isinstance(draft.data, Answer)
    assert draft.data.text == SAYS


async def test_the_contracts_reviewers_come_before_the_overrides(world: World) -> None:
    seen = SEEN.model_copy(update={"review_class": "lawyers"})
    given = bundle(seen, review_class="experts")
    assert (await judged(world, WRONG, given))["answer_review"].review_class == "experts"
    found = await judged(World(), CLEAN, given, step=1)
    assert found["answer_review"].review_class == "lawyers"
