"""What a result of somebody else's retriever says of itself, read with care.

Such a result is other people's data: whatever is in it, it is a passage, or it is dropped; it never
keeps the others from being found.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from interlock_contracts.base import cleaned
from interlock_contracts.subjects import TOKEN

Labels = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From a result's metadata to `tenant` and `scopes`, and `document_id`, `title`, `url` if known."""

MAX_CHARS = 16_000
"""Of a longer text the rest is cut off: an event has to hold all that is found."""

MAX_LABEL_CHARS = 1_000

_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Found:
    """One result: higher scores are better; results without one keep their order."""

    text: str
    metadata: Mapping[str, Any]
    id: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A result whose tenant and scopes are known. `document` is its id there, if it has one."""

    text: str
    tenant: str
    scopes: frozenset[str]
    document: str
    title: str
    url: str | None


def labelled(one: Found, labels: Labels) -> Labelled | None:
    """The result with its labels; None for one that does not say whose it is, or holds no text."""
    try:
        said = labels(one.metadata)
        tenant, scopes = said.get("tenant"), said.get("scopes", ())
        held = frozenset(map(str, scopes))
    except Exception:  # metadata are of any shape: what cannot be read is nobody's
        return None
    if not isinstance(tenant, str) or isinstance(scopes, str) or not isinstance(one.text, str):
        return None
    text = cleaned(one.text).strip()[:MAX_CHARS].strip()
    if not text or not TOKEN.fullmatch(tenant):
        return None
    return Labelled(
        text=text,
        tenant=tenant,
        scopes=held,
        document=str(said.get("document_id") or one.id or ""),
        title=_line(said.get("title")),
        url=_line(said.get("url")) or None,
    )


def score_of(one: Found) -> float | None:
    """The result's score, if that is a number."""
    try:
        score = float(one.score)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return None
    return score if math.isfinite(score) else None


def _line(value: object) -> str:
    return _BLANKS.sub(" ", cleaned(str(value or ""))).strip()[:MAX_LABEL_CHARS]
