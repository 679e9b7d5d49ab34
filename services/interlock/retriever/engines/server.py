"""What index servers have in common: who asks, made one filter, and checked again.

An adapter has a `Server`, which makes, lists and removes indexes, and a `ServerIndex`, which
stores, scores, reads and counts; the rest is here, and everything that their clients raise is a
`RetryLater`. An index on a server stores one record per
passage: `chunk_id`, `tenant`, `source`, `audience`, from when until when it is valid, the passage
as JSON (`body`), and two vectors. `audience` is the set of scopes as one word, so that "holds all
of its scopes" is "its audience is one of these", which every engine can filter by.
The audiences there are were told when the index was opened, or seen when it was filled: one that
is not known is found by nobody.
"""

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interlock.retriever.documents import Passage
from interlock.retriever.engines.index import (
    DENSE,
    KEYWORD,
    Entry,
    Query,
    passage,
    payload,
    ranking,
)
from interlock.runtime.errors import RetryLater, UserError
from interlock_contracts.failures import FailureCode
from interlock_contracts.retrieval import Ranking

BATCH = 100
"""Passages per call of an upsert, where an engine is not better off with all of them."""

REMOVED = 500
"""Passages per call that deletes."""

LAYOUT = 3
"""How an index is laid out on servers. It is part of the name: one of another layout is not read,
but made anew beside it."""

NAME = re.compile(r"interlock\d*[-_][0-9a-f]{32}", re.IGNORECASE)
"""What indexes of ours are called: of this layout, of those before it, in any engine's case."""

WORDS = ("tenant", "source", "audience")
MOMENTS = ("valid_from", "valid_until")
"""What is filtered by: words as they are, and microseconds since 1970."""

Audiences = Iterable[Collection[str]]
"""The sets of scopes that the passages of an index need."""

Scored = Iterable[tuple[str, float]]
"""Chunk ids with their scores."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks. `audiences` are those of the index that the reader belongs to, in order.

    With `at` (microseconds since 1970) only what is valid at that moment is wanted.
    """

    tenant: str
    scopes: frozenset[str]
    sources: tuple[str, ...]
    audiences: tuple[str, ...]
    at: int | None = None

    def allows(self, one: Passage) -> bool:
        """The same rule, for what the engine returned."""
        return (
            one.tenant == self.tenant
            and one.source in self.sources
            and self.scopes.issuperset(one.scopes)
        )


def audience(scopes: Iterable[str]) -> str:
    """A set of scopes as one word; no scope holds a `+` or a `*`."""
    return "+".join(sorted(scopes)) or "*"


def record(entry: Entry) -> dict[str, Any]:
    """What is stored of a passage beside its vectors."""
    one = entry.passage
    return {
        "chunk_id": one.chunk_id,
        "tenant": one.tenant,
        "source": one.source,
        "audience": audience(one.scopes),
        "valid_from": one.valid_from,
        "valid_until": one.valid_until,
        "body": json.dumps(payload(one), ensure_ascii=False),
    }


