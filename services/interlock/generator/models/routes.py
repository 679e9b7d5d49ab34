"""A route: its candidates are asked in order, and the first that answers is taken."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from time import monotonic
from typing import cast

from interlock.bundles.model import ModelCandidate
from interlock.generator.models.extractive.model import ExtractiveModel
from interlock.generator.models.port import Model, ModelPassed, ModelRequest, ModelResponse
from interlock.generator.models.pressure import Gauge
from interlock.generator.models.scripted import ScriptedModel
from interlock.runtime.errors import RetryLater, SlowDown
from interlock_contracts.canonical import digest
from interlock_contracts.failures import FailureCode

HOSTED = ("openai", "anthropic", "google", "bedrock")
"""Providers that are asked over the network; they need the extra `interlock[models]`."""


class _Hosted:
    """Imports the clients when a route first names one: that takes about two seconds."""

    def __init__(self) -> None:
        self._model: Model | None = None

    async def complete(self, request: ModelRequest, candidate: ModelCandidate) -> ModelResponse:
        if self._model is None:
            try:
                module = await asyncio.to_thread(import_module, "interlock.generator.models.hosted")
            except ImportError:
                raise ModelPassed(
                    "its client is not installed: install interlock[models]"
                ) from None
            self._model = self._model or cast(Model, module.HostedModel())
        return await self._model.complete(request, candidate)


class _Unknown:
    """Stands in for a provider that nobody knows."""

    async def complete(self, _: ModelRequest, __: ModelCandidate) -> ModelResponse:
        raise ModelPassed("this installation has no such provider")


_UNKNOWN = _Unknown()


def known_models() -> dict[str, Model]:
    """Every provider by name; those of `HOSTED` are imported when they are first asked."""
    hosted = _Hosted()
    embedded: dict[str, Model] = {"extractive": ExtractiveModel(), "scripted": ScriptedModel()}
    return embedded | {name: cast(Model, hosted) for name in HOSTED}


class ModelRoutes:
    """Asks the candidates of a request by their provider's name.

    What it keeps between requests is how each candidate did of late: that decides which one is
    asked, and the proposal records which one was, and why not those before it.
    """

    def __init__(
        self,
        models: Mapping[str, Model] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._models = known_models() if models is None else dict(models)
        self._clock = clock
        self._gauges: dict[str, Gauge] = {}

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """The first answer.

        Raises:
            SlowDown: with `model_unavailable`, when every candidate asked to be left alone.
            RetryLater: with `model_unavailable`, when every candidate passed otherwise.
        """
        passed: list[str] = []
        waits: list[float | None] = []
        for candidate in request.candidates:
            model = self._models.get(candidate.provider, _UNKNOWN)
            try:
                response = await self._gauge(candidate).ask(model, request)
            except ModelPassed as why:
                passed.append(f"{candidate.provider}/{candidate.model}: {why}")
                waits.append(why.retry_after)
            else:
                return replace(response, passed_over=tuple(passed))
        message = f"no model of the route answered: {'; '.join(passed)}"
        asked = [wait for wait in waits if wait is not None]
        if asked and len(asked) == len(waits):
            raise SlowDown(FailureCode.MODEL_UNAVAILABLE, message, delay=min(asked))
        raise RetryLater(FailureCode.MODEL_UNAVAILABLE, message)

    def _gauge(self, candidate: ModelCandidate) -> Gauge:
        key = digest(candidate)
        return self._gauges.setdefault(key, Gauge(candidate, self._clock))
