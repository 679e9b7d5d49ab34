"""The question whether an answer may go out: the reviewer's card, and word to the producer."""

from datetime import timedelta

from interlock.contract_validator.holding import MENDS, shown_chunks
from interlock.runtime.stage import Draft, Input
from interlock_contracts.actions import Notice
from interlock_contracts.answer import Answer
from interlock_contracts.answer_review import AnswerReview, Attempt, Objection
from interlock_contracts.case import Case
from interlock_contracts.verdict import Held, Verdict

_WAITING = "Somebody looks at the answer before you get it."


def ask_about_answer(
    input: Input, case: Case, verdict: Verdict, held: Held, answer: Answer
) -> list[Draft]:
    """All a reviewer needs, exactly as it is bound; and the notice that they are asked."""
    bundle = input.bundle
    card = AnswerReview(
        action=held.action,
        digest=held.digest,
        review_class=held.review_class,
        reviewers=tuple(sorted(bundle.reviewers_of(held.review_class) or ())),
        requester=case.request.principal.user,
        request_text=case.request.text,
        answer=answer,
        chunks=shown_chunks(case),
        objections=tuple(
            Objection(**dict(one), mend=MENDS.get(one.code, "")) for one in verdict.violations
        ),
        attempts=tuple(
            Attempt(step=number, text=step.proposal.text, violations=step.verdict.violations)
            for number, step in enumerate(case.steps, 1)
            if step.verdict.violations
        ),
        overrides=held.overrides,
        expires_at=input.now + timedelta(seconds=bundle.limits.approval_ttl_s),
    )
    waiting = Notice(
        waiting_for="review",
        action=held.action,
        message=bundle.replies.get("waiting_answer", _WAITING),
    )
    return [
        Draft("answer_review", held.action, card),
        Draft("notice", held.action, waiting),
    ]