class ServerIndex(ABC):
    """An `Index` of which an adapter does the rest: store, score, read, count."""

    batch = BATCH
    """Passages per call of `_store`."""

    def __init__(self, name: str, identity: str, audiences: Audiences) -> None:
        """`audiences` are those of the passages that are there already."""
        self.identity = identity
        self.name = name
        self._audiences = {audience(scopes) for scopes in audiences}

    @abstractmethod
    async def _store(self, batch: Sequence[Entry]) -> None:
        """Store them; found by the next search."""

    async def _leg(self, leg: str, vector: Any, access: Access, limit: int) -> Scored:
        """The best `limit` of a leg, filtered in the engine's own query.

        `vector` is an array for the dense leg and weights by dimension for the keyword leg.
        """
        raise NotImplementedError("an adapter without it has `_legs`")

    @abstractmethod
    async def _read(
        self, chunk_ids: Sequence[str], access: Access, *, vectors: bool
    ) -> Iterable[tuple[str, Sequence[float] | None]]:
        """(body, dense vector if `vectors`) of these, filtered likewise."""

    @abstractmethod
    async def _remove(self, passages: Sequence[tuple[str, str]]) -> None:
        """Delete these, given as (tenant, chunk id); those that are not there are no error."""

    async def _legs(
        self, asked: Mapping[str, Any], access: Access, limit: int
    ) -> Mapping[str, Scored]:
        """Several legs, by name: at the same time, unless an engine takes them in one call."""
        found = await asyncio.gather(
            *(self._leg(leg, vector, access, limit) for leg, vector in asked.items())
        )
        return dict(zip(asked, found, strict=True))

    async def upsert(self, entries: Sequence[Entry]) -> None:
        """Store passages, `batch` at a time."""
        newest = list({one.passage.chunk_id: one for one in entries}.values())
        self._audiences.update(audience(one.passage.scopes) for one in newest)
        for start in range(0, len(newest), self.batch):
            async with _answering():
                await self._store(newest[start : start + self.batch])

    async def remove(self, passages: Sequence[tuple[str, str]]) -> None:
        """Delete passages, given as (tenant, chunk id), some at a time."""
        for start in range(0, len(passages), REMOVED):
            async with _answering():
                await self._remove(passages[start : start + REMOVED])

    async def search(
        self,
        query: Query,
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
        limit: int,
    ) -> tuple[Ranking, ...]:
        """Both legs."""
        access = replace(self._access(tenant, scopes, sources), at=query.at)
        asked: dict[str, Any] = {}
        if query.keyword:
            asked[KEYWORD] = query.keyword
        if query.dense is not None and query.dense.any():
            asked[DENSE] = query.dense
        found: Mapping[str, Scored] = {}
        if asked and access.audiences:
            async with _answering():
                found = await self._legs(asked, access, limit)
        return tuple(ranking(leg, found.get(leg, ()), limit) for leg in (KEYWORD, DENSE))

    async def fetch(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, Passage]:
        """These passages by id, as far as they may be read."""
        found = await self._readable(chunk_ids, self._access(tenant, scopes, sources))
        return {name: one for name, (one, _) in found.items()}

    async def vectors(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        """The dense vectors of these by id, as far as they may be read."""
        access = self._access(tenant, scopes, sources)
        found = await self._readable(chunk_ids, access, vectors=True)
        arrays = {
            name: np.asarray(vector, np.float32)
            for name, (_, vector) in found.items()
            if vector is not None
        }
        return {name: array for name, array in arrays.items() if array.any()}

    def _access(self, tenant: str, scopes: Collection[str], sources: Collection[str]) -> Access:
        held = frozenset(scopes)
        # An engine is not asked for one of no sources: some refuse an empty list.
        known = self._audiences if sources else ()
        allowed = (one for one in known if one == "*" or held.issuperset(one.split("+")))
        return Access(tenant, held, tuple(sorted(sources)), tuple(sorted(allowed)))

    async def _readable(
        self, chunk_ids: Collection[str], access: Access, *, vectors: bool = False
    ) -> Mapping[str, tuple[Passage, Sequence[float] | None]]:
        if not chunk_ids or not access.audiences:
            return {}
        async with _answering():
            rows = await self._read(list(chunk_ids), access, vectors=vectors)
        stored = ((passage(json.loads(body)), vector) for body, vector in rows)
        return {one.chunk_id: (one, vector) for one, vector in stored if access.allows(one)}


class Server(ABC):
    """Where indexes are, each under a name made of its identity."""

    settles_s = 0.0
    """So long after it was written a passage may not be found yet."""

    def name_of(self, identity: str) -> str:
        """What an index is called there: letters and digits that every engine accepts."""
        return f"interlock{LAYOUT}_{identity.removeprefix('sha256:')[:32]}"

    async def index(self, identity: str, dimension: int, audiences: Audiences) -> ServerIndex:
        """The index with this identity, made if it is not there; `audiences` are its passages'."""
        async with _answering():
            return await self._index(identity, dimension, audiences)

    async def indexes(self) -> set[str]:
        """The names of all indexes of ours there, also those of other layouts."""
        async with _answering():
            return {name for name in await self._names() if NAME.fullmatch(name)}

    async def drop(self, name: str) -> None:
        """Remove an index; one that is not there is no error."""
        async with _answering():
            await self._drop(name)

    @abstractmethod
    async def _index(self, identity: str, dimension: int, audiences: Audiences) -> ServerIndex:
        """As `index`."""

    @abstractmethod
    async def _names(self) -> Iterable[str]:
        """The names of all indexes there, at least ours."""

    @abstractmethod
    async def _drop(self, name: str) -> None:
        """As `drop`."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the connections."""


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Whatever a client raises is a `RetryLater`.

    It does not say what the client does: some say the address with the password in it.
    """
    try:
        yield
    except (RetryLater, UserError):
        raise
    except Exception as error:  # every client has its own
        said = f"the index server does not answer as it should: {type(error).__name__}"
        raise RetryLater(FailureCode.STAGE_FAILED, said) from error
