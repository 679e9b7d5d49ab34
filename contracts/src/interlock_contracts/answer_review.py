"""The question to a person whether an answer may go out: all they need to judge it by."""

from pydantic import Field

from interlock_contracts.answer import Answer
from interlock_contracts.base import CleanText, Digest, Model, Name, Time, Token, is_empty
from interlock_contracts.retrieval import Chunk
from interlock_contracts.verdict import Violation

_ANSWER = "-answer"


def answer_token(step: int) -> str:
    """Under which name people decide about the answer of a step, as if it were an action."""
    return f"{step}{_ANSWER}"


def is_answer_token(action: str) -> bool:
    """Whether a decision is about an answer, not about an action."""
    return action.endswith(_ANSWER)


class Objection(Violation):
    """One thing that is wrong with the answer, and what to look at before it is accepted."""

    mend: CleanText


class Attempt(Model):
    """What the model proposed at an earlier step, and why it was sent back."""

    step: int = Field(ge=1)
    text: CleanText
    violations: tuple[Violation, ...]


class AnswerReview(Model):
    """Asks somebody else of the tenant: may this answer go out, exactly as it stands here?

    `answer` is the event that an approval lets out, but for who approved it. `chunks` are the
    passages it cites, or all that were retrieved where it cites none. All of it is bound into
    `digest`. `overrides` are those of the bundle because of which an answer is seen that has
    nothing wrong with it.
    """

    action: Token
    digest: Digest
    review_class: Token
    reviewers: tuple[Name, ...] = Field(default=(), exclude_if=is_empty)
    """Who may decide; without names any reviewer of the tenant but the requester."""
    requester: Name
    request_text: CleanText
    answer: Answer
    chunks: tuple[Chunk, ...] = ()
    objections: tuple[Objection, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    overrides: tuple[Token, ...] = ()
    expires_at: Time
