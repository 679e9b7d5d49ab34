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

from interlock.retriever.engines.index import DENSE, KEYWORD, Entry, Index, Query, ranking
from interlock.retriever.engines.pgvector import PgServer
from interlock.retriever.engines.qdrant import QdrantServer
from interlock_contracts.retrieval import Ranking

IDENTITY = f"sha256:{'0' * 64}"


async def beside(entries: Sequence[Entry]) -> AsyncIterator[tuple[str, float, Index]]:
    """Each alternative that can run here, filled: (name, seconds to build, index)."""
    started = time.perf_counter()
    qdrant = QdrantServer(AsyncQdrantClient(":memory:"))
    local = await qdrant.index(IDENTITY, entries[0].dense.size, ())
    await local.upsert(entries)
    yield "qdrant-client, local mode", time.perf_counter() - started, local
    await qdrant.close()
    if find_spec("pgserver") and find_spec("asyncpg"):
        with tempfile.TemporaryDirectory() as folder:
            server: Any = import_module("pgserver").get_server(folder, cleanup_mode="stop")
            database = PgServer(server.get_uri())
            pool = await database.pool()
            started = time.perf_counter()
            postgres = await database.index(IDENTITY, entries[0].dense.size, ())
            await postgres.upsert(entries)
            await pool.execute("VACUUM ANALYZE")
            yield "pgvector, our postings", time.perf_counter() - started, postgres
            started = time.perf_counter()
            plain = await PgTextSearch.create(pool, entries)
            yield "pgvector + tsvector", time.perf_counter() - started, plain
            await database.close()
            server.cleanup()
    if find_spec("tantivy"):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            tantivy = TantivyNumpy(folder, entries)
            yield "tantivy + numpy", time.perf_counter() - started, tantivy


class Unmeasured:
    """What the bench does not ask of the alternatives that are no backends of ours."""

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


class PgTextSearch(Unmeasured):
    """PostgreSQL's own full-text search (`ts_rank_cd`, any word) and pgvector, both exact."""

    identity = "pg-tsvector"

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    async def create(cls, pool: Any, entries: Sequence[Entry]) -> "PgTextSearch":
        """A table of its own, filled."""
        await pool.execute(
            "CREATE TABLE plain (chunk_id text, tenant text, source text, scopes text[], "
            f"dense vector({entries[0].dense.size}), words tsvector);"
        )
        await pool.executemany(
            "INSERT INTO plain VALUES "
            "($1, $2, $3, $4, $5::text::vector, to_tsvector('english', $6))",
            [
                (
                    *(one.passage.chunk_id, one.passage.tenant, one.passage.source),
                    *(list(one.passage.scopes), str(one.dense.tolist()), one.passage.searchable),
                )
                for one in entries
            ],
        )
        await pool.execute("CREATE INDEX ON plain USING gin (words)")
        await pool.execute("CREATE INDEX ON plain (tenant, source)")
        await pool.execute("ANALYZE plain")
        return cls(pool)

    async def search(
        self,
        query: Query,
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
        limit: int,
    ) -> tuple[Ranking, ...]:
        """Both legs, each with the filter in its statement."""
        assert query.dense is not None
        readable = "tenant = $1 AND source = ANY($2::text[]) AND scopes <@ $3::text[]"
        who = (tenant, sorted(sources), sorted(scopes))
        any_word = " | ".join(plain(query.text).split())
        words = await self._pool.fetch(
            "SELECT chunk_id, ts_rank_cd(words, asked) AS score FROM plain, "
            f"to_tsquery('english', $4) AS asked WHERE words @@ asked AND {readable} "
            "ORDER BY score DESC LIMIT $5",
            *(*who, any_word, limit),
        )
        near = await self._pool.fetch(
            "SELECT chunk_id, -(dense <#> $4::text::vector) AS score FROM plain "
            f"WHERE {readable} ORDER BY score DESC LIMIT $5",
            *(*who, str(query.dense.tolist()), limit),
        )
        pairs = [[(row["chunk_id"], row["score"]) for row in rows] for rows in (words, near)]
        return ranking(KEYWORD, pairs[0]), ranking(DENSE, pairs[1])


class TantivyNumpy(Unmeasured):
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
                (must, self._index.parse_query(plain(query.text), ["text"])),
            ]
        )
        found = self._searcher.search(wanted, limit).hits
        words = [(self._searcher.doc(place)["chunk_id"][0], score) for score, place in found]
        scores = self._vectors @ query.dense
        scores[(self._tenants != tenant) | self._restricted] = -1
        best = np.argpartition(-scores, limit)[:limit]
        near = [(self._passages[place].chunk_id, float(scores[place])) for place in best]
        return ranking(KEYWORD, words), ranking(DENSE, near)


def plain(text: str) -> str:
    """Without what the query parser takes for syntax: its operators are in capitals."""
    return "".join(char if char.isalnum() else " " for char in text.lower())
