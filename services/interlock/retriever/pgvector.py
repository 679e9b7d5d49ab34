"""The same index in PostgreSQL with the extension `vector` (pgvector), through asyncpg.

Two tables per index, named after its identity: the passages with their vectors, and the
postings (term, passage, weight) of the keyword leg. PostgreSQL's own full-text search ranks
otherwise, and pgvector before 0.7 has no sparse vectors. The dense leg is exact: there is no
approximate index. Needs the extra `interlock[pgvector]`.
"""

import json
from collections.abc import Collection, Sequence
from importlib import import_module
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

_CREATE = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS {name} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chunk_id text COLLATE "C" UNIQUE NOT NULL,
    tenant text NOT NULL,
    source text NOT NULL,
    scopes text[] NOT NULL,
    dense vector({dimension}),
    body jsonb NOT NULL
);
CREATE TABLE IF NOT EXISTS {name}_postings (
    tenant text NOT NULL,
    term bigint NOT NULL,
    passage bigint NOT NULL REFERENCES {name} ON DELETE CASCADE,
    weight float8 NOT NULL
);
CREATE INDEX IF NOT EXISTS {name}_tenant ON {name} (tenant, source);
CREATE INDEX IF NOT EXISTS {name}_term ON {name}_postings (tenant, term) INCLUDE (passage, weight);
CREATE INDEX IF NOT EXISTS {name}_of ON {name}_postings (passage);
"""

# What may be read; $1 tenant, $2 sources, $3 scopes held: a passage needs all of its own.
_READABLE = "p.tenant = $1 AND p.source = ANY($2::text[]) AND p.scopes <@ $3::text[]"

# What is valid at a moment; without one everything.
_VALID = (
    "({at}::bigint IS NULL OR ((p.body->>'valid_from')::bigint <= {at}::bigint "
    "AND (p.body->>'valid_until')::bigint > {at}::bigint))"
)

# Rounded before it is ordered: sums that are equal but for the last bits are ordered by id.
_KEYWORD = """
SELECT p.chunk_id, s.score FROM (
    SELECT t.passage, round(sum(t.weight * q.weight)::numeric, 6)::float8 AS score
    FROM unnest($4::bigint[], $5::float8[]) AS q(term, weight)
    JOIN {name}_postings t ON t.tenant = $1 AND t.term = q.term
    GROUP BY t.passage
) s JOIN {name} p ON p.id = s.passage
WHERE {readable} AND {valid}
ORDER BY s.score DESC, p.chunk_id LIMIT $6
""".replace("{valid}", _VALID.format(at="$7"))

_DENSE = """
SELECT p.chunk_id, -(p.dense <#> $4::text::vector) AS score FROM {name} p
WHERE {readable} AND {valid} AND p.dense IS NOT NULL
ORDER BY score DESC, p.chunk_id LIMIT $5
""".replace("{valid}", _VALID.format(at="$6"))


class PgVectorIndex:
    """An `Index` over two tables; `pool` is an asyncpg pool."""

    def __init__(self, pool: Any, identity: str) -> None:
        self._pool = pool
        self.identity = identity
        self._name = f"interlock_{identity.removeprefix('sha256:')[:32]}"

    @classmethod
    async def create(cls, pool: Any, identity: str, dimension: int) -> "PgVectorIndex":
        """The index with this identity; its tables are made if they are not there."""
        index = cls(pool, identity)
        async with pool.acquire() as connection, connection.transaction():
            # IF NOT EXISTS alone lets two at once fail on the catalogue's own constraints.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('interlock'))")
            await connection.execute(_CREATE.format(name=index._name, dimension=dimension))
        return index

    async def size(self) -> int:
        """How many passages are stored, of all tenants."""
        return int(await self._pool.fetchval(f"SELECT count(*) FROM {self._name}"))  # noqa: S608  # hex digits

    async def drop(self) -> None:
        """Remove the index."""
        await self._pool.execute(f"DROP TABLE IF EXISTS {self._name}, {self._name}_postings")

    async def upsert(self, entries: Sequence[Entry]) -> None:
        """Store passages, all of them or none; replaced ones lose their old postings."""
        newest = {one.passage.chunk_id: one for one in entries}
        async with self._pool.acquire() as connection, connection.transaction():
            # One writer at a time: two that replace the same passage would both insert it.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", self._name)
            await connection.execute(
                f"DELETE FROM {self._name} WHERE chunk_id = ANY($1::text[])",  # noqa: S608  # hex digits
                list(newest),
            )
            await connection.executemany(
                f"INSERT INTO {self._name} (chunk_id, tenant, source, scopes, dense, body) "  # noqa: S608  # hex digits
                "VALUES ($1, $2, $3, $4, $5::text::vector, $6::jsonb)",
                [_row(one) for one in newest.values()],
            )
            rows = await connection.fetch(
                f"SELECT chunk_id, id FROM {self._name} WHERE chunk_id = ANY($1::text[])",  # noqa: S608  # hex digits
                list(newest),
            )
            await connection.copy_records_to_table(
                f"{self._name}_postings",
                records=[
                    (newest[row["chunk_id"]].passage.tenant, term, row["id"], weight)
                    for row in rows
                    for term, weight in newest[row["chunk_id"]].keyword.items()
                ],
                columns=("tenant", "term", "passage", "weight"),
            )

    async def search(
        self,
        query: Query,
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
        limit: int,
    ) -> tuple[Ranking, ...]:
        """Both legs, exactly."""
        who = (tenant, sorted(sources), sorted(scopes))
        words: list[Any] = []
        near: list[Any] = []
        async with self._pool.acquire() as connection:
            if query.keyword:
                terms, weights = list(query.keyword), list(query.keyword.values())
                words = await connection.fetch(
                    self._sql(_KEYWORD), *who, terms, weights, limit, query.at
                )
            if query.dense is not None and query.dense.any():
                vector = _vector(query.dense.tolist())
                near = await connection.fetch(self._sql(_DENSE), *who, vector, limit, query.at)
        return ranking(KEYWORD, _pairs(words)), ranking(DENSE, _pairs(near))

    async def fetch(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, Passage]:
        """These passages by id, as far as they may be read."""
        rows = await self._pool.fetch(
            self._sql("SELECT p.body FROM {name} p WHERE {readable} AND p.chunk_id = ANY($4)"),
            *(tenant, sorted(sources), sorted(scopes), list(chunk_ids)),
        )
        found = (passage(json.loads(row["body"])) for row in rows)
        return {one.chunk_id: one for one in found}

    async def vectors(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of these by id, as far as they may be read."""
        rows = await self._pool.fetch(
            self._sql(
                "SELECT p.chunk_id, p.dense::text FROM {name} p "
                "WHERE {readable} AND p.chunk_id = ANY($4) AND p.dense IS NOT NULL"
            ),
            *(tenant, sorted(sources), sorted(scopes), list(chunk_ids)),
        )
        return {row["chunk_id"]: np.array(json.loads(row["dense"]), np.float32) for row in rows}

    async def coverage(
        self, *, tenant: str, scopes: Collection[str], sources: Collection[str]
    ) -> Coverage:
        """Two exact counts in one statement."""
        row = await self._pool.fetchrow(
            f"SELECT count(*) AS indexed, count(*) FILTER (WHERE {_READABLE}) AS readable "  # noqa: S608  # hex digits
            f"FROM {self._name} p WHERE p.tenant = $1 AND p.source = ANY($2::text[])",
            *(tenant, sorted(sources), sorted(scopes)),
        )
        return Coverage(indexed=row["indexed"], readable=row["readable"])

    def _sql(self, template: str) -> str:
        return template.format(name=self._name, readable=_READABLE)


async def connect(url: str, *, connections: int = 4) -> Any:
    """An asyncpg pool; `ModuleNotFoundError` where the extra is not installed."""
    return await import_module("asyncpg").create_pool(url, min_size=1, max_size=connections)


def _row(entry: Entry) -> tuple[Any, ...]:
    one = entry.passage
    dense = _vector(entry.dense.tolist()) if entry.dense.any() else None
    return (
        *(one.chunk_id, one.tenant, one.source, list(one.scopes)),
        *(dense, json.dumps(payload(one))),
    )


def _vector(values: list[float]) -> str:
    return f"[{','.join(map(repr, values))}]"


def _pairs(rows: list[Any]) -> list[tuple[str, float]]:
    return [(row["chunk_id"], row["score"]) for row in rows]
