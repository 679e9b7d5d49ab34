"""What a producer submits."""

from typing import Literal

from pydantic import Field

from interlock_contracts.base import CleanText, Model, Name, RequestId, RequestText, Time, Token

Role = Literal["user", "assistant"]


class Principal(Model):
    """Who is asking: the identity the producer has authenticated, and what it may see."""

    user: Name
    role: Token
    scopes: tuple[Token, ...] = Field(default=(), max_length=64)


class Turn(Model):
    """One earlier turn of the conversation."""

    role: Role
    text: RequestText


class Request(Model):
    """One request to an LLM feature. `request_id` is also its idempotency key.

    `deadline` is the moment after which nobody waits for the answer; without one the
    bundle's own time limit counts from the moment the request was logged. `consent` says
    whether the text may be kept for evals.
    """

    request_id: RequestId
    tenant: Token
    principal: Principal
    text: RequestText
    history: tuple[Turn, ...] = Field(default=(), max_length=64)
    channel: Token = "api"
    deadline: Time | None = None
    consent: bool = False
    locale: CleanText = "en"
