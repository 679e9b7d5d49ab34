"""The embedded index: arrays in files, mapped into memory; no server, no package but NumPy.

A folder is filled once, flushed, and from then on only read, by as many processes as like: they
share its pages. Memory at 100,000 passages: about 100 MB for vectors of 256 dimensions, 50 MB
for postings; the texts stay on disk.
"""

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interlock.retriever.documents import Passage
from interlock.retriever.engines.arrays import Block, Reader, block_of
from interlock.retriever.engines.index import (
    DENSE,
    KEYWORD,
    Entry,
    Query,
    payload,
    ranking,
)
from interlock.retriever.engines.mapped import Lines, load, save, write
from interlock_contracts.retrieval import Ranking

ARRAYS = ("dense", "terms", "starts", "rows", "weights")
"""The parts of a block, each a file with those of all tenants one after the other."""

PASSAGES, OFFSETS, CONTENTS = "passages.jsonl", "offsets", "index.json"

READERS = 64
"""For so many kinds of readers the rows they may read are kept."""

Partition = tuple[str, tuple[str, ...], int, int, int, int]
"""Source, scopes and validity (from, until) of rows `start` to `stop` of a tenant's block."""


class EmbeddedIndex:
    """An `Index` over arrays. Filled by `create`, `upsert`, `flush`; then opened by `open`."""

    def __init__(self, identity: str, dimension: int, folder: Path) -> None:
        self.identity = identity
        self._dimension = dimension
        self._folder = folder
        self._entries: dict[str, Entry] | None = None
        self._blocks: dict[str, tuple[Block, int]] = {}
        self._partitions: dict[str, list[Partition]] = {}
        self._passages: Sequence[Passage] = ()
        self._names: list[str] = []
        self._rows: dict[str, int] = {}
        self._readers: OrderedDict[tuple[object, ...], Reader] = OrderedDict()
        self._moments: dict[str, list[int]] = {}

    @classmethod
    def create(cls, folder: Path, identity: str, dimension: int) -> "EmbeddedIndex":
        """A new, empty index for an empty or missing folder; `flush` writes it there."""
        index = cls(identity, dimension, folder)
        index._entries = {}
        return index

    @classmethod
    def open(cls, folder: Path, identity: str) -> "EmbeddedIndex":
        """An index that was filled and flushed before."""
        contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        index = cls(identity, contents["dimension"], folder)
        arrays = {name: load(folder / f"{name}.npy") for name in ARRAYS}
        taken = dict.fromkeys(ARRAYS, 0)
        for tenant in contents["tenants"]:
            parts = {}
            for name in ARRAYS:
                start, taken[name] = taken[name], taken[name] + tenant["sizes"][name]
                parts[name] = arrays[name][start : taken[name]]
            index._blocks[tenant["name"]] = (Block(**parts), taken["dense"] - len(parts["dense"]))
            index._partitions[tenant["name"]] = [
                (source, tuple(scopes), *rest) for source, scopes, *rest in tenant["partitions"]
            ]
        index._name(contents["chunk_ids"])
        index._passages = Lines(folder / PASSAGES, load(folder / f"{OFFSETS}.npy"))
        return index

    def _name(self, chunk_ids: list[str]) -> None:
        self._names = chunk_ids
        self._rows = {name: row for row, name in enumerate(chunk_ids)}

    async def upsert(self, entries: Sequence[Entry]) -> None:
        """Take passages in; `RuntimeError` once the index is one that was opened."""
        self.take(entries)

    def take(self, entries: Sequence[Entry]) -> None:
        """`upsert` without waiting: there is nothing to wait for."""
        if self._entries is None:
            raise RuntimeError("an index that was opened is only read: build another beside it")
        self._entries |= {one.passage.chunk_id: one for one in entries}
        self._blocks = {}

    def _ready(self) -> None:
        """Make arrays of what was taken in since they were made."""
        if self._blocks or not self._entries:
            return
        ordered = sorted(self._entries.values(), key=_place)
        self._readers.clear()
        self._moments.clear()
        self._partitions = {}
        self._passages = [one.passage for one in ordered]
        self._name([one.chunk_id for one in self._passages])
        first = 0
        for tenant, own in groupby(ordered, key=lambda one: one.passage.tenant):
            rows = list(own)
            self._blocks[tenant] = (block_of(rows, self._dimension), first)
            self._partitions[tenant] = list(_partitions(rows))
            first += len(rows)

    def flush(self) -> None:
        """Write everything to the folder, durably."""
        self._ready()
        self._folder.mkdir(parents=True, exist_ok=True)
        blocks = [block for block, _ in self._blocks.values()]
        for name in ARRAYS:
            empty = getattr(block_of([], self._dimension), name)[:0]
            joined = np.concatenate([empty, *(getattr(block, name) for block in blocks)])
            save(self._folder / f"{name}.npy", joined)
        lines = [json.dumps(payload(one), ensure_ascii=False).encode() for one in self._passages]
        save(self._folder / f"{OFFSETS}.npy", np.cumsum([0, *(len(line) + 1 for line in lines)]))
        write(self._folder / PASSAGES, b"".join(line + b"\n" for line in lines))
        contents = {
            "identity": self.identity,
            "dimension": self._dimension,
            "chunk_ids": self._names,
            "tenants": [
                {
                    "name": tenant,
                    "sizes": {name: len(getattr(block, name)) for name in ARRAYS},
                    "partitions": self._partitions[tenant],
                }
                for tenant, (block, _) in self._blocks.items()
            ],
        }
        write(self._folder / CONTENTS, json.dumps(contents, ensure_ascii=False).encode())

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
        self._ready()
        words: list[tuple[int, float]] = []
        near: list[tuple[int, float]] = []
        block, first = self._blocks.get(tenant, (None, 0))
        if block is not None:
            reader = self._reader(tenant, frozenset(scopes), frozenset(sources), query.at)
            if query.keyword and reader.ranges:
                words = block.keyword(query.keyword, reader, limit)
            if query.dense is not None and query.dense.any():
                near = block.nearest(query.dense, reader, limit)
        names = self._names
        return tuple(
            ranking(leg, [(names[first + row], score) for row, score in found], limit)
            for leg, found in ((KEYWORD, words), (DENSE, near))
        )

    def _reader(
        self, tenant: str, scopes: frozenset[str], sources: frozenset[str], at: int | None
    ) -> Reader:
        """The rows this reader may read: of these sources, no scope that is not held, valid then.

        Between two moments at which some validity begins or ends the rows are the same ones.
        """
        moments = self._moments.get(tenant)
        if moments is None:
            limits = {limit for one in self._partitions.get(tenant, ()) for limit in one[2:4]}
            moments = self._moments[tenant] = sorted(limits)
        key = (tenant, scopes, sources, None if at is None else bisect_right(moments, at))
        found = self._readers.get(key)
        if found is None:
            found = self._readers[key] = Reader.of(
                [
                    (start, stop)
                    for source, needed, since, until, start, stop in self._partitions[tenant]
                    if source in sources
                    and scopes.issuperset(needed)
                    and (at is None or since <= at < until)
                ]
            )
            if len(self._readers) > READERS:
                self._readers.popitem(last=False)
        self._readers.move_to_end(key)
        return found

    async def fetch(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, Passage]:
        """These passages by id, as far as they may be read."""
        self._ready()
        held = frozenset(scopes)
        rows = (self._rows.get(name) for name in chunk_ids)
        found = [self._passages[row] for row in rows if row is not None]
        return {
            one.chunk_id: one
            for one in found
            if one.tenant == tenant and one.source in sources and held.issuperset(one.scopes)
        }

    async def vectors(
        self,
        chunk_ids: Collection[str],
        *,
        tenant: str,
        scopes: Collection[str],
        sources: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        """The vectors of those that `fetch` gives."""
        readable = await self.fetch(chunk_ids, tenant=tenant, scopes=scopes, sources=sources)
        block, first = self._blocks.get(tenant, (None, 0))
        if block is None:
            return {}
        rows = {name: block.dense[self._rows[name] - first] for name in readable}
        return {name: row for name, row in rows.items() if row.any()}


def _place(entry: Entry) -> tuple[str, str, tuple[str, ...], int, int, str]:
    one = entry.passage
    scopes = tuple(one.scopes)
    return one.tenant, one.source, scopes, one.valid_from, one.valid_until, one.chunk_id


def _partitions(rows: Sequence[Entry]) -> Iterator[Partition]:
    """Runs of the same source, scopes and validity."""
    stop = 0
    for shared, own in groupby(rows, key=lambda one: _place(one)[1:5]):
        start, stop = stop, stop + sum(1 for _ in own)
        yield *shared, start, stop
