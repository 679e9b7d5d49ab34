"""Asking a request's candidates: one after the other, or two at once when the first is slow."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from interlock.bundles.routes import ModelCandidate
from interlock.models import metrics
from interlock.models.port import ModelPassed, ModelRequest, ModelResponse

Ask = Callable[[ModelCandidate, ModelRequest, float | None], Awaitable[ModelResponse]]
"""Asks one candidate, with how many seconds the request has left; raises `ModelPassed`."""


@dataclass(frozen=True, slots=True)
class _Run:
    candidate: ModelCandidate
    started: float

    @property
    def name(self) -> str:
        return f"{self.candidate.provider}/{self.candidate.model}"

    def count(self, outcome: str) -> None:
        """Count this call as one that came to nothing."""
        if not self.candidate.embedded:
            metrics.not_answered(self.candidate.asked, self.candidate.model, outcome)


class Race:
    """One request on its way through its candidates.

    The next is asked when the one before passes, or, with `hedge_after_s`, when it has not
    answered by then. At most two are asked at once. The first answer is taken and the other call
    cancelled; what that one used nobody knows.
    """

    def __init__(self, request: ModelRequest, ask: Ask, clock: Callable[[], float]) -> None:
        self._request = request
        self._ask = ask
        self._clock = clock
        self._began = clock()
        self._waiting = deque(request.candidates)
        self._runs: dict[int, _Run] = {}
        self._cut: list[_Run] = []
        self.passed: list[str] = []
        """Who did not answer, and why."""
        self.waits: list[float | None] = []
        """For each of them after how many seconds it may be asked again, if it said so."""

    async def run(self) -> ModelResponse | None:
        """The first answer, with what became of the others; None if there is none."""
        hedge = self._request.hedge_after_s
        response = await (self._in_turn() if hedge is None else self._two_at_once(hedge))
        if response is None:
            return None
        return replace(response, passed_over=(*self._request.passed, *self._others()))

    async def _in_turn(self) -> ModelResponse | None:
        while self._waiting:
            response = await self._asked(_Run(self._waiting.popleft(), self._clock()))
            if response is not None:
                return response
        return None

    async def _two_at_once(self, hedge: float) -> ModelResponse | None:
        running: set[asyncio.Task[ModelResponse | None]] = set()
        try:
            while running or self._waiting:
                if not running:
                    running.add(self._start())
                # What runs inside the service would always win: it is for when others fail.
                another = self._waiting and not self._waiting[0].embedded
                patience = hedge if another and len(running) == 1 else None
                done, running = await asyncio.wait(
                    running, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    running.add(self._start())
                answered = [task.result() for task in done if task.result() is not None]
                if answered:
                    return answered[0]
        finally:
            self._cut = list(self._runs.values())
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return None

    def _start(self) -> "asyncio.Task[ModelResponse | None]":
        return asyncio.create_task(self._asked(_Run(self._waiting.popleft(), self._clock())))

    async def _asked(self, run: _Run) -> ModelResponse | None:
        """One candidate's answer; None, with the reason noted, if it passes."""
        left = self._request.left_s
        left = None if left is None else max(0.0, left - (run.started - self._began))
        self._runs[id(run)] = run
        try:
            response = await self._ask(run.candidate, self._request, left)
        except ModelPassed as why:
            self.passed.append(f"{run.name}: {why}")
            self.waits.append(why.retry_after)
            run.count("passed")
            return None
        except asyncio.CancelledError:
            run.count("cancelled")
            raise
        finally:
            del self._runs[id(run)]
        if run.candidate.embedded:
            return response
        seconds = self._clock() - run.started
        metrics.answered(response, seconds)
        return replace(response, elapsed_ms=round(seconds * 1000))

    def _others(self) -> list[str]:
        now = self._clock()
        slower = [
            f"{run.name}: another answered first; cancelled after {now - run.started:.2f} s"
            for run in self._cut
        ]
        return [*self.passed, *slower]
