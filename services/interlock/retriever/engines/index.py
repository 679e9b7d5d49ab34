"""The port `Index`: what a retrieval engine does for us, and nothing more.

Engines filter and score; ids, weights, fusion and order are ours (`keywords`, `fusion`), so
that every engine gives the same answer. An index is filled once, under an identity, and then
only read; changed documents make another index beside it.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from interlock.retriever.documents import PASSAGE_FIELDS, Passage, passage_values
from interlock.retriever.ranking.fusion import ordered, rounded
from interlock_contracts.retrieval import Ranking

LAYOUT = 10
"""Part of the identity of an index: what is stored, and where."""

KEYWORD, DENSE = "keyword", "dense"
"""The names of the two legs, and of the engine's two vectors."""

COARSE = 10**5
"""Scores are rounded to parts of this: the rest is 32-bit noise, otherwise on another engine."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A passage with its vectors; `dense` is all zeros for a text that has no vector."""

    passage: Passage
    dense: NDArray[np.float32]
    keyword: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, in every form an engine may want it; a leg without a form is empty.

    `keyword` are weights that hold the terms' idf already (over what this reader may read): an
    engine multiplies them with the passages' own and adds up, no more. Only what is valid `at`
    this moment (microseconds since 1970) is found; None asks for nothing.
    """

    text: str
    dense: NDArray[np.float32] | None
    keyword: Mapping[int, float]
    at: int | None = None


class Index(Protocol):
    """One collection of passages. Who asks must say for whom: there are no defaults.

    A passage may be read by those who hold all of its scopes. That and the tenant are part of
    the engine's own query. What may not be read has no influence, not even on the order.
    """

    @property
    def identity(self) -> str:
        """A digest that changes whenever the same query could give another result."""

    async def search(
        self,
        query: Query,
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
        limit: int,
    ) -> tuple[Ranking, ...]:
        """The best `limit` of each leg, ordered by (-score, id); only scores above 0."""

    async def fetch(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, Passage]:
        """These passages by id; what may not be read is left out."""

    async def vectors(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of these by id; without those that have none or may not be read."""


class Store(Index, Protocol):
    """An index while it is filled."""

    async def upsert(self, entries: Sequence[Entry]) -> None:
        """Store passages; one that is there already (same id) is replaced."""


def half(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors with no more than half precision has, as 32-bit numbers.

    Passages and queries are both made so, and an engine may then store 16 bits and lose nothing:
    a quarter less time a search, and half the memory, at 100,000 passages.
    """
    return vectors.astype(np.float16).astype(np.float32)


def point_id(chunk_id: str) -> int:
    """The engine's id of a passage: 64 bits of BLAKE2b.

    Two of a million passages share one with a probability of 3 in 10^8. Engines take UUIDs,
    too, but those cost more than the search itself to read back.
    """
    return int.from_bytes(hashlib.blake2b(chunk_id.encode(), digest_size=8).digest())


def payload(passage: Passage) -> dict[str, Any]:
    """A passage as the engine stores it."""
    return {
        **dict(zip(PASSAGE_FIELDS, passage_values(passage), strict=True)),
        "scopes": list(passage.scopes),
    }


def passage(stored: Mapping[str, Any]) -> Passage:
    """A passage from what the engine stored."""
    return Passage(**{**stored, "scopes": tuple(stored["scopes"])})


def ranking(leg: str, scored: Iterable[tuple[str, float]], limit: int | None = None) -> Ranking:
    """One leg in its one right order, its best `limit`; what scores 0 is left out."""
    least = 0.5 / COARSE
    rows = [(name, rounded(score, COARSE)) for name, score in scored if score >= least]
    return ordered(leg, rows, limit)
