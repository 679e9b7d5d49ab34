"""How hard a candidate is pressed: so many at once, so long, and not while it is in trouble."""

import asyncio
from collections.abc import Callable
from time import monotonic

from interlock.bundles.routes import ModelCandidate
from interlock.models.accounts import UNLIMITED, Account
from interlock.models.choice import max_output
from interlock.models.port import Model, ModelPassed, ModelRequest, ModelResponse

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

    async def ask(
        self,
        model: Model,
        request: ModelRequest,
        account: Account = UNLIMITED,
        left_s: float | None = None,
    ) -> ModelResponse:
        """Ask the model within its bounds and the request's; raises `ModelPassed`."""
        trial = self._admit()
        try:
            # What our own limits refuse says nothing about how the candidate is.
            call = account.admit(request.prompt_tokens + max_output(self._candidate))
            async with account.slot:
                response = await self._within(model, request, left_s)
        finally:
            if trial:
                self._trying = False
        read, written = response.input_tokens, response.output_tokens
        call.used(None if read is None else read + (written or 0))
        return response

    async def _within(
        self, model: Model, request: ModelRequest, left_s: float | None
    ) -> ModelResponse:
        """The answer in the candidate's time and the request's; what goes wrong is counted."""
        candidate = self._candidate
        patience = candidate.timeout_s if left_s is None else min(candidate.timeout_s, left_s)
        try:
            async with asyncio.timeout(patience), self._slots:
                response = await model.complete(request, candidate)
        except TimeoutError:
            if patience < candidate.timeout_s:
                raise ModelPassed("the request's time was over") from None
            self._failed(None)
            raise ModelPassed(f"no answer within {patience:g} s", unwell=True) from None
        except ModelPassed as passed:
            if passed.unwell or passed.retry_after is not None:
                self._failed(passed.retry_after)
            raise
        self._failures, self._until = 0, None
        return response

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
