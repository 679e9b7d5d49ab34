"""Which models are asked, in what order and at what price: parts of a bundle."""

from typing import Any, Literal

from pydantic import Field

from interlock_contracts.base import (
    CleanText,
    Model,
    Token,
    is_empty,
    is_none,
)

Task = Literal["answer", "act", "plan", "repair", "conclude", "classify"]
"""What a model is asked for: an answer, an answer or tool calls, a plan, the repair of what the
gate refused, the words for what tools have done, or which intent a request has."""


class ModelCandidate(Model):
    """One model of a route. `options` are the provider's own settings; never a secret.

    It is given up after `timeout_s` seconds, waiting for a free slot of `max_concurrent`
    included. After `max_failures` in a row that are not the request's fault it is left alone
    for `pause_s` seconds, and then tried by one request.

    It is passed over for a request that is another task than `tasks` (none named: any), that has
    less than `needs_s` seconds left, that may cost more than `max_cost_micros`, whose data class
    is none of `data_classes`, or whose tenant's data may not go to `region`. The last two do not
    concern what runs inside the service itself. `account` names the entry of the bundle's
    `accounts` whose limits it shares; without, that of its provider's name, if there is one.
    """

    provider: Token
    model: CleanText
    options: dict[str, Any] = {}
    timeout_s: float = Field(default=30.0, gt=0, le=600)
    max_concurrent: int = Field(default=32, ge=1)
    max_failures: int = Field(default=5, ge=1)
    pause_s: float = Field(default=30.0, gt=0)
    tasks: tuple[Task, ...] = Field(default=(), exclude_if=is_empty)
    needs_s: float | None = Field(default=None, gt=0, exclude_if=is_none)
    max_cost_micros: int | None = Field(default=None, ge=0, exclude_if=is_none)
    data_classes: tuple[Token, ...] = Field(default=(), exclude_if=is_empty)
    region: Token | None = Field(default=None, exclude_if=is_none)
    account: Token | None = Field(default=None, exclude_if=is_none)

    @property
    def asked(self) -> str:
        """The provider that is really asked: what `record` wraps, or its own."""
        return str(self.options.get("of", "")) if self.provider == "record" else self.provider

    @property
    def embedded(self) -> bool:
        """Whether it runs inside the service: nothing leaves it and nothing is paid for."""
        return self.asked in ("extractive", "scripted")


class ModelRoute(Model):
    """Ordered candidates: the first that can answer does. `prompt` names the template.

    With `hedge_after_s` the next hosted candidate is asked too when the first has not answered by
    then; the first good answer is taken. A prompt has at most `history_turns` earlier turns, and
    is made to fit into `prompt_tokens`.
    """

    candidates: tuple[ModelCandidate, ...] = Field(min_length=1)
    prompt: Token = "answer"
    hedge_after_s: float | None = Field(default=None, gt=0, exclude_if=is_none)
    history_turns: int | None = Field(default=None, ge=0, exclude_if=is_none)
    prompt_tokens: int | None = Field(default=None, gt=0, exclude_if=is_none)


class Price(Model):
    """What a million tokens cost, read and written, in whatever unit all prices are in."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class AccountLimits(Model):
    """What one process that asks models may ask of an account.

    Each process holds to it for itself: with several of them this is the account's limit divided
    by their number.
    """

    max_concurrent: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
