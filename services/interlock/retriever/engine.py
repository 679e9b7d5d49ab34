"""What backends on a server have in common: who asks, made one filter, and checked again.

An engine here stores one record per passage: `chunk_id`, `tenant`, `source`, `audience`, from
when until when it is valid, the passage as JSON (`body`), and two vectors. `audience` is the set
of scopes as one word, so that "holds all of its scopes" is "its audience is one of these", which
every engine can filter by.
The audiences there are were told when the index was opened, or seen when it was filled: one that
is not known is found by nobody.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interlock.retriever.documents import Passage
from interlock.retriever.index import (
    DENSE,
    KEYWORD,
    Coverage,
    Entry,
    Query,
    passage,
    payload,
    ranking,
)
from interlock_contracts.retrieval import Ranking

BATCH = 100
"""Passages per call of an upsert."""

Scored = Iterable[tuple[str, float]]
"""Chunk ids with their scores."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks. `audiences` are those of the index that the reader belongs to, in order.

    With `at` (microseconds since 1970) only what is valid at that moment is wanted.
    """

    tenant: str
    scopes: frozenset[str]
    sources: tuple[str, ...]
    audiences: tuple[str, ...]
    at: int | None = None

    def allows(self, one: Passage) -> bool:
        """The same rule, for what the engine returned."""
        return (
            one.tenant == self.tenant
            and one.source in self.sources
            and self.scopes.issuperset(one.scopes)
        )


def audience(scopes: Iterable[str]) -> str:
    """A set of scopes as one word; no scope holds a `+` or a `*`."""
    return "+".join(sorted(scopes)) or "*"


def name_of(identity: str) -> str:
    """What an index is called on a server: letters and digits that all of them accept."""
    return f"interlock_{identity.removeprefix('sha256:')[:32]}"


def record(entry: Entry) -> dict[str, Any]:
    """What is stored of a passage beside its vectors."""
    one = entry.passage
    return {
        "chunk_id": one.chunk_id,
        "tenant": one.tenant,
        "source": one.source,
        "audience": audience(one.scopes),
        "valid_from": one.valid_from,
        "valid_until": one.valid_until,
        "body": json.dumps(payload(one), ensure_ascii=False),
    }


class ServerIndex(ABC):
    """An `Index` of which an adapter does the rest: store, score, read, count."""

    def __init__(self, identity: str, audiences: Iterable[Collection[str]]) -> None:
        """`audiences` are the sets of scopes of the passages that are there already."""
        self.identity = identity
        self.name = name_of(identity)
        self._audiences = {audience(scopes) for scopes in audiences}

    @abstractmethod
    async def size(self) -> int:
        """How many passages are stored, of all tenants."""

    @abstractmethod
    async def _store(self, batch: Sequence[Entry]) -> None:
        """Store them; found by the next search."""

    @abstractmethod
    async def _leg(self, leg: str, vector: Any, access: Access, limit: int) -> Scored:
        """The best `limit` of a leg, filtered in the engine's own query.

        `vector` is an array for the dense leg and weights by dimension for the keyword leg.
        """

    @abstractmethod
    async def _read(
        self, chunk_ids: Sequence[str], access: Access, *, vectors: bool
    ) -> Iterable[tuple[str, Sequence[float] | None]]:
        """(body, dense vector if `vectors`) of these, filtered likewise."""

    @abstractmethod
    async def _count(self, access: Access) -> int:
        """How many passages there are for this reader."""

    async def upsert(self, entries: Sequence[Entry]) -> None:
        """Store passages, `BATCH` at a time."""
        newest = list({one.passage.chunk_id: one for one in entries}.values())
        self._audiences.update(audience(one.passage.scopes) for one in newest)
        for start in range(0, len(newest), BATCH):
            await self._store(newest[start : start + BATCH])

    async def search(
        self,
        query: Query,
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
        limit: int,
    ) -> tuple[Ranking, ...]:
        """Both legs."""
        access = replace(self._access(tenant, scopes, sources), at=query.at)
        words: Scored = ()
        near: Scored = ()
        if query.keyword and access.audiences:
            words = await self._leg(KEYWORD, query.keyword, access, limit)
        if query.dense is not None and query.dense.any() and access.audiences:
            near = await self._leg(DENSE, query.dense, access, limit)
        return ranking(KEYWORD, words, limit), ranking(DENSE, near, limit)

    async def fetch(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, Passage]:
        """These passages by id, as far as they may be read."""
        found = await self._readable(chunk_ids, self._access(tenant, scopes, sources))
        return {name: one for name, (one, _) in found.items()}

    async def vectors(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of these by id, as far as they may be read."""
        access = self._access(tenant, scopes, sources)
        found = await self._readable(chunk_ids, access, vectors=True)
        arrays = {
            name: np.asarray(vector, np.float32)
            for name, (_, vector) in found.items()
            if vector is not None
        }
        return {name: array for name, array in arrays.items() if array.any()}

    async def coverage(
        self, *, tenant: str, scopes: Collection[str], sources: Collection[str]
    ) -> Coverage:
        """Two counts."""
        mine = self._access(tenant, scopes, sources)
        every = replace(mine, audiences=tuple(sorted(self._audiences)) if mine.sources else ())
        return Coverage(
            indexed=await self._count(every) if every.audiences else 0,
            readable=await self._count(mine) if mine.audiences else 0,
        )

    def _access(self, tenant: str, scopes: Collection[str], sources: Collection[str]) -> Access:
        held = frozenset(scopes)
        # An engine is not asked for one of no sources: some refuse an empty list.
        known = self._audiences if sources else ()
        allowed = (one for one in known if one == "*" or held.issuperset(one.split("+")))
        return Access(tenant, held, tuple(sorted(sources)), tuple(sorted(allowed)))

    async def _readable(
        self, chunk_ids: Collection[str], access: Access, *, vectors: bool = False
    ) -> Mapping[str, tuple[Passage, Sequence[float] | None]]:
        if not chunk_ids or not access.audiences:
            return {}
        rows = await self._read(list(chunk_ids), access, vectors=vectors)
        stored = ((passage(json.loads(body)), vector) for body, vector in rows)
        return {one.chunk_id: (one, vector) for one, vector in stored if access.allows(one)}
