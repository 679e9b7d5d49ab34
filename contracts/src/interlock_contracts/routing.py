"""What the intent-router decides."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from interlock_contracts.base import CleanText, Model, Score, Token


class Risk(StrEnum):
    """How much harm an intent or a tool can do; ordered from least to most."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Reason(Model):
    """One reason for a decision: what kind, which rule or example, and how strong."""

    kind: Literal["rule", "example", "threshold", "role", "default"]
    reference: CleanText
    score: Score | None = None


class Budget(Model):
    """What one request may spend. Times in milliseconds."""

    deadline_ms: int = Field(default=30_000, gt=0)
    max_turns: int = Field(default=4, ge=1, le=32)
    max_repairs: int = Field(default=2, ge=0, le=8)


class Route(Model):
    """The way a request goes: everything the stages after the router are held to.

    `confidence` and `margin` (distance to the second-best intent) are in 0..1.
    """

    intent: Token
    risk: Risk
    confidence: Score
    margin: Score
    sources: tuple[Token, ...]
    tools: tuple[Token, ...]
    output: Token
    model_route: Token
    review_class: Token | None = None
    budget: Budget = Budget()
    why: tuple[Reason, ...] = ()
