"""The alternatives, behind the same port, where their packages are installed.

None of them is a dependency. What is missing is left out of the table.
"""

import tempfile
import time
from collections.abc import AsyncIterator, Collection, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient

from interlock.retriever.index import DENSE, KEYWORD, Coverage, Entry, Index, Query, ranking
from interlock.retriever.pgvector import PgVectorIndex, connect
from interlock.retriever.qdrant import QdrantIndex
from interlock_contracts.retrieval import Ranking


async def beside(entries: Sequence[Entry]) -> AsyncIterator[tuple[str, float, Index]]:
    """Each alternative that can run here, filled: (name, seconds to build, index)."""
    started = time.perf_counter()
    client = AsyncQdrantClient(":memory:")
    local = await QdrantIndex.create(client, f"sha256:{'0' * 64}", entries[0].dense.size)
    await local.upsert(entries)
    yield "qdrant-client, local mode", time.perf_counter() - started, local
    await client.close()
    if find_spec("pgserver") and find_spec("asyncpg"):
        with tempfile.TemporaryDirectory() as folder:
            server: Any = import_module("pgserver").get_server(folder, cleanup_mode="stop")
            pool = await connect(server.get_uri())
            started = time.perf_counter()
            postgres = await PgVectorIndex.create(pool, f"sha256:{'0' * 64}", entries[0].dense.size)
            await postgres.upsert(entries)
            await pool.execute("VACUUM ANALYZE")
            yield "pgvector, our postings", time.perf_counter() - started, postgres
            await pool.close()
            server.cleanup()
    if find_spec("tantivy"):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            tantivy = TantivyNumpy(folder, entries)
            yield "tantivy + numpy", time.perf_counter() - started, tantivy


class TantivyNumpy:
    """Tantivy's BM25 (its own English stemmer, frequencies of everybody) and a matrix product."""

    identity = "tantivy-numpy"

    def __init__(self, folder: str, entries: Sequence[Entry]) -> None:
        self._library: Any = import_module("tantivy")
        schema = self._library.SchemaBuilder()
        for field in ("chunk_id", "tenant", "source", "scopes"):
            schema.add_text_field(field, stored=field == "chunk_id", tokenizer_name="raw")
        schema.add_text_field("text", tokenizer_name="en_stem")
        self._index = self._library.Index(schema.build(), path=folder)
        writer = self._index.writer(64_000_000)
        for one in entries:
            passage = one.passage
            writer.add_document(
                self._library.Document(
                    chunk_id=passage.chunk_id,
                    tenant=passage.tenant,
                    source=passage.source,
                    scopes=list(passage.scopes) or ["-"],
                    text=passage.searchable,
                )
            )
        writer.commit()
        self._index.reload()
        self._searcher = self._index.searcher()
        self._passages = [one.passage for one in entries]
        self._vectors = np.stack([one.dense for one in entries])
        self._tenants = np.array([one.passage.tenant for one in entries])
        self._restricted = np.array([bool(one.passage.scopes) for one in entries])

    async def upsert(self, entries: Sequence[Entry]) -> None:
        """Filled when it is made."""
        raise NotImplementedError

    async def search(
        self,
        query: Query,
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
        limit: int,
    ) -> tuple[Ranking, ...]:
        """Both legs; only what needs no scope at all, which is what the bench asks for."""
        assert not scopes and sources and query.dense is not None
        library, schema = self._library, self._index.schema
        must = library.Occur.Must
        term = library.Query.term_query
        wanted = library.Query.boolean_query(
            [
                (must, library.Query.const_score_query(term(schema, "tenant", tenant), 0.0)),
                (must, library.Query.const_score_query(term(schema, "scopes", "-"), 0.0)),
                (must, self._index.parse_query(_plain(query.text), ["text"])),
            ]
        )
        found = self._searcher.search(wanted, limit).hits
        words = [(self._searcher.doc(place)["chunk_id"][0], score) for score, place in found]
        scores = self._vectors @ query.dense
        scores[(self._tenants != tenant) | self._restricted] = -1
        best = np.argpartition(-scores, limit)[:limit]
        near = [(self._passages[place].chunk_id, float(scores[place])) for place in best]
        return ranking(KEYWORD, words), ranking(DENSE, near)

    async def fetch(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, Any]:
        """Not measured."""
        raise NotImplementedError

    async def vectors(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, Any]:
        """Not measured."""
        raise NotImplementedError

    async def coverage(
        self, *, tenant: str, scopes: Collection[str], sources: Collection[str]
    ) -> Coverage:
        """Not measured."""
        raise NotImplementedError


def _plain(text: str) -> str:
    """Without what the query parser takes for syntax."""
    return "".join(char if char.isalnum() else " " for char in text)
