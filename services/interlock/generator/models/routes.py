"""A route: its candidates are asked in order, and the first that answers is taken."""

from collections.abc import Mapping
from dataclasses import replace

from interlock.bundles.model import ModelCandidate
from interlock.generator.models.extractive.model import ExtractiveModel
from interlock.generator.models.port import Model, ModelPassed, ModelRequest, ModelResponse
from interlock.generator.models.scripted import ScriptedModel
from interlock.runtime.errors import RetryLater
from interlock_contracts.failures import FailureCode


def embedded_models() -> dict[str, Model]:
    """The providers that need no network, by name."""
    return {"extractive": ExtractiveModel(), "scripted": ScriptedModel()}


class _Unknown:
    """Stands in for a provider that is not installed."""

    async def complete(self, _: ModelRequest, __: ModelCandidate) -> ModelResponse:
        raise ModelPassed("this installation has no such provider")


_UNKNOWN = _Unknown()


class ModelRoutes:
    """Asks the candidates of a request by their provider's name."""

    def __init__(self, models: Mapping[str, Model] | None = None) -> None:
        self._models = embedded_models() if models is None else dict(models)

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """The first answer.

        Raises:
            RetryLater: with `model_unavailable`, when every candidate passed.
        """
        passed: list[str] = []
        for candidate in request.candidates:
            model = self._models.get(candidate.provider, _UNKNOWN)
            try:
                response = await model.complete(request, candidate)
            except ModelPassed as why:
                passed.append(f"{candidate.provider}/{candidate.model}: {why}")
            else:
                return replace(response, passed_over=tuple(passed))
        raise RetryLater(
            FailureCode.MODEL_UNAVAILABLE, f"no model of the route answered: {'; '.join(passed)}"
        )
