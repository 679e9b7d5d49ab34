"""What a provider lets an account do: so much at once, and so much in any sixty seconds."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from time import monotonic

from interlock.bundles.routes import AccountLimits
from interlock.models.port import ModelPassed

WINDOW_S = 60.0


class Window:
    """At most `most` in any `WINDOW_S` seconds. What alone is more waits for an empty window."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: deque[list[float]] = deque()  # [when, how much]
        self._total = 0.0

    def wait(self, amount: int, now: float) -> float:
        """How many seconds it takes until `amount` more fits; 0 if it does."""
        while self._taken and now - self._taken[0][0] >= WINDOW_S:
            self._total -= self._taken.popleft()[1]
        over = self._total + min(amount, self._most) - self._most
        for when, taken in self._taken:
            if over <= 0:
                break
            over -= taken
            until = when + WINDOW_S - now
            if over <= 0:
                return until
        return 0.0

    def take(self, amount: int, now: float) -> list[float]:
        """Count `amount` from now on; the entry can be handed to `settle`."""
        entry = [now, float(amount)]
        self._taken.append(entry)
        self._total += amount
        return entry

    def settle(self, entry: list[float], amount: int) -> None:
        """Put right what an entry was counted for, while it still counts."""
        if any(one is entry for one in self._taken):
            self._total += amount - entry[1]
            entry[1] = float(amount)


class Call:
    """One call on an account; `used` says afterwards how many tokens it really took."""

    def __init__(self, tokens: Window | None, entry: list[float] | None) -> None:
        self._tokens = tokens
        self._entry = entry

    def used(self, tokens: int | None) -> None:
        """Count what the provider says instead of what was expected."""
        if self._tokens is not None and self._entry is not None and tokens is not None:
            self._tokens.settle(self._entry, tokens)


class Account:
    """The limits of one account and what of them is in use."""

    def __init__(self, limits: AccountLimits, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        at_once = limits.max_concurrent
        self._slots = None if at_once is None else asyncio.Semaphore(at_once)
        per_minute = limits.requests_per_minute
        self._requests = None if per_minute is None else Window(per_minute)
        tokens = limits.tokens_per_minute
        self._tokens = None if tokens is None else Window(tokens)

    @property
    def slot(self) -> AbstractAsyncContextManager[None]:
        """One of the calls it takes at once; entering waits for it."""
        return nullcontext() if self._slots is None else self._slots

    def admit(self, expected_tokens: int) -> Call:
        """Count one call; raises `ModelPassed` with how long to wait where it is one too many."""
        now = self._clock()
        for window, amount, of in (
            (self._requests, 1, "requests"),
            (self._tokens, expected_tokens, "tokens"),
        ):
            wait = 0.0 if window is None else window.wait(amount, now)
            if wait > 0:
                raise ModelPassed(
                    f"its {of} of this minute are used up for {wait:.0f} s", retry_after=wait
                )
        if self._requests is not None:
            self._requests.take(1, now)
        entry = None if self._tokens is None else self._tokens.take(expected_tokens, now)
        return Call(self._tokens, entry)


UNLIMITED = Account(AccountLimits())
"""The account of a provider for which the bundle states no limits."""
