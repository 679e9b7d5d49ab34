"""What the contract-validator decided of a proposal."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from interlock_contracts.base import (
    CleanText,
    Digest,
    Json,
    JsonObject,
    Model,
    Name,
    Score,
    Token,
    is_empty,
    is_none,
)
from interlock_contracts.failures import AREA_OF, Failure, FailureCode
from interlock_contracts.signals import Signal


class Decision(StrEnum):
    """What happens next; for a whole proposal, or for one action of it."""

    ANSWER = "answer"
    APPROVE = "approve"
    CONFIRM = "confirm"
    REVIEW = "review"
    REPAIR = "repair"
    REFUSE = "refuse"


class Violation(Failure):
    """One thing that is wrong with a proposal.

    `path` is a JSON pointer (RFC 6901) into the proposal.
    """

    path: CleanText = ""


def violation(code: FailureCode, path: str, message: str) -> Violation:
    """A `Violation` with the area that belongs to its code."""
    return Violation(area=AREA_OF[code], code=code, path=path, message=message)


class Origin(StrEnum):
    """Where the value of an argument comes from, most trustworthy first.

    `referred` is untrusted content that the user's own words point to: the page, the file, the
    channel they named, for a kind of value they did not give themselves.
    """

    CONSTANT = "constant"
    FACT = "fact"
    USER = "user"
    RESULT = "result"
    TRUSTED = "trusted"
    REFERRED = "referred"
    UNTRUSTED = "untrusted"
    INVENTED = "invented"


class Provenance(Model):
    """Where one argument value was found.

    `path` points into the arguments; `evidence` names the place (a turn, a chunk handle with
    offsets, a fact) and shows the matching text.
    """

    path: CleanText
    origin: Origin
    evidence: CleanText = ""


class Fact(Model):
    """What a system of record said when the gate asked: a recorded effect."""

    name: Token
    tool: Token
    arguments: JsonObject
    value: Json = None
    error: CleanText | None = None


class PolicyDecision(Model):
    """What the policies said of one action: allow or deny, and which of them decided.

    `overrides` are those of the bundle that obliged to more than the policies did.
    """

    allowed: bool
    policies: tuple[Name, ...] = ()
    obligations: tuple[CleanText, ...] = ()
    errors: tuple[CleanText, ...] = ()
    overrides: tuple[Token, ...] = Field(default=(), exclude_if=is_empty)


class Standing(Model):
    """What a rule's ledger said when the gate asked: a recorded effect.

    `head` is the number of the ledger's last entry (0: none). For a limit, `used` is how much of
    it counts at the moment; for a prerequisite, `state` is what came of it: `none` (nothing in
    time), `asked` (a person has not decided yet), `in_flight`, `landed`.
    """

    ledger: Token
    rule: CleanText
    head: int = Field(ge=0)
    used: Score = 0.0
    state: Literal["none", "asked", "in_flight", "landed"] = "none"


class Spend(Model):
    """The entry an action makes in a rule's ledger, together with its approval."""

    ledger: Token
    number: int = Field(ge=1)
    amount: Score = 0.0


class ActionVerdict(Model):
    """What was decided of one proposed tool call.

    `digest` binds tool, arguments, evidence and policy: a person who approves, approves it.
    `concerns` are the reasons why it is not automatic although nothing is wrong with it.
    `spends` are its entries in the ledgers of rules, if it may run or a person is asked.
    """

    action: Token
    tool: CleanText
    arguments: JsonObject
    decision: Decision
    digest: Digest
    provenance: tuple[Provenance, ...] = ()
    policy: PolicyDecision | None = None
    concerns: tuple[Violation, ...] = Field(default=(), exclude_if=is_empty)
    spends: tuple[Spend, ...] = Field(default=(), exclude_if=is_empty)


class Held(Model):
    """An answer that a person has to see before it goes out, in the place of its action.

    `digest` binds the answer, its sources and what is wrong with it: a person who approves,
    approves that. `overrides` are those of the bundle that want answers of this class seen.
    """

    action: Token
    digest: Digest
    review_class: Token
    overrides: tuple[Token, ...] = Field(default=(), exclude_if=is_empty)


class Verdict(Model):
    """The gate's decision, with every violation found.

    `citation_coverage` is the share of statements with at least one valid citation, or None
    where there is no answer. `standings` are what was read of the history beyond the request.
    `held` is there where an answer, not an action, waits for a person. `signals` are signs of an
    injection in what tools had returned before: evidence for overrides and policies.
    """

    decision: Decision
    violations: tuple[Violation, ...] = ()
    actions: tuple[ActionVerdict, ...] = ()
    facts: tuple[Fact, ...] = ()
    standings: tuple[Standing, ...] = Field(default=(), exclude_if=is_empty)
    citation_coverage: Score | None = Field(default=None, ge=0, le=1)
    held: Held | None = Field(default=None, exclude_if=is_none)
    signals: tuple[Signal, ...] = Field(default=(), exclude_if=is_empty)
