"""The port of a model: what it is asked, what comes back, and how it declines."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from interlock.bundles.model import OutputContract
from interlock.bundles.routes import AccountLimits, ModelCandidate
from interlock_contracts.case import Case
from interlock_contracts.tools import ToolSpec


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One generation. A hosted model sees `prompt`; an embedded one may read the case itself.

    `tools` are those it may propose, `known` those of the route whether offered or not, `step` the
    number of the proposal it makes, and `candidates` the models that may be asked, in order of
    preference; `passed` says why others may not. `prompt_tokens` is how long the prompt is counted
    to be, `left_s` how many seconds the request has left (None: as long as it takes). What is
    asked for is a proposal, or, where there is a `schema`, JSON that fits it.
    """

    case: Case
    candidates: tuple[ModelCandidate, ...]
    prompt: str
    tools: tuple[ToolSpec, ...]
    contract: OutputContract
    step: int
    known: tuple[ToolSpec, ...] = ()
    passed: tuple[str, ...] = ()
    prompt_tokens: int = 0
    left_s: float | None = None
    hedge_after_s: float | None = None
    accounts: Mapping[str, AccountLimits] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """The raw text of one model's answer, and who gave it.

    `passed_over` names the candidates before it, each with why it did not answer. `raw` is the
    provider's own response, byte by byte, for whoever records it under a digest.
    """

    output: str
    provider: str
    model: str
    stop_reason: str = "end"
    input_tokens: int | None = None
    output_tokens: int | None = None
    passed_over: tuple[str, ...] = ()
    elapsed_ms: int | None = None
    raw: bytes | None = None
    recording: str | None = None


class ModelPassed(Exception):
    """This candidate does not answer this request; the next one may. The message says why.

    `unwell` says that the candidate itself is in trouble, whatever it is asked. `retry_after`
    is set, in seconds, when it asked to be left alone for a while, `raw` to what it said instead.
    """

    def __init__(self, why: str, *, unwell: bool = False, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.unwell = unwell
        self.retry_after = retry_after
        self.raw: bytes | None = None


class Model(Protocol):
    """One provider. It holds no state that changes its answers."""

    async def complete(self, request: ModelRequest, candidate: ModelCandidate) -> ModelResponse:
        """Answer as `candidate`; raises `ModelPassed`."""


Complete = Callable[[ModelRequest], Awaitable[ModelResponse]]
"""A route of models as one call: the recorded effect that a replay puts back."""
