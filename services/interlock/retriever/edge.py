"""The embedded index: Qdrant's engine in this process, its data in a folder.

The engine holds the interpreter's lock in every call (a search of a few thousand passages:
well under a millisecond). Far larger collections want the engine in a process of its own
behind this same port. There is no write-ahead log: a folder is filled, flushed, and from then
on only read, by as many processes as like; each of them sees all of it.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import qdrant_edge as qe

from interlock.retriever.documents import Passage
from interlock.retriever.index import (
    DENSE,
    FIELDS,
    KEYWORD,
    Coverage,
    Entry,
    Query,
    passage,
    payload,
    point_id,
    ranking,
)
from interlock_contracts.retrieval import Ranking

PointId = int | UUID | str
"""What the engine takes for an id; ours are integers."""

REMEMBERED = 100_000
"""How many ids of passages are kept in memory: about 15 MB."""


class EdgeIndex:
    """An `Index` over one shard of the embedded engine."""

    def __init__(self, shard: qe.EdgeShard, identity: str) -> None:
        self._shard = shard
        self.identity = identity
        self._names: dict[PointId, str] = {}

    @classmethod
    def create(cls, folder: Path, identity: str, dimension: int) -> "EdgeIndex":
        """A new, empty index in an empty or missing folder; call `flush` when it is filled."""
        folder.mkdir(parents=True, exist_ok=True)
        shard = qe.EdgeShard.create(
            str(folder),
            qe.EdgeConfig(
                vectors={
                    DENSE: qe.EdgeVectorParams(
                        size=dimension,
                        distance=qe.Distance.Dot,
                        datatype=qe.VectorStorageDatatype.Float16,
                    )
                },
                sparse_vectors={KEYWORD: qe.EdgeSparseVectorParams()},
                # No graph: the search is exact, and building one would take a minute
                # at 100,000 passages.
                hnsw_config=qe.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
                wal_enabled=False,
            ),
        )
        for field in FIELDS:
            shard.update(qe.UpdateOperation.create_field_index(field, qe.PayloadSchemaType.Keyword))
        return cls(shard, identity)

    @classmethod
    def open(cls, folder: Path, identity: str) -> "EdgeIndex":
        """An index that was filled and flushed before."""
        return cls(qe.EdgeShard.load(str(folder)), identity)

    def flush(self) -> None:
        """Make what was stored durable, and quick to search."""
        self._shard.optimize()
        self._shard.flush()

    def close(self) -> None:
        """Let go of the folder."""
        self._shard.close()

    async def upsert(self, entries: Sequence[Entry]) -> None:
        """Store passages, one at a time and ordered by id.

        The engine takes the points of one call in random order, which orders the terms of its
        sparse index, which orders its additions: the last bits of a score would differ from one
        build to the next. One by one costs no more, and holds the interpreter's lock for less.
        """
        for entry in sorted(entries, key=lambda entry: entry.passage.chunk_id):
            self._shard.update(qe.UpdateOperation.upsert_points([_point(entry)]))

    async def search(
        self,
        query: Query,
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
        limit: int,
    ) -> tuple[Ranking, ...]:
        """Both legs, exactly: no approximate search."""
        readable = _filter(tenant, sources, scopes)
        legs: dict[str, list[float] | qe.SparseVector] = {}
        if query.keyword:
            legs[KEYWORD] = _sparse(query.keyword)
        if query.dense is not None and query.dense.any():
            legs[DENSE] = query.dense.tolist()
        return tuple(
            ranking(name, self._leg(name, legs[name], readable, limit) if name in legs else ())
            for name in (KEYWORD, DENSE)
        )

    def _leg(
        self, name: str, vector: list[float] | qe.SparseVector, readable: qe.Filter, limit: int
    ) -> list[tuple[str, float]]:
        found = self._shard.query(
            qe.QueryRequest(
                limit,
                query=qe.Query.Nearest(vector, name),
                filter=readable,
                params=qe.SearchParams(exact=name == DENSE),
            )
        )
        scores = {point.id: point.score for point in found}
        names = self._names_of(scores)
        return [(names[point], score) for point, score in scores.items()]

    def _names_of(self, points: Collection[PointId]) -> dict[PointId, str]:
        """The passages' ids. Reading them with every leg would take twice as long as searching.

        A point's id is a function of the passage's, so what is remembered stays right.
        """
        unknown = [point for point in points if point not in self._names]
        if unknown:
            if len(self._names) + len(unknown) > REMEMBERED:
                self._names.clear()
                unknown = list(points)
            for record in self._shard.retrieve(unknown, ["chunk_id"], False):
                self._names[record.id] = (record.payload or {})["chunk_id"]
        return self._names

    async def fetch(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, Passage]:
        """These passages by id, as far as they may be read."""
        points: list[PointId] = [point_id(name) for name in chunk_ids]
        # By id, and checked here: four times as fast as the engine's filter over ids.
        found = [passage(one.payload or {}) for one in self._shard.retrieve(points, True, False)]
        return {
            one.chunk_id: one
            for one in found
            if one.tenant == tenant and one.source in sources and set(one.scopes).issubset(scopes)
        }

    async def coverage(
        self, *, tenant: str, scopes: Collection[str], sources: Collection[str]
    ) -> Coverage:
        """Two exact counts."""
        count = self._shard.count
        return Coverage(
            indexed=count(qe.CountRequest(filter=_filter(tenant, sources, None), exact=True)),
            readable=count(qe.CountRequest(filter=_filter(tenant, sources, scopes), exact=True)),
        )


def _sparse(weights: Mapping[int, float]) -> qe.SparseVector:
    return qe.SparseVector(list(weights), list(weights.values()))


def _point(entry: Entry) -> qe.Point:
    vectors: dict[str, list[float] | qe.SparseVector | list[list[float]]] = {
        KEYWORD: _sparse(entry.keyword)
    }
    if entry.dense.any():
        vectors[DENSE] = entry.dense.tolist()
    return qe.Point(point_id(entry.passage.chunk_id), vectors, payload(entry.passage))


def _filter(tenant: str, sources: Collection[str], scopes: Collection[str] | None) -> qe.Filter:
    """What may be read: of this tenant, of these sources, no scope that is not held.

    With `scopes=None` whatever its scopes, for counting alone.
    """
    is_ = qe.FieldCondition
    must: list[Any] = [
        is_("tenant", match=qe.MatchValue(tenant)),
        is_("source", match=qe.MatchAny(sorted(sources))),
    ]
    if scopes is None:
        return qe.Filter(must=must)
    # "except" holds for a passage with at least one scope outside the list.
    return qe.Filter(must=must, must_not=[is_("scopes", match=qe.MatchExcept(sorted(scopes)))])
