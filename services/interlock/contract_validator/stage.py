"""The contract-validator's decision: what of a proposal may happen, and what people decided.

Consumes `proposal`, `confirmed` and `reviewed`, and its own questions to people (`confirm`,
`review`, `answer_review`) when they have expired. Of a proposal it makes the verdict and, in the
same batch, what follows from it: grants, questions, a repair, or the answer.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from interlock.bundles.model import Prepared
from interlock.contract_validator.asking import ask_about_answer
from interlock.contract_validator.binding import (
    Sign,
    approved,
    ask_requester,
    ask_reviewer,
    entry,
    notice,
    with_signatures,
)
from interlock.contract_validator.facts import Fetch
from interlock.contract_validator.gate import Gate
from interlock.contract_validator.holding import hold
from interlock.contract_validator.ledger import LedgerLog
from interlock.contract_validator.people import Reviews, decide_person, expire
from interlock.contract_validator.personal import (
    concealed,
    own_facts,
    personal_in,
    revealed,
    values_of,
)
from interlock.contract_validator.record import check_record
from interlock.contract_validator.rules import Question
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input
from interlock_contracts.case import Case, Step
from interlock_contracts.failures import FailureCode
from interlock_contracts.privacy import Values
from interlock_contracts.proposal import Proposal
from interlock_contracts.routing import Route
from interlock_contracts.verdict import ActionVerdict, Decision, Standing, Verdict


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the gate may use of the world.

    `facts` asks a read-only tool, `sign` fills in a grant's epoch, key and signature, `log` reads
    single events, `reviews` lists all `reviewed` events of one action, `standing` says what a
    ledger of a tenant is worth at a moment. A pipe may `believe` cases that its log knows
    nothing of.
    """

    facts: Fetch
    sign: Sign
    log: LedgerLog
    reviews: Reviews
    standing: Callable[[str, Question, datetime], Awaitable[Standing]]
    believe: bool = False


prepared = Prepared(Gate)
"""The gate of a bundle: schemas and policies compiled once."""


async def decide(input: Input, using: Capabilities) -> Sequence[Draft]:
    """Decide about one event.

    Raises:
        NeverRetry: an event that can never be decided; for a person's decision also one that
            does not count (`approval_mismatch`, `requester_is_approver`).
    """
    gate = prepared(input.bundle)
    match input.event.subject.event:
        case "proposal":
            drafts = await _proposal(input, gate, using)
        case "confirmed" | "reviewed":
            drafts = await decide_person(input, gate, using.log, using.reviews)
        case "confirm" | "review" | "answer_review":
            drafts = await expire(input, using.log, using.reviews)
        case other:
            raise NeverRetry(FailureCode.EVENT_UNKNOWN, f"no {other} is decided here")
    return await with_signatures(drafts, using.sign)


async def _proposal(input: Input, gate: Gate, using: Capabilities) -> Sequence[Draft]:
    case = input.case
    route, proposal = case.route, case.proposal
    if route is None or proposal is None:
        raise NeverRetry(FailureCode.EVENT_INVALID, "the case has no route, or no proposal")
    if input.event.subject.step != str(case.step):
        raise NeverRetry(FailureCode.EVENT_INVALID, "subject and case are at different steps")
    await check_record(case, using.log, believe=using.believe)

    async def ask(question: Question) -> Standing:
        return await using.standing(case.request.tenant, question, input.now)

    values = await values_of(case, using.log)
    shown = revealed(case, values)
    verdict = await gate.judge(shown, route, shown.proposal or proposal, using.facts, ask)
    verdict = concealed(verdict, case, gate.bundle, proposal.calls, values)
    verdict, answer = hold(case, gate, verdict, values)
    drafts = [Draft("verdict", str(case.step), case.model_copy(update={"verdict": verdict}))]
    if verdict.decision is Decision.REPAIR:
        return [*drafts, _repair(case, proposal, verdict)]
    if answer is not None and verdict.held is not None:
        return [*drafts, *ask_about_answer(input, case, verdict, verdict.held, answer)]
    if answer is not None:
        return [*drafts, Draft("answer", str(case.attempt), answer)]
    for action in verdict.actions:
        drafts += _action(input, case, route, verdict, action, values)
    return drafts


def _action(
    input: Input,
    case: Case,
    route: Route,
    verdict: Verdict,
    action: ActionVerdict,
    values: Values,
) -> list[Draft]:
    """What follows for one action of a proposal without violations."""
    bundle = input.bundle
    duties = action.policy.obligations if action.policy else ()
    entries = [entry(case, action, spend) for spend in action.spends]
    if action.decision is Decision.APPROVE:
        personal = personal_in(action, values)
        return [approved(input, case, action, personal=personal), *entries]
    wanted_by = prepared(bundle).wanted_by(action.policy, "confirm")
    if action.decision is Decision.CONFIRM:
        question = ask_requester(input, case, action, wanted_by)
        asking = [question, notice(bundle, case, action, "confirm")]
        return [*asking, *entries]
    facts = own_facts(bundle, action, verdict.facts, values)
    asked = [ask_requester(input, case, action, wanted_by)] if "confirm" in duties else []
    return [
        *asked,
        ask_reviewer(input, case, route, action, facts),
        notice(bundle, case, action, "review"),
        *entries,
    ]


def _repair(case: Case, proposal: Proposal, verdict: Verdict) -> Draft:
    step = Step(proposal=proposal, verdict=verdict)
    again = case.model_copy(
        update={"steps": (*case.steps, step), "proposal": None, "verdict": None}
    )
    return Draft("repair", str(case.step), again)
