"""One generation as an `Index`: of parts that hold other versions, too, it finds its own alone.

A part is what an engine keeps: arrays in files, or everything on a server. What a generation does
not have is left out here, and more is asked for where that leaves too few.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from interlock.retriever.documents import Passage
from interlock.retriever.engines.index import Index, Query
from interlock.retriever.generations.content import Lines, key_of
from interlock.retriever.ranking.fusion import document_of, ordered
from interlock_contracts.retrieval import Ranking

ReadT = TypeVar("ReadT")
AskedT = TypeVar("AskedT")

MOST = 10_000
"""The most results that engines give."""

EQUALS = 1_000
"""So deep is looked for passages that score as high as the last one wanted."""

SPARE = 0.25
"""So much more is asked of a part that holds what the generation does not have."""


class _Who(TypedDict):
    tenant: str
    scopes: Collection[str]
    sources: Collection[str]


class Part:
    """Passages that an engine keeps, of which those in `gone` are not the generation's."""

    def __init__(self, index: Index, gone: Collection[str] = ()) -> None:
        self.index = index
        self.mixed = bool(gone)
        self._gone = frozenset(gone)

    def stored(self, chunk_id: str) -> str | None:
        """What the engine calls a passage of the generation; None: this part does not have it."""
        return None if chunk_id in self._gone else chunk_id

    def plain(self, stored: str) -> str | None:
        """The id of a passage that the engine calls so; None: it is not the generation's."""
        return self.stored(stored)


class Versioned(Part):
    """A part in which passages of all versions are, each under its id and its version's key."""

    def __init__(self, index: Index, lines: Lines) -> None:
        super().__init__(index)
        self.mixed = True
        self._keys = {name: key_of(line) for name, line in lines.items()}

    def stored(self, chunk_id: str) -> str | None:
        """With the key of the version that the generation has."""
        key = self._keys.get(document_of(chunk_id))
        return key and versioned(chunk_id, key)

    def plain(self, stored: str) -> str | None:
        """Without the key, if that is the generation's."""
        chunk_id, _, key = stored.rpartition("@")
        return chunk_id if self._keys.get(document_of(chunk_id)) == key else None


def versioned(chunk_id: str, key: str) -> str:
    """What a passage of a version is called where all versions are."""
    return f"{chunk_id}@{key}"


def composed(identity: str, parts: Sequence[Part]) -> Index:
    """The index of a generation; a part that is all of it, and nothing else, is that itself."""
    if len(parts) == 1 and not parts[0].mixed:
        return parts[0].index
    return Composed(identity, parts)


@dataclass(frozen=True, slots=True)
class Composed:
    """An `Index` over the parts of one generation."""

    identity: str
    parts: Sequence[Part]

    async def search(
        self,
        query: Query,
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
        limit: int,
    ) -> tuple[Ranking, ...]:
        """The best `limit` of each leg over all parts."""
        who: _Who = {"tenant": tenant, "scopes": scopes, "sources": sources}
        found = await _together([_best(part, query, limit, who) for part in self.parts])
        if len(found) == 1:
            return tuple(found[0])
        return tuple(
            ordered(legs[0].step, [row for leg in legs for row in _rows(leg)], limit)
            for legs in zip(*found, strict=True)
        )

    async def fetch(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, Passage]:
        """These passages by id, as far as they may be read."""
        who: _Who = {"tenant": tenant, "scopes": scopes, "sources": sources}
        rows = await self._read(lambda part, names: part.index.fetch(names, **who), chunk_ids)
        return {
            name: one if one.chunk_id == name else replace(one, chunk_id=name)
            for name, one in rows.items()
        }

    async def vectors(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of these by id, as far as they may be read."""
        who: _Who = {"tenant": tenant, "scopes": scopes, "sources": sources}
        return await self._read(lambda part, names: part.index.vectors(names, **who), chunk_ids)

    async def _read(
        self,
        ask: Callable[[Part, Sequence[str]], Awaitable[Mapping[str, ReadT]]],
        chunk_ids: Collection[str],
    ) -> dict[str, ReadT]:
        """What the parts that have these say of them, by the generation's own ids."""
        called = [
            {stored: name for name in chunk_ids if (stored := part.stored(name))}
            for part in self.parts
        ]
        asked = [(part, names) for part, names in zip(self.parts, called, strict=True) if names]
        found = await _together([ask(part, list(names)) for part, names in asked])
        return {
            names[stored]: one
            for (_, names), rows in zip(asked, found, strict=True)
            for stored, one in rows.items()
        }


async def _best(part: Part, query: Query, limit: int, who: _Who) -> Sequence[Ranking]:
    """The best `limit` of each leg that are the generation's."""
    most = limit + int(limit * SPARE) * part.mixed
    while True:
        legs = await part.index.search(query, **who, limit=most)
        if not part.mixed:
            return legs
        own = [
            [(name, score) for stored, score in _rows(leg) if (name := part.plain(stored))]
            for leg in legs
        ]
        pairs = list(zip(legs, own, strict=True))
        if most >= MOST or not any(_cut_short(leg, rows, limit, most) for leg, rows in pairs):
            return [ordered(leg.step, rows, limit) for leg, rows in pairs]
        most = min(4 * most, MOST)


def _cut_short(leg: Ranking, rows: Sequence[tuple[str, float]], limit: int, most: int) -> bool:
    """Whether what an engine left out could be among the best: it may choose among equals."""
    if len(leg.hits) < most:
        return False
    return len(rows) < limit or (most < EQUALS and rows[limit - 1][1] == leg.hits[-1].score)


def _rows(leg: Ranking) -> Iterator[tuple[str, float]]:
    return ((hit.chunk_id, hit.score) for hit in leg.hits)


async def _together(asked: Sequence[Awaitable[AskedT]]) -> Sequence[AskedT]:
    """At the same time; one alone without a task of its own."""
    return [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)
