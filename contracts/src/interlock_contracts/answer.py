"""What the producer gets, and what is kept of what could not be processed."""

from enum import StrEnum

from pydantic import Field

from interlock_contracts.actions import Effect
from interlock_contracts.base import (
    Base64,
    CleanText,
    Digest,
    Json,
    JsonObject,
    Model,
    Name,
    RequestId,
    Token,
    is_absent,
    is_none,
)
from interlock_contracts.failures import Failure, FailureCode
from interlock_contracts.privacy import PersonalData


class AnswerStatus(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    FAILED = "failed"


class Source(Model):
    """A citation as the reader sees it: which document, and its words."""

    handle: Token
    document_id: Name
    title: CleanText = ""
    url: CleanText | None = None
    quote: CleanText


class ActionOutcome(Model):
    """What was done, or not, on the requester's behalf."""

    action: Token
    tool: CleanText
    effect: Effect
    failure: Failure | None = None


class Approval(Model):
    """That a person saw an answer before it went out, and let it.

    `digest` is that of the question they were asked; `accepted` are the codes of what the gate
    found wrong with the answer, and they let stand.
    """

    by: tuple[Name, ...]
    digest: Digest
    accepted: tuple[FailureCode, ...] = ()


class Answer(Model):
    """The one answer to a request; `data` is the structured one, where the bundle wants one.

    `bundle` is None when the request was refused before a bundle took it on. `approval` is there
    where a person let it out.
    """

    request_id: RequestId
    status: AnswerStatus
    text: CleanText
    sources: tuple[Source, ...] = ()
    actions: tuple[ActionOutcome, ...] = ()
    failures: tuple[Failure, ...] = ()
    bundle: Digest | None = None
    personal: tuple[PersonalData, ...] = Field(default=(), exclude_if=is_absent)
    """The placeholders in it, and where their values stand in the request."""
    data: JsonObject | None = Field(default=None, exclude_if=is_absent)
    approval: Approval | None = Field(default=None, exclude_if=is_none)


class DeadLetter(Model):
    """A message that could not be processed, with the reason and the original.

    `original` is given as base64 and read as the bytes themselves. It is None only when it is
    larger than a megabyte; it then stands on the log at `sequence` all the same.
    """

    stage: Token
    subject: CleanText
    sequence: int = Field(ge=0)
    headers: dict[str, str] = {}
    original: Base64 | None = None
    original_digest: Digest
    failure: Failure
    deliveries: int = Field(default=1, ge=1)


class Retry(Model):
    """An operator's order to process a dead letter again, at the stage it died in."""

    dead_letter: CleanText
    stage: Token
    attempt: int = Field(ge=1)
    by: Name
    note: CleanText = ""


class Discard(Model):
    """An operator's decision that a dead letter needs nothing more."""

    dead_letter: CleanText
    by: Name
    note: CleanText = ""


class FactRequest(Model):
    """The gate's question to a read-only tool: request-reply, not on the log."""

    tenant: Token
    request_id: Token
    tool: Token
    arguments: JsonObject


class FactReply(Model):
    """The answer to a `FactRequest`: a value, or why there is none."""

    value: Json = None
    error: CleanText | None = None
