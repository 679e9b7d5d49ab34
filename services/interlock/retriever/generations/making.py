"""The making of a generation: what changed since one before is read, embedded and stored."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from interlock.retriever.documents import Passage
from interlock.retriever.engines.entries import entries
from interlock.retriever.engines.index import Entry
from interlock.retriever.generations import served
from interlock.retriever.generations.composed import Composed
from interlock.retriever.generations.content import Content, Lines, making, rows_of, version_of
from interlock.retriever.generations.folder import Generations, Manifest
from interlock.retriever.generations.opening import parts_of
from interlock.retriever.generations.segments import Held, planned, segment_name, write_segment
from interlock.retriever.models.remembering import Remembering
from interlock.retriever.ranking.keywords import query_weights, terms
from interlock.retriever.ranking.sparse import with_sparse
from interlock.retriever.ranking.vocabulary import Vocabulary

READ = 1_000
"""So many passages are read at once."""


@dataclass(frozen=True, slots=True)
class _Before:
    """A generation that the new one is made of: its versions, and the passages of those that the
    new one has not. It is `tainted` if something was erased since it was made."""

    parts: Sequence[Held] = ()
    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary({}))
    lines: Lines = field(default_factory=dict)
    gone: Sequence[Passage] = ()
    tainted: bool = False


@dataclass(frozen=True, slots=True)
class Making:
    """The making of the generation of some documents, `anew` or of the one before."""

    generations: Generations
    content: Content
    sources: str
    erasures: int
    anew: bool

    async def make(self, identity: str) -> None:
        """Store what is not there yet, then write down what all of it consists of."""
        started = time.monotonic()
        before = await self._before()
        if self.generations.server is None:
            indexed, parts, vocabulary = await asyncio.to_thread(self._in_segments, before)
        else:
            indexed, parts, vocabulary = await self._on_server(identity, before)
        lines = self.content.lines.values()
        manifest = Manifest(
            identity=identity,
            making=making(self.generations.embedder.name),
            sources=self.sources,
            embedder=self.generations.embedder.name,
            documents=len(lines),
            passages=rows_of(lines),
            made_at=time.time(),
            seconds=round(time.monotonic() - started, 3),
            indexed=indexed,
            audiences=vocabulary.audiences,
            erasures=self.erasures,
        )
        await asyncio.to_thread(self.generations.write, manifest, parts, vocabulary)

    async def _before(self) -> _Before:
        """The likest generation that can be read; nothing where all is made anew."""
        generations = self.generations
        for manifest in () if self.anew else generations.predecessors(self.sources):
            if generations.server is not None and not await served.standing(
                generations, manifest.identity, self.erasures
            ):
                continue
            parts = await asyncio.to_thread(generations.parts, manifest.identity, lines=True)
            lines = {name: line for part in parts for name, line in part.lines.items()}
            lost = lines.items() - self.content.lines.items()
            gone = await self._read(manifest.identity, lost)
            if len(gone) == rows_of(line for _, line in lost):
                vocabulary = await asyncio.to_thread(generations.vocabulary, manifest.identity)
                tainted = manifest.erasures < self.erasures
                return _Before(parts, vocabulary, lines, gone, tainted)
        return _Before()

    async def _read(self, identity: str, versions: Collection[tuple[str, str]]) -> list[Passage]:
        """The passages of these versions, out of the generation that has them."""
        asked: dict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
        for version in (version_of(name, line) for name, line in versions):
            asked[version.tenant, version.source, version.scopes] += version.passages
        index = Composed(identity, await parts_of(self.generations, identity) if asked else ())
        found: list[Passage] = []
        for (tenant, source, scopes), names in asked.items():
            for start in range(0, len(names), READ):
                some = names[start : start + READ]
                rows = await index.fetch(some, tenant=tenant, scopes=scopes, sources=(source,))
                found += rows.values()
        return found

    def _in_segments(self, before: _Before) -> tuple[int, Sequence[Held], Vocabulary]:
        """In files: those that can be kept, and one with the rest."""
        generations = self.generations
        kept, put = planned(self.content.lines, before.parts, clean=before.tainted)
        passages = self.content.passages(put)
        if put or not kept:
            name = segment_name(generations.embedder.name, put)
            folder = generations.segment(name)
            if self.anew or not folder.exists():
                made = self._entries(passages)
                with generations.building(folder) as building:
                    write_segment(building, made, generations.embedder.dimensions)
            kept.append(Held(name, len(passages), put))
        return len(passages), kept, self._vocabulary(before, passages)

    async def _on_server(
        self, identity: str, before: _Before
    ) -> tuple[int, Sequence[Held], Vocabulary]:
        """On a server: what it does not have is sent."""
        generations, lines = self.generations, self.content.lines
        place = served.place_of(generations, self.erasures)
        changed = dict(lines.items() - before.lines.items())
        passages = await asyncio.to_thread(self.content.passages, changed)
        vocabulary = await asyncio.to_thread(self._vocabulary, before, passages)
        parts = [Held(place, rows_of(lines.values()), lines)]
        if not (self.anew or before.parts) and await served.marked(generations, place, identity):
            return 0, parts, vocabulary  # another retriever has sent it
        made = await asyncio.to_thread(self._entries, passages)
        index = await served.index_at(generations, place, vocabulary.audiences)
        await served.fill(index, identity, made, lines, generations.embedder.dimensions)
        return len(passages), parts, vocabulary

    def _entries(self, passages: Sequence[Passage]) -> Sequence[Entry]:
        """With vectors and weights."""
        embedder, corpus = self.generations.embedder, self.generations.corpus
        by = embedder if corpus is None else Remembering(embedder, corpus)
        return with_sparse(entries(passages, by), embedder, corpus)

    def _vocabulary(self, before: _Before, read: Iterable[Passage]) -> Vocabulary:
        """That before, without what is gone, and with what was read and is new."""
        new = {name for name, _ in self.content.lines.items() - before.lines.items()}
        come = (one for one in read if one.document_id in new)
        return before.vocabulary.changed(_counted(before.gone), _counted(come))


def _counted(passages: Iterable[Passage]) -> Iterator[tuple[Passage, Collection[int]]]:
    return ((one, query_weights(terms(one.searchable))) for one in passages)
