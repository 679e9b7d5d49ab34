"""The same index on a Qdrant server or cluster, through `AsyncQdrantClient`.

Tested with the client's local mode, which answers the same calls in process; no Qdrant server
was run where this was written.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models

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

BATCH = 100
"""Passages per upsert."""


class QdrantIndex:
    """An `Index` over one collection, which is named after the index's identity."""

    def __init__(self, client: AsyncQdrantClient, identity: str) -> None:
        self._client = client
        self.identity = identity
        self._name = f"interlock-{identity.removeprefix('sha256:')[:32]}"

    @classmethod
    async def create(
        cls, client: AsyncQdrantClient, identity: str, dimension: int
    ) -> "QdrantIndex":
        """The index with this identity; its collection is made if it is not there."""
        index = cls(client, identity)
        if not await client.collection_exists(index._name):
            await client.create_collection(
                index._name,
                vectors_config={
                    DENSE: models.VectorParams(size=dimension, distance=models.Distance.DOT)
                },
                sparse_vectors_config={KEYWORD: models.SparseVectorParams()},
            )
            for field in FIELDS:
                await client.create_payload_index(
                    index._name, field, models.PayloadSchemaType.KEYWORD
                )
        return index

    async def size(self) -> int:
        """How many passages are stored, of all tenants."""
        return (await self._client.count(self._name, exact=True)).count

    async def drop(self) -> None:
        """Remove the index."""
        await self._client.delete_collection(self._name)

    async def upsert(self, entries: Sequence[Entry]) -> None:
        """Store passages, `BATCH` at a time; each batch is applied when this returns."""
        for start in range(0, len(entries), BATCH):
            points = [_point(entry) for entry in entries[start : start + BATCH]]
            await self._client.upsert(self._name, points, wait=True)

    async def search(
        self,
        query: Query,
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
        limit: int,
    ) -> tuple[Ranking, ...]:
        """Both legs in one round trip, exactly: no approximate search."""
        readable = _filter(tenant, sources, scopes, at=query.at)
        legs: dict[str, list[float] | models.SparseVector] = {}
        if query.keyword:
            legs[KEYWORD] = _sparse(query.keyword)
        if query.dense is not None and query.dense.any():
            legs[DENSE] = query.dense.tolist()
        asked = [_leg(name, vector, readable, limit) for name, vector in legs.items()]
        found = await self._client.query_batch_points(self._name, asked) if asked else []
        scored = {
            name: [((point.payload or {})["chunk_id"], point.score) for point in answer.points]
            for name, answer in zip(legs, found, strict=True)
        }
        return tuple(ranking(name, scored.get(name, ())) for name in (KEYWORD, DENSE))

    async def fetch(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, Passage]:
        """These passages by id, as far as they may be read."""
        if not chunk_ids:
            return {}
        wanted = _filter(tenant, sources, scopes, [point_id(name) for name in chunk_ids])
        found, _ = await self._client.scroll(
            self._name, scroll_filter=wanted, limit=len(chunk_ids), with_payload=True
        )
        passages = (passage(record.payload or {}) for record in found)
        return {one.chunk_id: one for one in passages}

    async def vectors(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of these by id, as far as they may be read."""
        if not chunk_ids:
            return {}
        wanted = _filter(tenant, sources, scopes, [point_id(name) for name in chunk_ids])
        found, _ = await self._client.scroll(
            self._name, scroll_filter=wanted, limit=len(chunk_ids), with_payload=["chunk_id"],
            with_vectors=[DENSE],
        )  # fmt: skip
        stored = {(one.payload or {})["chunk_id"]: one.vector for one in found}
        return {
            name: np.asarray(vector[DENSE], np.float32)
            for name, vector in stored.items()
            if isinstance(vector, dict) and DENSE in vector
        }

    async def coverage(
        self, *, tenant: str, scopes: Collection[str], sources: Collection[str]
    ) -> Coverage:
        """Two exact counts."""
        indexed = await self._client.count(self._name, _filter(tenant, sources, None), exact=True)
        readable = await self._client.count(
            self._name, _filter(tenant, sources, scopes), exact=True
        )
        return Coverage(indexed=indexed.count, readable=readable.count)


def _leg(
    name: str, vector: list[float] | models.SparseVector, readable: models.Filter, limit: int
) -> models.QueryRequest:
    return models.QueryRequest(
        query=vector,
        using=name,
        filter=readable,
        limit=limit,
        with_payload=["chunk_id"],
        params=models.SearchParams(exact=name == DENSE),
    )


def _sparse(weights: Mapping[int, float]) -> models.SparseVector:
    return models.SparseVector(indices=list(weights), values=list(weights.values()))


def _point(entry: Entry) -> models.PointStruct:
    vectors: dict[str, Any] = {KEYWORD: _sparse(entry.keyword)}
    if entry.dense.any():
        vectors[DENSE] = entry.dense.tolist()
    return models.PointStruct(
        id=point_id(entry.passage.chunk_id), vector=vectors, payload=payload(entry.passage)
    )


def _filter(
    tenant: str,
    sources: Collection[str],
    scopes: Collection[str] | None,
    points: Collection[int] | None = None,
    at: int | None = None,
) -> models.Filter:
    """What may be read: of this tenant, of these sources, no scope that is not held.

    With `scopes=None` whatever its scopes, for counting alone.
    """
    is_ = models.FieldCondition
    must: list[models.Condition] = [
        is_(key="tenant", match=models.MatchValue(value=tenant)),
        is_(key="source", match=models.MatchAny(any=sorted(sources))),
    ]
    if at is not None:
        must.append(is_(key="valid_from", range=models.Range(lte=at)))
        must.append(is_(key="valid_until", range=models.Range(gt=at)))
    if points is not None:
        must.append(models.HasIdCondition(has_id=list(points)))
    if scopes is None:
        return models.Filter(must=must)
    # "except" holds for a passage with at least one scope outside the list.
    other = models.MatchExcept(**{"except": sorted(scopes)})
    return models.Filter(must=must, must_not=[is_(key="scopes", match=other)])
