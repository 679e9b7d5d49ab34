"""The same index in Pinecone, through its own client.

Needs the extra `interlock[pinecone]`, and an index with the metric `dotproduct` and the
embedder's dimensions, which is made outside: it is paid for. A tenant is a namespace there.
Reading by id cannot be filtered, and what is read is checked here before anybody sees it.
Search is Pinecone's own, approximate. Tested against a local server that answers these calls;
Pinecone itself was not asked.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from interlock.retriever.engines.index import DENSE, KEYWORD, Entry
from interlock.retriever.engines.server import (
    NAME,
    Access,
    Audiences,
    Scored,
    Server,
    ServerIndex,
    record,
)

_NAMESPACE = re.compile(f"(?P<index>{NAME.pattern})-.+", re.IGNORECASE)


class PineconeServer(Server):
    """Namespaces of one index of theirs; `client` is a `pinecone.AsyncIndex`.

    They are named after the identity and the tenant, so that one index there can hold several of
    ours.
    """

    settles_s = 60.0

    def __init__(self, client: Any) -> None:
        self._client = client

    async def _index(self, identity: str, dimension: int, audiences: Audiences) -> "PineconeIndex":
        """There is nothing to make: a namespace is there once something is in it."""
        return PineconeIndex(self._client, self.name_of(identity), identity, dimension, audiences)

    async def _names(self) -> Iterable[str]:
        found = (_NAMESPACE.fullmatch(name) for name in await _spaces(self._client))
        return {one["index"] for one in found if one}

    async def _drop(self, name: str) -> None:
        """Remove an index: the namespaces of all tenants."""
        for space in await _spaces(self._client):
            if space.startswith(f"{name}-"):
                await self._client.delete(delete_all=True, namespace=space)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()


async def _spaces(client: Any) -> Mapping[str, int]:
    """All namespaces, and how many passages each has."""
    stats = await client.describe_index_stats()
    return {name: space.vector_count for name, space in (stats.namespaces or {}).items()}


class PineconeIndex(ServerIndex):
    """An `Index` over the namespaces that begin with its name."""

    def __init__(
        self, client: Any, name: str, identity: str, dimension: int, audiences: Audiences
    ) -> None:
        super().__init__(name, identity, audiences)
        self._client = client
        self._dimension = dimension

    def _space(self, tenant: str) -> str:
        return f"{self.name}-{tenant}"

    async def _store(self, batch: Sequence[Entry]) -> None:
        for tenant in sorted({one.passage.tenant for one in batch}):
            rows = [_row(one) for one in batch if one.passage.tenant == tenant]
            await self._client.upsert(
                vectors=rows, namespace=self._space(tenant), show_progress=False
            )

    async def _leg(self, leg: str, vector: Any, access: Access, limit: int) -> Scored:
        asked: dict[str, Any] = {"vector": [0.0] * self._dimension}
        if leg == KEYWORD:
            asked["sparse_vector"] = _sparse(vector)
        else:
            asked["vector"] = vector.tolist()
        found = await self._client.query(
            top_k=limit, namespace=self._space(access.tenant), filter=_filter(access), **asked
        )
        return [(match.id, float(match.score)) for match in found.matches]

    async def _read(
        self, chunk_ids: Sequence[str], access: Access, *, vectors: bool
    ) -> Iterable[tuple[str, Sequence[float] | None]]:
        found = await self._client.fetch(ids=list(chunk_ids), namespace=self._space(access.tenant))
        rows = [found.vectors[name] for name in chunk_ids if name in found.vectors]
        return [
            (row.metadata["body"], row.values if vectors and row.metadata[DENSE] else None)
            for row in rows
        ]

    async def _remove(self, passages: Sequence[tuple[str, str]]) -> None:
        for tenant in sorted({tenant for tenant, _ in passages}):
            names = [name for whose, name in passages if whose == tenant]
            await self._client.delete(ids=names, namespace=self._space(tenant))


def _row(entry: Entry) -> dict[str, Any]:
    metadata = record(entry)
    name = metadata.pop("chunk_id")
    has_vector = bool(entry.dense.any())
    # A vector of zeros is refused: this one is nothing once scores are rounded.
    dense = entry.dense if has_vector else np.full(len(entry.dense), 1e-9, np.float32)
    row = {"id": name, "values": dense.tolist(), "metadata": {**metadata, DENSE: has_vector}}
    return {**row, "sparse_values": _sparse(entry.keyword)} if entry.keyword else row


def _sparse(weights: Any) -> dict[str, Any]:
    return {"indices": list(weights), "values": list(weights.values())}


def _filter(access: Access) -> dict[str, Any]:
    """What may be read."""
    readable: dict[str, Any] = {
        "tenant": {"$eq": access.tenant},
        "source": {"$in": list(access.sources)},
        "audience": {"$in": list(access.audiences)},
    }
    if access.at is not None:
        readable |= {"valid_from": {"$lte": access.at}, "valid_until": {"$gt": access.at}}
    return readable
