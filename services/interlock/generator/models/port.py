"""The port of a model: what it is asked, what comes back, and how it declines."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from interlock.bundles.model import ModelCandidate, OutputContract
from interlock_contracts.case import Case
from interlock_contracts.tools import ToolSpec


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One generation. A hosted model sees `prompt`; an embedded one may read the case itself.

    `tools` are those it may propose, `step` the number of the proposal it makes, and
    `candidates` the models of the route, in order of preference.
    """

    case: Case
    candidates: tuple[ModelCandidate, ...]
    prompt: str
    tools: tuple[ToolSpec, ...]
    contract: OutputContract
    step: int


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """The raw text of one model's answer, and who gave it.

    `passed_over` names the candidates before it, each with why it did not answer.
    """

    output: str
    provider: str
    model: str
    stop_reason: str = "end"
    input_tokens: int | None = None
    output_tokens: int | None = None
    passed_over: tuple[str, ...] = ()


class ModelPassed(Exception):
    """This candidate does not answer this request; the next one may. The message says why.

    `unwell` says that the candidate itself is in trouble, whatever it is asked. `retry_after`
    is set, in seconds, when it asked to be left alone for a while.
    """

    def __init__(self, why: str, *, unwell: bool = False, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.unwell = unwell
        self.retry_after = retry_after


class Model(Protocol):
    """One provider. It holds no state that changes its answers."""

    async def complete(self, request: ModelRequest, candidate: ModelCandidate) -> ModelResponse:
        """Answer as `candidate`; raises `ModelPassed`."""


Complete = Callable[[ModelRequest], Awaitable[ModelResponse]]
"""A route of models as one call: the recorded effect that a replay puts back."""
