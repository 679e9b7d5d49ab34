"""Whether an answer goes out by itself: what it would be, and who has to see it first.

A person may let an answer out that still does not keep to its contract, where the contract says
so, but only past what `MENDS` names. Everything else is a promise to somebody other than the
reviewer: nobody's yes stands in for it.
"""

from collections.abc import Sequence

from interlock.bundles.overrides import overrides_of
from interlock.contract_validator.answers import (
    clean_answer,
    extracted,
    not_found,
    refused,
    with_personal,
)
from interlock.contract_validator.gate import Gate
from interlock.contract_validator.outcome import repairable
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.answer_review import answer_token
from interlock_contracts.canonical import digest
from interlock_contracts.case import Case
from interlock_contracts.failures import Failure, FailureCode, failure
from interlock_contracts.privacy import Values
from interlock_contracts.proposal import Proposal
from interlock_contracts.retrieval import Chunk
from interlock_contracts.routing import Route
from interlock_contracts.verdict import Decision, Held, Verdict, Violation

MENDS: dict[FailureCode, str] = {
    FailureCode.CITATION_MISSING: "it names no source: look for one in the passages",
    FailureCode.CITATION_NOT_RETRIEVED: (
        "the source it names does not exist, and is left out: look for one in the passages"
    ),
    FailureCode.QUOTE_NOT_IN_SOURCE: (
        "the quote is left out: does the passage say what the sentence says?"
    ),
    FailureCode.VALUE_NOT_IN_SOURCE: "look the value up in the system it should be from",
    FailureCode.STATEMENT_UNSUPPORTED: "does a passage say this, in other words perhaps?",
    FailureCode.LENGTH_EXCEEDED: "may it be this long where it is shown?",
    FailureCode.SECTION_MISSING: "is it complete without this section?",
    FailureCode.LANGUAGE_WRONG: "will the requester understand it?",
}
"""What a person may let stand, and what they should look at before they do (decision 19)."""

_UNSOUND = {FailureCode.CITATION_NOT_RETRIEVED, FailureCode.QUOTE_NOT_IN_SOURCE}
"""Citations with these are never among an answer's sources, whoever lets it out."""


def answer_to(case: Case, gate: Gate, verdict: Verdict) -> Answer:
    """The answer in which a proposal would end that nothing runs of.

    As proposed; after the last repair what its contract falls back to; or a refusal.
    """
    route, proposal = _parts(case)
    why: list[Failure] = list(verdict.violations)
    if not why:
        clean = clean_answer(case, proposal)
        return with_personal(case, not_found(case, gate.bundle) if proposal.abstained else clean)
    found = None
    if repairable(verdict.violations):
        message = f"still wrong after {route.budget.max_repairs} repairs"
        why.insert(0, failure(FailureCode.REPAIRS_EXHAUSTED, message))
        contract, forbidden = gate.output(route)
        if contract.fallback == "extractive" and not proposal.calls:
            found = extracted(case, contract, forbidden, why)
        elif contract.fallback == "review" and acceptable(verdict.violations):
            found = clean_answer(case, _sound(proposal, verdict.violations), why)
    return with_personal(case, found or refused(case, gate.bundle, why))


def hold(case: Case, gate: Gate, verdict: Verdict, values: Values) -> tuple[Verdict, Answer | None]:
    """The verdict, held where a person has to see the answer first; and the answer.

    None where the proposal comes to no answer yet. `values` are what placeholders stand for.
    """
    if verdict.decision not in (Decision.ANSWER, Decision.REFUSE):
        return verdict, None
    answer = answer_to(case, gate, verdict)
    if answer.status is not AnswerStatus.ANSWERED:
        return verdict, answer
    route, _ = _parts(case)
    contract, _ = gate.output(route)
    wanted = [
        one
        for one in overrides_of(gate.bundle, case, route, verdict.signals)
        if one.effect == "review" and one.answers
    ]
    doubtful = bool(verdict.violations) and contract.fallback == "review"
    if not doubtful and not wanted:
        return verdict, answer
    # As for actions: an override never takes from those who have to look at it anyway.
    named = contract.review_class if doubtful else wanted[0].review_class
    review_class = named or route.review_class or "general"
    overrides = tuple(one.id for one in wanted)
    seal = _bind(case, gate.bundle.digest, answer, verdict, (review_class, *overrides), values)
    held = Held(
        action=answer_token(case.step),
        digest=seal,
        review_class=review_class,
        overrides=overrides,
    )
    return verdict.model_copy(update={"decision": Decision.REVIEW, "held": held}), answer


def acceptable(violations: Sequence[Violation]) -> bool:
    """Whether a person may let an answer out with all of these."""
    return all(one.code in MENDS for one in violations)


def shown_chunks(case: Case) -> tuple[Chunk, ...]:
    """The passages that an answer names, or all there are where it names none."""
    _, proposal = _parts(case)
    named = {one.handle for said in proposal.statements for one in said.citations}
    chunks = case.context.chunks if case.context else ()
    return tuple(one for one in chunks if one.handle in named) or chunks


def _bind(
    case: Case,
    bundle: str,
    answer: Answer,
    verdict: Verdict,
    asked: Sequence[str],
    values: Values,
) -> str:
    """The digest a person approves: the answer, its passages, what is wrong, who is asked.

    It also holds tenant, request and bundle: an approval counts nowhere else.
    """
    request, said = case.request, answer.model_dump(mode="json")
    used = {name: value for name, value in values.items() if name in str(said)}
    return digest(
        {
            **({"personal": used} if used else {}),
            "tenant": request.tenant,
            "request_id": request.request_id,
            "requester": request.principal.user,
            "bundle": bundle,
            "action": answer_token(case.step),
            "answer": said,
            "chunks": [[one.handle, one.digest] for one in shown_chunks(case)],
            "violations": [[one.code, one.path, one.message] for one in verdict.violations],
            "asked": list(asked),
        }
    )


def _sound(proposal: Proposal, violations: Sequence[Violation]) -> Proposal:
    """The proposal without citations that name nothing, or quote what does not stand there."""
    wrong = {one.path.rpartition("/")[0] for one in violations if one.code in _UNSOUND}
    statements = tuple(
        said.model_copy(
            update={
                "citations": tuple(
                    one
                    for number, one in enumerate(said.citations)
                    if f"/statements/{at}/citations/{number}" not in wrong
                )
            }
        )
        for at, said in enumerate(proposal.statements)
    )
    return proposal.model_copy(update={"statements": statements})


def _parts(case: Case) -> tuple[Route, Proposal]:
    assert case.route is not None  # the stage has looked
    assert case.proposal is not None
    return case.route, case.proposal
