"""How hard a candidate is pressed: so many at once, so long, and not while it is in trouble."""

import asyncio
from collections.abc import Callable
from time import monotonic

from interlock.bundles.model import ModelCandidate
from interlock.generator.models.port import Model, ModelPassed, ModelRequest, ModelResponse

MAX_PAUSE_S = 600.0
"""However long a provider asks to be left alone, it is asked again after this."""


class Gauge:
    """What is known of one candidate: who waits for it, and how it did of late.

    Closed: asked as usual. Open: not asked until `_until`. Then one request may try; if that
    goes well it is closed again, if not it stays open for another pause.
    """

    def __init__(self, candidate: ModelCandidate, clock: Callable[[], float] = monotonic) -> None:
        self._candidate = candidate
        self._clock = clock
        self._slots = asyncio.Semaphore(candidate.max_concurrent)
        self._failures = 0
        self._until: float | None = None
        self._trying = False

    async def ask(self, model: Model, request: ModelRequest) -> ModelResponse:
        """Ask the model within its bounds; raises `ModelPassed`."""
        trial = self._admit()
        try:
            async with asyncio.timeout(self._candidate.timeout_s), self._slots:
                response = await model.complete(request, self._candidate)
        except TimeoutError:
            self._failed(None)
            why = f"no answer within {self._candidate.timeout_s:g} s"
            raise ModelPassed(why, unwell=True) from None
        except ModelPassed as passed:
            if passed.unwell or passed.retry_after is not None:
                self._failed(passed.retry_after)
            raise
        else:
            self._failures, self._until = 0, None
            return response
        finally:
            if trial:
                self._trying = False

    def _admit(self) -> bool:
        """Whether this request is the one that tries; raises `ModelPassed` while it is open."""
        if self._until is None:
            return False
        left = self._until - self._clock()
        if left > 0:
            raise ModelPassed(f"left alone for {left:.0f} s more", retry_after=left)
        if self._trying:
            raise ModelPassed("another request is trying it", retry_after=1.0)
        self._trying = True
        return True

    def _failed(self, retry_after: float | None) -> None:
        self._failures += 1
        pause = None if retry_after is None else min(retry_after, MAX_PAUSE_S)
        if pause is None and self._failures >= self._candidate.max_failures:
            pause = self._candidate.pause_s
        if pause is not None:
            self._until = max(self._until or 0.0, self._clock() + pause)
