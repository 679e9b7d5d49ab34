"""What the classifier says of a text."""

from dataclasses import dataclass

from interlock_contracts.failures import FailureCode
from interlock_contracts.routing import Reason


@dataclass(frozen=True, slots=True)
class Classification:
    """The intent, how sure that is, and why.

    `confidence`, `margin` and `similarity` are in 0..1, as in `Found`. `failure` is set when no
    intent was clear enough and `intent` is the bundle's fallback, `ruled` when a rule decided.
    """

    intent: str
    confidence: float
    margin: float
    why: tuple[Reason, ...]
    failure: FailureCode | None = None
    similarity: float = 0.0
    ruled: bool = False
