"""The same index on a Qdrant server or cluster, through `AsyncQdrantClient`.

Both legs are asked in one round trip, exactly: no approximate search. Tested with the client's
local mode, which answers the same calls in process; no Qdrant server was run where this was
written.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from qdrant_client import AsyncQdrantClient, models

from interlock.retriever.engines.index import DENSE, KEYWORD, Entry, point_id
from interlock.retriever.engines.server import (
    MOMENTS,
    WORDS,
    Access,
    Audiences,
    Scored,
    Server,
    ServerIndex,
    record,
)


class QdrantServer(Server):
    """Collections there."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        self._client = client

    async def _index(self, identity: str, dimension: int, audiences: Audiences) -> "QdrantIndex":
        """The collection; with every field that is filtered by indexed, as strict mode wants."""
        name, client = self.name_of(identity), self._client
        if not await client.collection_exists(name):
            await client.create_collection(
                name,
                vectors_config={
                    DENSE: models.VectorParams(size=dimension, distance=models.Distance.DOT)
                },
                sparse_vectors_config={KEYWORD: models.SparseVectorParams()},
            )
            kinds = dict.fromkeys(WORDS, models.PayloadSchemaType.KEYWORD)
            kinds |= dict.fromkeys(MOMENTS, models.PayloadSchemaType.INTEGER)
            for field, kind in kinds.items():
                await client.create_payload_index(name, field, kind)
        return QdrantIndex(client, name, identity, audiences)

    async def _names(self) -> Iterable[str]:
        return [one.name for one in (await self._client.get_collections()).collections]

    async def _drop(self, name: str) -> None:
        """Remove a collection."""
        await self._client.delete_collection(name)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()


class QdrantIndex(ServerIndex):
    """An `Index` over one collection."""

    def __init__(
        self, client: AsyncQdrantClient, name: str, identity: str, audiences: Audiences
    ) -> None:
        super().__init__(name, identity, audiences)
        self._client = client

    async def _store(self, batch: Sequence[Entry]) -> None:
        await self._client.upsert(self.name, [_point(one) for one in batch], wait=True)

    async def _legs(
        self, asked: Mapping[str, Any], access: Access, limit: int
    ) -> Mapping[str, Scored]:
        readable = _filter(access)
        requests = [_request(leg, vector, readable, limit) for leg, vector in asked.items()]
        found = await self._client.query_batch_points(self.name, requests)
        return {
            leg: [((point.payload or {})["chunk_id"], point.score) for point in answer.points]
            for leg, answer in zip(asked, found, strict=True)
        }

    async def _read(
        self, chunk_ids: Sequence[str], access: Access, *, vectors: bool
    ) -> Iterable[tuple[str, Sequence[float] | None]]:
        these = models.HasIdCondition(has_id=[point_id(name) for name in chunk_ids])
        found, _ = await self._client.scroll(
            self.name,
            scroll_filter=_filter(access, these),
            limit=len(chunk_ids),
            with_payload=["body"],
            with_vectors=[DENSE] if vectors else False,
        )
        return [((one.payload or {})["body"], _dense(one)) for one in found]

    async def _remove(self, passages: Sequence[tuple[str, str]]) -> None:
        ids: list[int | str | uuid.UUID] = [point_id(name) for _, name in passages]
        await self._client.delete(self.name, ids, wait=True)


def _request(leg: str, vector: Any, readable: models.Filter, limit: int) -> models.QueryRequest:
    return models.QueryRequest(
        query=_sparse(vector) if leg == KEYWORD else vector.tolist(),
        using=leg,
        filter=readable,
        limit=limit,
        with_payload=["chunk_id"],
        params=models.SearchParams(exact=leg == DENSE),
    )


def _sparse(weights: Mapping[int, float]) -> models.SparseVector:
    return models.SparseVector(indices=list(weights), values=list(weights.values()))


def _point(entry: Entry) -> models.PointStruct:
    vectors: dict[str, Any] = {KEYWORD: _sparse(entry.keyword)}
    if entry.dense.any():
        vectors[DENSE] = entry.dense.tolist()
    return models.PointStruct(
        id=point_id(entry.passage.chunk_id), vector=vectors, payload=record(entry)
    )


def _dense(stored: models.Record) -> Sequence[float] | None:
    vectors = stored.vector
    return cast("list[float]", vectors[DENSE]) if isinstance(vectors, dict) and vectors else None


def _filter(access: Access, *more: models.Condition) -> models.Filter:
    """What may be read, and `more`."""
    is_ = models.FieldCondition
    must: list[models.Condition] = [
        is_(key="tenant", match=models.MatchValue(value=access.tenant)),
        is_(key="source", match=models.MatchAny(any=list(access.sources))),
        is_(key="audience", match=models.MatchAny(any=list(access.audiences))),
        *more,
    ]
    if access.at is not None:
        must.append(is_(key="valid_from", range=models.Range(lte=access.at)))
        must.append(is_(key="valid_until", range=models.Range(gt=access.at)))
    return models.Filter(must=must)
