"""What the intent-router decides."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from interlock_contracts.base import CleanText, Model, Score, Token, is_empty, is_none
from interlock_contracts.proposal import ModelRecord
from interlock_contracts.signals import Signal


class Risk(StrEnum):
    """How much harm an intent or a tool can do; ordered from least to most."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Reason(Model):
    """One reason for a decision: what kind, which rule, example or word, and how strong.

    The `rule` that decided has a score, others that matched too have none. The score of an
    `example` is its similarity to the request in 0..1, that of a `feature` (a word, or two) how
    much it spoke for the intent against the second best. A `model` is one whose choice was taken.
    """

    kind: Literal["rule", "example", "feature", "threshold", "role", "default", "model"]
    reference: CleanText
    score: Score | None = None


class Thresholds(Model):
    """How sure the router had to be, by the bundle; each in 0..1."""

    similarity: Score
    confidence: Score
    margin: Score


class Budget(Model):
    """What one request may spend. Times in milliseconds.

    `max_tokens` (read and written) and `max_cost_micros` (millionths of the unit that the
    bundle's prices are in) bound what models may use over all steps of the request.
    """

    deadline_ms: int = Field(default=30_000, gt=0)
    max_turns: int = Field(default=4, ge=1, le=32)
    max_repairs: int = Field(default=2, ge=0, le=8)
    max_tokens: int | None = Field(default=None, gt=0, exclude_if=is_none)
    max_cost_micros: int | None = Field(default=None, ge=0, exclude_if=is_none)


class Part(Model):
    """One of several things that a request asks for, and what it may use.

    `start` and `end` are offsets (code points, end exclusive) into the text of the request as the
    case has it. `output` is the contract that an answer to this part has to keep.
    """

    intent: Token
    risk: Risk
    start: int = Field(ge=0)
    end: int = Field(gt=0)
    confidence: Score
    margin: Score
    sources: tuple[Token, ...] = ()
    tools: tuple[Token, ...] = ()
    output: Token
    why: tuple[Reason, ...] = ()


class ModelChoice(Model):
    """What came of asking a model which intent a request has.

    `examples` is the intent it has without the model, `chosen` the model's. It came to: `taken`;
    `agreed`, the same as without; `riskier` than the bundle lets a model choose; `invalid`, no
    choice among the intents it was given; `unanswered`, no model said anything. In the last three
    the request goes the way it goes without the model. `reason` says why, where there is more to
    say; `model` is who was asked what and the raw answer: a recorded effect.
    """

    examples: Token
    chosen: Token | None = None
    came_to: Literal["taken", "agreed", "riskier", "invalid", "unanswered"]
    reason: CleanText | None = None
    model: ModelRecord | None = None

    @property
    def told(self) -> str:
        """In a line, for people."""
        who = f"{self.model.provider}/{self.model.model}" if self.model else "no model"
        said = f" chose {self.chosen}" if self.chosen else ""
        why = f" ({self.reason})" if self.reason else ""
        return f"{who}{said}: {self.came_to}{why}; the examples say {self.examples}"


class Route(Model):
    """The way a request goes: everything the stages after the router are held to.

    `confidence`, `margin` (distance to the second-best intent) and `similarity` (to the nearest
    examples) are in 0..1; `thresholds` are what they were held against. `plans` are tools
    that may be planned with and explained, and never run. With a `data_class`, only models that
    may have data of that class are asked. `overrides` are those of the bundle that apply to it,
    by id; the gate works them out again. `signals` are signs of an injection in what was written.
    Where a request asks for several things, `parts` has them in order; the route's own fields are
    then those of the riskiest, with the sources and tools of all. Where a model was asked which
    intent it is, `choice` says what came of it; how sure the examples were is told all the same.
    """

    intent: Token
    risk: Risk
    confidence: Score
    margin: Score
    sources: tuple[Token, ...]
    tools: tuple[Token, ...]
    output: Token
    model_route: Token
    plans: tuple[Token, ...] = Field(default=(), exclude_if=is_empty)
    data_class: Token | None = Field(default=None, exclude_if=is_none)
    review_class: Token | None = None
    budget: Budget = Budget()
    why: tuple[Reason, ...] = ()
    overrides: tuple[Token, ...] = Field(default=(), exclude_if=is_empty)
    signals: tuple[Signal, ...] = Field(default=(), exclude_if=is_empty)
    parts: tuple[Part, ...] = Field(default=(), exclude_if=is_empty)
    similarity: Score | None = Field(default=None, exclude_if=is_none)
    thresholds: Thresholds | None = Field(default=None, exclude_if=is_none)
    choice: ModelChoice | None = Field(default=None, exclude_if=is_none)

    def intents_with(self, field: Literal["sources", "tools"], name: str) -> tuple[str, ...]:
        """The intents that a source or tool is there for."""
        own = [one.intent for one in self.parts if name in getattr(one, field)]
        return tuple(dict.fromkeys(own)) or (self.intent,)
