"""The optional model-based classifier of a bundle: which model, when, and how far it may go."""

from typing import Literal

from pydantic import Field

from interlock_contracts.base import Model, Token


class ModelClassifier(Model):
    """A model that is asked which intent a request has, where no rule says so.

    `model` names the model route; its prompt sees `request`, `history` and `intents`. It is asked
    `always`, or when the examples are `unsure`: they come to no intent, or to one with less than
    this `confidence` or `margin`. It chooses among `intents` (none named: all of the bundle) and
    the fallback; a request that the examples take for another intent is none of its business.

    It may choose what is no riskier than what the examples say: no higher risk, no tool that
    changes anything where there was none, no loss of a data class. `upwards` are the intents it may
    choose all the same.
    Without an answer within `timeout_s` seconds the request goes the way of the examples.
    """

    model: Token
    when: Literal["unsure", "always"] = "unsure"
    confidence: float = Field(default=0.0, ge=0, le=1)
    margin: float = Field(default=0.0, ge=0, le=1)
    intents: tuple[Token, ...] = ()
    upwards: tuple[Token, ...] = ()
    timeout_s: float = Field(default=5.0, gt=0, le=60)
