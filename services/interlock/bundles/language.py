"""Which language a text is in: py3langid, a Naive Bayes model of 139 languages in its wheel.

Deterministic, offline, about 0.1 ms a sentence; the model is read at the first use (0.7 s).
"""

from functools import cache
from typing import Any


@cache
def _identifier() -> Any:
    # Not before it is needed: it takes numpy with it, and most commands and bundles need neither.
    from py3langid.langid import (  # type: ignore[import-untyped]  # ships no types
        MODEL_FILE,
        LanguageIdentifier,
    )

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def languages() -> frozenset[str]:
    """The codes that are known: ISO 639-1, and 639-3 for languages that have no such."""
    return frozenset(_identifier().labels)


def chance(text: str, language: str) -> float:
    """How likely a text is in a language, between 0 and 1; `KeyError` for an unknown code."""
    found: dict[str, float] = dict(_identifier().rank(text))
    return found[language]
