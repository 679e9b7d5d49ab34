"""The same index in Milvus, through its own client: a server, a cluster, or milvus-lite's file.

Needs the extra `interlock[milvus]`. Both legs are exact: a flat index, and an inverted one that
leaves nothing out. The client blocks, so every call has a thread.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from interlock.retriever.engines.index import DENSE, KEYWORD, Entry
from interlock.retriever.engines.server import (
    MOMENTS,
    Access,
    Audiences,
    Scored,
    Server,
    ServerIndex,
    record,
)

MAX_BODY = 65_535
"""The longest text Milvus stores, in bytes; a passage is far shorter."""

NOTHING = {2**32 - 2: 1e-6}
"""The sparse vector of a passage without terms: Milvus wants at least one dimension."""


class MilvusServer(Server):
    """Collections there; `client` is a `pymilvus.MilvusClient`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def _index(self, identity: str, dimension: int, audiences: Audiences) -> "MilvusIndex":
        """A collection."""
        name = self.name_of(identity)
        await asyncio.to_thread(self._make, name, dimension)
        return MilvusIndex(self._client, name, identity, audiences)

    def _make(self, name: str, dimension: int) -> None:
        if self._client.has_collection(name):
            self._client.load_collection(name)
            return
        types = import_module("pymilvus").DataType
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("chunk_id", types.VARCHAR, is_primary=True, max_length=512)
        for field, most in (("tenant", 64), ("source", 64), ("audience", 8_192)):
            schema.add_field(field, types.VARCHAR, max_length=most)
        for field in MOMENTS:
            schema.add_field(field, types.INT64)
        schema.add_field("body", types.VARCHAR, max_length=MAX_BODY)
        schema.add_field(DENSE, types.FLOAT_VECTOR, dim=dimension)
        schema.add_field(KEYWORD, types.SPARSE_FLOAT_VECTOR)
        indexes = self._client.prepare_index_params()
        indexes.add_index(DENSE, index_type="FLAT", metric_type="IP")
        indexes.add_index(KEYWORD, index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
        self._client.create_collection(
            name, schema=schema, index_params=indexes, consistency_level="Strong"
        )

    async def _names(self) -> Iterable[str]:
        names: list[str] = await asyncio.to_thread(self._client.list_collections)
        return names

    async def _drop(self, name: str) -> None:
        """Remove a collection."""
        if await asyncio.to_thread(self._client.has_collection, name):
            await asyncio.to_thread(self._client.drop_collection, name)

    async def close(self) -> None:
        """Let go of the connection."""
        await asyncio.to_thread(self._client.close)


class MilvusIndex(ServerIndex):
    """An `Index` over one collection."""

    def __init__(self, client: Any, name: str, identity: str, audiences: Audiences) -> None:
        super().__init__(name, identity, audiences)
        self._client = client

    async def _store(self, batch: Sequence[Entry]) -> None:
        rows = [
            {**record(one), DENSE: one.dense, KEYWORD: dict(one.keyword) or NOTHING}
            for one in batch
        ]
        await asyncio.to_thread(self._client.upsert, self.name, rows)

    async def _leg(self, leg: str, vector: Any, access: Access, limit: int) -> Scored:
        found = await asyncio.to_thread(
            self._client.search,
            self.name,
            data=[dict(vector) if leg == KEYWORD else vector],
            anns_field=leg,
            filter=_filter(access),
            limit=limit,
            search_params={"metric_type": "IP"},
        )
        return [(hit["chunk_id"], float(hit["distance"])) for hit in found[0]]

    async def _read(
        self, chunk_ids: Sequence[str], access: Access, *, vectors: bool
    ) -> Iterable[tuple[str, Sequence[float] | None]]:
        wanted = f"{_filter(access)} and chunk_id in {json.dumps(list(chunk_ids))}"
        rows = await asyncio.to_thread(
            self._client.query,
            self.name,
            filter=wanted,
            output_fields=["body", DENSE] if vectors else ["body"],
        )
        return [(row["body"], row.get(DENSE)) for row in rows]

    async def _remove(self, passages: Sequence[tuple[str, str]]) -> None:
        names = [name for _, name in passages]
        await asyncio.to_thread(self._client.delete, self.name, ids=names)


def _filter(access: Access) -> str:
    """What may be read, as Milvus spells it: JSON strings are its strings, too."""
    readable = (
        f"tenant == {json.dumps(access.tenant)} "
        f"and source in {json.dumps(list(access.sources))} "
        f"and audience in {json.dumps(list(access.audiences))}"
    )
    if access.at is None:
        return readable
    return f"{readable} and valid_from <= {access.at} and valid_until > {access.at}"
