"""A route: its candidates are asked in order, and the first that answers is taken."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from time import monotonic
from typing import Generic, Protocol, TypeVar, cast

from interlock.bundles.routes import ModelCandidate
from interlock.models.accounts import UNLIMITED, Account
from interlock.models.extractive.model import ExtractiveModel
from interlock.models.port import Model, ModelPassed, ModelRequest, ModelResponse
from interlock.models.pressure import Gauge
from interlock.models.race import Race
from interlock.models.recording import Recordings, RecordModel
from interlock.models.scripted import ScriptedModel
from interlock.runtime.errors import RetryLater, SlowDown
from interlock_contracts.canonical import digest
from interlock_contracts.failures import FailureCode

HOSTED = ("openai", "anthropic", "google", "vertex", "bedrock")
"""Providers that are asked over the network; they need the extra `interlock[models]`."""

KEEP = 256
"""How many candidates and accounts are remembered: more than all bundles in flight have."""


class Closing(Protocol):
    """A model with connections of its own."""

    async def aclose(self) -> None:
        """Close them."""


class _Hosted:
    """Imports the clients when a route first names one: that takes about two seconds."""

    def __init__(self) -> None:
        self._model: Model | None = None

    async def complete(self, request: ModelRequest, candidate: ModelCandidate) -> ModelResponse:
        return await (await self.ready()).complete(request, candidate)

    async def ready(self) -> Model:
        """The model, imported if it was not yet; raises `ModelPassed` where it is not installed."""
        if self._model is None:
            try:
                module = await asyncio.to_thread(import_module, "interlock.models.hosted")
            except ImportError:
                raise ModelPassed(
                    "its client is not installed: install interlock[models]"
                ) from None
            self._model = self._model or cast(Model, module.HostedModel())
        return self._model

    async def aclose(self) -> None:
        """Close the clients, if any were made."""
        if self._model is not None:
            await cast(Closing, self._model).aclose()


class _Unknown:
    """Stands in for a provider that nobody knows."""

    async def complete(self, _: ModelRequest, __: ModelCandidate) -> ModelResponse:
        raise ModelPassed("this installation has no such provider")


_UNKNOWN = _Unknown()


def known_models(recordings: Recordings | None = None) -> dict[str, Model]:
    """Every provider by name; those of `HOSTED` are imported when they are first asked.

    `recordings` is where `record` keeps what it hears, and `scripted` finds it again.
    """
    hosted = _Hosted()
    models: dict[str, Model] = dict.fromkeys(HOSTED, hosted)
    models |= {"extractive": ExtractiveModel(), "scripted": ScriptedModel(recordings)}
    return models | {"record": RecordModel(models, recordings)}


class ModelRoutes:
    """Asks the candidates of a request by their provider's name.

    What it keeps between requests is how each candidate and account did of late: that decides
    which one is asked, and the proposal records which one was, and why not those before it.
    """

    def __init__(
        self,
        models: Mapping[str, Model] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._models = known_models() if models is None else dict(models)
        self._clock = clock
        self._gauges: Recent[Gauge] = Recent(KEEP)
        self._accounts: Recent[Account] = Recent(KEEP)

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """The first good answer.

        Raises:
            SlowDown: with `model_unavailable`, when every candidate asked to be left alone.
            RetryLater: with `model_unavailable`, when every candidate passed otherwise.
        """
        race = Race(request, self._ask, self._clock)
        response = await race.run()
        if response is not None:
            return response
        message = f"no model of the route answered: {'; '.join((*request.passed, *race.passed))}"
        asked = [wait for wait in race.waits if wait is not None]
        if asked and len(asked) == len(race.waits):
            left = request.left_s
            if left is None or min(asked) < left:
                raise SlowDown(FailureCode.MODEL_UNAVAILABLE, message, delay=min(asked))
        raise RetryLater(FailureCode.MODEL_UNAVAILABLE, message)

    async def prepare(self, candidates: Iterable[ModelCandidate]) -> None:
        """Import what these need now, so that no request spends its time on that."""
        for name in {one.asked for one in candidates}:
            model = self._models.get(name)
            if isinstance(model, _Hosted):
                with suppress(ModelPassed):  # said when it is asked
                    await model.ready()

    async def aclose(self) -> None:
        """Close the connections of every model."""
        for model in set(self._models.values()):
            close = getattr(model, "aclose", None)
            if close is not None:
                await close()

    async def _ask(
        self, candidate: ModelCandidate, request: ModelRequest, left_s: float | None
    ) -> ModelResponse:
        model = self._models.get(candidate.provider, _UNKNOWN)
        gauge = self._gauges.get(digest(candidate), lambda: Gauge(candidate, self._clock))
        return await gauge.ask(model, request, self._account(candidate, request), left_s)

    def _account(self, candidate: ModelCandidate, request: ModelRequest) -> Account:
        name = candidate.account or candidate.asked
        limits = request.accounts.get(name)
        if limits is None:
            return UNLIMITED
        key = digest([name, limits.model_dump(mode="json")])
        return self._accounts.get(key, lambda: Account(limits, self._clock))


KeptT = TypeVar("KeptT")


class Recent(Generic[KeptT]):
    """Things by key; of more than `most` the one used longest ago is forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, KeptT] = OrderedDict()

    def get(self, key: str, make: Callable[[], KeptT]) -> KeptT:
        """The thing of this key, made now if there is none."""
        if key not in self._kept:
            self._kept[key] = make()
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
