"""The same index in PostgreSQL with the extension `vector` (pgvector), through asyncpg.

Two tables per index: the passages with their vectors, and the postings (term, passage, weight)
of the keyword leg. PostgreSQL's own full-text search ranks otherwise, and pgvector before 0.7 has
no sparse vectors. The dense leg is exact: there is no approximate index. Needs the extra
`interlock[pgvector]`.
"""

import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from interlock.retriever.engines.index import KEYWORD, Entry
from interlock.retriever.engines.server import (
    Access,
    Audiences,
    Scored,
    Server,
    ServerIndex,
    record,
)

CONNECTIONS = 4

POSTINGS = "_postings"
"""What the second table's name ends with."""

_CREATE = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS {name} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chunk_id text COLLATE "C" UNIQUE NOT NULL,
    tenant text NOT NULL,
    source text NOT NULL,
    audience text NOT NULL,
    valid_from bigint NOT NULL,
    valid_until bigint NOT NULL,
    body text NOT NULL,
    dense vector({dimension})
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

_INSERT = """
INSERT INTO {name}
    (chunk_id, tenant, source, audience, valid_from, valid_until, body, dense)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::vector)
"""

# What may be read: $1 tenant, $2 sources, $3 audiences, $4 the moment, or none.
_READABLE = (
    "p.tenant = $1 AND p.source = ANY($2::text[]) AND p.audience = ANY($3::text[]) "
    "AND ($4::bigint IS NULL OR (p.valid_from <= $4::bigint AND p.valid_until > $4::bigint))"
)

# Rounded before it is ordered: sums that are equal but for the last bits are ordered by id.
_KEYWORD = """
SELECT p.chunk_id, s.score FROM (
    SELECT t.passage, round(sum(t.weight * q.weight)::numeric, 6)::float8 AS score
    FROM unnest($5::bigint[], $6::float8[]) AS q(term, weight)
    JOIN {name}_postings t ON t.tenant = $1 AND t.term = q.term
    GROUP BY t.passage
) s JOIN {name} p ON p.id = s.passage
WHERE {readable}
ORDER BY s.score DESC, p.chunk_id LIMIT $7
"""

_DENSE = """
SELECT p.chunk_id, -(p.dense <#> $5::text::vector) AS score FROM {name} p
WHERE {readable} AND p.dense IS NOT NULL
ORDER BY score DESC, p.chunk_id LIMIT $6
"""

_READ = """
SELECT p.body, CASE WHEN $6 THEN p.dense::text END AS dense FROM {name} p
WHERE {readable} AND p.chunk_id = ANY($5::text[])
"""


class PgServer(Server):
    """Tables in the database at `url`, which is connected to when it is first wanted."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any = None
        self._connecting = asyncio.Lock()

    async def pool(self) -> Any:
        """asyncpg's pool of connections."""
        async with self._connecting:
            if self._pool is None:
                library = import_module("asyncpg")
                self._pool = await library.create_pool(self._url, min_size=1, max_size=CONNECTIONS)
        return self._pool

    async def _index(self, identity: str, dimension: int, audiences: Audiences) -> "PgVectorIndex":
        """Two tables."""
        name, pool = self.name_of(identity), await self.pool()
        async with pool.acquire() as connection, connection.transaction():
            # IF NOT EXISTS alone lets two at once fail on the catalogue's own constraints.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('interlock'))")
            await connection.execute(_CREATE.format(name=name, dimension=dimension))
        return PgVectorIndex(pool, name, identity, audiences)

    async def _names(self) -> Iterable[str]:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        return [row["tablename"] for row in await (await self.pool()).fetch(tables)]

    async def _drop(self, name: str) -> None:
        """Remove both tables."""
        await (await self.pool()).execute(f'DROP TABLE IF EXISTS "{name}", "{name}{POSTINGS}"')

    async def close(self) -> None:
        """Let go of the connections."""
        if self._pool is not None:
            await self._pool.close()


class PgVectorIndex(ServerIndex):
    """An `Index` over two tables; `pool` is an asyncpg pool."""

    batch = sys.maxsize
    """All of an upsert is one transaction."""

    def __init__(self, pool: Any, name: str, identity: str, audiences: Audiences) -> None:
        super().__init__(name, identity, audiences)
        self._pool = pool

    async def _store(self, batch: Sequence[Entry]) -> None:
        """Replaced passages lose their old postings."""
        entries = {one.passage.chunk_id: one for one in batch}
        names = list(entries)
        async with self._pool.acquire() as connection, connection.transaction():
            # One writer at a time: two that replace the same passage would both insert it.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", self.name)
            await connection.execute(
                self._sql("DELETE FROM {name} WHERE chunk_id = ANY($1::text[])"), names
            )
            await connection.executemany(self._sql(_INSERT), [_row(one) for one in batch])
            rows = await connection.fetch(
                self._sql("SELECT chunk_id, id FROM {name} WHERE chunk_id = ANY($1::text[])"), names
            )
            await connection.copy_records_to_table(
                f"{self.name}{POSTINGS}",
                records=[
                    (entries[row["chunk_id"]].passage.tenant, term, row["id"], weight)
                    for row in rows
                    for term, weight in entries[row["chunk_id"]].keyword.items()
                ],
                columns=("tenant", "term", "passage", "weight"),
            )

    async def _leg(self, leg: str, vector: Any, access: Access, limit: int) -> Scored:
        if leg == KEYWORD:
            asked = (list(vector), list(vector.values()))
            rows = await self._pool.fetch(self._sql(_KEYWORD), *_who(access), *asked, limit)
        else:
            near = _literal(vector.tolist())
            rows = await self._pool.fetch(self._sql(_DENSE), *_who(access), near, limit)
        return [(row["chunk_id"], row["score"]) for row in rows]

    async def _read(
        self, chunk_ids: Sequence[str], access: Access, *, vectors: bool
    ) -> Iterable[tuple[str, Sequence[float] | None]]:
        rows = await self._pool.fetch(self._sql(_READ), *_who(access), list(chunk_ids), vectors)
        return [(row["body"], json.loads(row["dense"] or "null")) for row in rows]

    async def _remove(self, passages: Sequence[tuple[str, str]]) -> None:
        delete = self._sql("DELETE FROM {name} WHERE chunk_id = ANY($1::text[])")
        await self._pool.execute(delete, [name for _, name in passages])

    def _sql(self, template: str) -> str:
        """A statement about this index, whose name is of hex digits."""
        return template.format(name=self.name, readable=_READABLE)


def _who(access: Access) -> tuple[Any, ...]:
    return access.tenant, list(access.sources), list(access.audiences), access.at


def _row(entry: Entry) -> tuple[Any, ...]:
    """Values for `_INSERT`: the record's, in the order of its columns, and the vector."""
    dense = _literal(entry.dense.tolist()) if entry.dense.any() else None
    return (*record(entry).values(), dense)


def _literal(values: list[float]) -> str:
    """A vector as pgvector reads it."""
    return f"[{','.join(map(repr, values))}]"
