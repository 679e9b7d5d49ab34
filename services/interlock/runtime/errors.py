"""How a stage says that it cannot go on: three different things, three types.

Anything else that escapes a stage is treated as a `RetryLater` with code `stage_failed`.
"""

from interlock_contracts.event import InvalidEvent
from interlock_contracts.failures import FailureCode


class NeverRetry(InvalidEvent):
    """This input can never be processed: it becomes a dead letter at once."""


class RetryLater(Exception):
    """Something outside failed for now: redelivered after a jittered, growing delay."""

    def __init__(self, code: FailureCode, message: str, delay: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.delay = delay


class SlowDown(RetryLater):
    """The stage is asked to take less: as `RetryLater`, but never counted as an attempt."""


class UserError(Exception):
    """A mistake of the person at the command line or in the settings: one clear line."""
