"""What leaves the gate for a person or an executor, and what comes back."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from interlock_contracts.base import (
    CleanText,
    Digest,
    Json,
    JsonObject,
    Model,
    Name,
    RequestId,
    Score,
    Time,
    Token,
    is_absent,
    is_empty,
)
from interlock_contracts.canonical import canonical_json, digest
from interlock_contracts.failures import Failure
from interlock_contracts.privacy import PersonalData
from interlock_contracts.verdict import Fact, PolicyDecision, Provenance, Violation


class Confirm(Model):
    """Asks the requester: shall this really run? Carries the action, not the case.

    `policies` are those, overrides included, that want it confirmed; `concerns` the gate's own
    reasons, each with a JSON pointer into the proposal: what came from content of others, what
    is unusual.
    """

    action: Token
    tool: Token
    arguments: JsonObject
    summary: CleanText
    digest: Digest
    expires_at: Time
    personal: tuple[PersonalData, ...] = Field(default=(), exclude_if=is_absent)
    """The placeholders in it, and where their values stand in the request."""
    policies: tuple[Name, ...] = Field(default=(), exclude_if=is_absent)
    concerns: tuple[Violation, ...] = Field(default=(), exclude_if=is_absent)


class Review(Model):
    """Asks somebody else of the tenant: the why-card of one action.

    For each argument where it comes from, the facts it was judged by, and what the policies
    said; all of it is bound into `digest`.
    """

    action: Token
    tool: Token
    arguments: JsonObject
    summary: CleanText
    digest: Digest
    review_class: Token
    reviewers: tuple[Name, ...] = Field(default=(), exclude_if=is_empty)
    """Who may decide; without names any reviewer of the tenant but the requester."""
    requester: Name
    request_text: CleanText
    provenance: tuple[Provenance, ...]
    facts: tuple[Fact, ...]
    policy: PolicyDecision | None = None
    concerns: tuple[Violation, ...] = ()
    expires_at: Time


class Decided(Model):
    """What a person decided. It counts only for exactly the `digest` that was shown."""

    action: Token
    decision: Literal["approve", "deny"]
    digest: Digest
    by: Name
    note: CleanText = ""


class Notice(Model):
    """Tells the producer that a request waits for a person."""

    waiting_for: Literal["confirm", "review"]
    action: Token
    message: CleanText
    personal: tuple[PersonalData, ...] = Field(default=(), exclude_if=is_absent)
    """The placeholders in it, and where their values stand in the request."""


class Grant(Model):
    """An approved action: a signed, single-use, expiring grant to run one tool once.

    The Ed25519 `signature` (base64) covers every other field in canonical JSON; see
    `signed_bytes`. `effect_key` names the effect and is passed to the tool as its
    idempotency key. `personal` are those values in the arguments for which the log has
    placeholders: an executor puts the placeholders into what it reports.
    """

    action: Token
    tenant: Token
    request_id: Token
    tool: Token
    arguments: JsonObject
    arguments_digest: Digest
    action_digest: Digest
    effect_key: Token
    bundle: Digest
    requester: Name
    approved_by: tuple[Name, ...] = ()
    issued_at: Time
    expires_at: Time
    epoch: int = Field(default=0, ge=0)
    personal: dict[str, str] = Field(default={}, exclude_if=is_absent)
    key_id: Token
    signature: CleanText

    def signed_bytes(self) -> bytes:
        """The bytes under the signature: canonical JSON of all fields but the signature."""
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}))


class Reservation(Model):
    """An executor's claim on one effect, written once before the tool is called.

    Its subject's step is the effect key: one claim per effect, whichever action asks for it.
    """

    action: Token
    tool: Token
    effect_key: Token
    executor: Name


class Spent(Model):
    """One entry in the ledger of a rule: an action that counts until it did not happen.

    Written with the action's approval, or with the question to a person about it. On its subject
    the ledger stands where others have the request, and the entry's number as the step: of two
    decisions that go by the same state of a ledger only one is stored.
    """

    ledger: Token
    number: int = Field(ge=1)
    request: RequestId
    action: Token
    tool: Token
    amount: Score = 0.0


class Effect(StrEnum):
    """What a tool call did to the world."""

    LANDED = "landed"
    DID_NOT_HAPPEN = "did_not_happen"
    IN_DOUBT = "in_doubt"


class Result(Model):
    """What came of one action. `output` is what the tool returned, as JSON."""

    action: Token
    tool: CleanText
    effect: Effect
    effect_key: Token
    output: Json = None
    failure: Failure | None = None


def effect_key(tenant: str, request_id: str, tool: str, arguments: dict[str, Any]) -> str:
    """The name of an effect: the same tool with the same arguments, once per request.

    64 hex digits of SHA-256 over canonical JSON; independent of the model's own call ids and
    of the step, so that a proposal made twice is still one effect.
    """
    return digest([tenant, request_id, tool, arguments]).removeprefix("sha256:")
