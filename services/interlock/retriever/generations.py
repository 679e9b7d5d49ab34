"""Generations: whole indexes beside each other, one of which answers.

A generation is never changed: other documents, another embedder or another chunker make another
one, beside those that are there, under the name of its identity. So a query sees all of a
document's old version or all of its new one, indexes made differently cannot mix, and going back
is opening the one before.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from interlock.bundles.model import Bundle
from interlock.retriever.corpus import Corpus
from interlock.retriever.documents import Passage
from interlock.retriever.embedded import EmbeddedIndex
from interlock.retriever.engine import Server
from interlock.retriever.entries import entries
from interlock.retriever.index import index_identity
from interlock.retriever.remembering import Remembering
from interlock.retriever.searcher import Searcher
from interlock.retriever.sparse import with_sparse
from interlock.retriever.vocabulary import Vocabulary
from interlock.runtime.embedding import TextEmbedder
from interlock.runtime.errors import UserError
from interlock_contracts.canonical import digest

VOCABULARY = "vocabulary.npz"
"""The file beside the engine's own in the folder of an embedded index."""

MANIFEST = "generation.json"
CURRENT = "current.json"

SERVER = "server"
"""The folder of what is known here of the generations on a server."""

REINDEXING = ".reindex"
"""The folder that `index reindex` reads the log into, and its lock."""

KEPT = 4
"""So many generations are kept where nothing is said; the older ones are deleted."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation is made of. `made_at` is in seconds since 1970, `seconds` its cost.

    `sources` is the digest of the sources it was made for (`sources_identity`), if it was for
    some. `audiences` are the sets of scopes of the passages on a server. `erasures` are those the
    log was known to have when the passages were read (`Corpus.erasures`).
    """

    identity: str
    sources: str
    embedder: str
    documents: int
    passages: int
    made_at: float
    seconds: float
    audiences: tuple[tuple[str, ...], ...] = ()
    erasures: int = 0


@dataclass(frozen=True, slots=True)
class Current:
    """Which generation answers. One that is `pinned` does until it is let go again, for bundles
    with the sources it was made for.

    `served` are the identities that answered before, the last one last. `told` counts the times
    that somebody has asked for a fresh look.
    """

    pinned: str | None = None
    served: tuple[str, ...] = ()
    told: int = 0


def sources_identity(bundle: Bundle) -> str:
    """Who may read a bundle's sources, and how far they are trusted; not what is in them."""
    return digest(
        {
            name: {"scopes": sorted(source.scopes), "trust": source.trust.value}
            for name, source in bundle.sources.items()
        }
    )


@dataclass
class Generations:
    """The generations in one folder, shared by every process that has it.

    With a `corpus` no text of a passage is embedded twice. With a `server` the indexes are
    there (`served`), and the folder has their manifests and vocabularies. `keep` generations
    are kept, and those that are pinned or in use.
    """

    folder: Path
    embedder: TextEmbedder
    corpus: Corpus | None = None
    server: Server | None = None
    keep: int = KEPT

    @property
    def place(self) -> Path:
        """Where the generations are; those on a server and embedded ones do not mix."""
        return self.folder if self.server is None else self.folder / SERVER

    def current(self) -> Current:
        """Which one answers, as was last written down."""
        try:
            said = json.loads((self.place / CURRENT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Current()
        return Current(said["pinned"], tuple(said["served"]), said["told"])

    def note(
        self, *, served: str | None = None, pinned: str | None = None, told: bool = False
    ) -> Current:
        """Write down what changed: `pinned` "" lets go."""
        with self.locked("current"):
            now = self.current()
            history = [one for one in now.served if one != served]
            after = Current(
                pinned=now.pinned if pinned is None else pinned or None,
                served=(*history, served)[-2 * self.keep :] if served else now.served,
                told=now.told + told,
            )
            if after != now:
                beside = self.place / f".{CURRENT}-{os.getpid()}"
                beside.write_text(json.dumps(asdict(after)), encoding="utf-8")
                beside.replace(self.place / CURRENT)
        return after

    def manifests(self) -> list[Manifest]:
        """The generations that are there, the newest first."""
        found = []
        for path in self.place.glob(f"[!.]*/{MANIFEST}"):
            with suppress(FileNotFoundError):  # another process tidies
                found.append(Manifest(**json.loads(path.read_text(encoding="utf-8"))))
        return sorted(found, key=lambda one: (-one.made_at, one.identity))

    def size(self, identity: str) -> int:
        """How many bytes a generation takes on disk."""
        return sum(file.stat().st_size for file in self.folder_of(identity).iterdir())

    def folder_of(self, identity: str) -> Path:
        """The folder of a generation."""
        return self.place / identity.removeprefix("sha256:")[:32]

    def make(
        self,
        passages: Sequence[Passage],
        *,
        sources: str = "",
        anew: bool = False,
        erasures: int = 0,
    ) -> Searcher:
        """The generation of these passages, built if it is not there, or `anew`.

        Blocks; processes that want the same one at the same time build it once.
        """
        identity = index_identity(self.embedder.name, passages)
        if anew or not self.folder_of(identity).exists():
            with self.locked(identity[7:39]):
                if anew or not self.folder_of(identity).exists():
                    self._build(identity, passages, sources, erasures, anew=anew)
        self.vouch(identity, erasures)
        return self.open(identity)

    def vouch(self, identity: str, erasures: int) -> None:
        """Note that a generation holds nothing erased so far: it is of passages read after that."""
        folder = self.folder_of(identity)
        manifest = self.manifest(identity)
        if manifest.erasures < erasures:
            beside = folder / f".{MANIFEST}-{os.getpid()}"
            _write(beside, replace(manifest, erasures=erasures))
            beside.replace(folder / MANIFEST)

    def made_for(self, identity: str) -> str | None:
        """The sources of a generation; None where it is gone."""
        return next((one.sources for one in self.manifests() if one.identity == identity), None)

    def open(self, identity: str) -> Searcher:
        """A generation that is there; raises `UserError` where it cannot answer here."""
        self.manifest(identity)
        folder = self.folder_of(identity)
        index = EmbeddedIndex.open(folder, identity)
        return Searcher(index, self.embedder, Vocabulary.load(folder / VOCABULARY))

    def manifest(self, identity: str) -> Manifest:
        """Of a generation that is there; raises `UserError` where it cannot answer here."""
        path = self.folder_of(identity) / MANIFEST
        try:
            manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise UserError(f"there is no index {identity} below {self.place}") from None
        if manifest.embedder != self.embedder.name:
            raise UserError(
                f"index {identity} was made by the embedder {manifest.embedder}, and questions "
                f"are embedded by {self.embedder.name}: their vectors do not compare; "
                "run `interlock index reindex`"
            )
        return manifest

    def outdated(self, erasures: int = 0) -> list[Manifest]:
        """The generations that may go: neither pinned nor among the newest, nor the last served.

        And those that must: made before the last of so many `erasures`.
        """
        now = self.current()
        keep = {now.pinned, *now.served[-self.keep :]}
        manifests = self.manifests()
        old = {one.identity for one in manifests[self.keep :]} - keep
        return [one for one in manifests if one.identity in old or one.erasures < erasures]

    def remove(self, identity: str) -> None:
        """Delete the folder of a generation. Who has it open keeps what it has open.

        It goes by another name: a folder with its final name is whole, also if this is cut off.
        """
        folder = self.folder_of(identity)
        before = folder.with_name(f".before-{folder.name}")
        shutil.rmtree(before, ignore_errors=True)
        with suppress(OSError):  # another process did it
            folder.rename(before)
        shutil.rmtree(before, ignore_errors=True)

    def tidy(self) -> None:
        """Delete old generations."""
        for manifest in self.outdated():
            self.remove(manifest.identity)

    def _build(
        self,
        identity: str,
        passages: Sequence[Passage],
        sources: str,
        erasures: int,
        *,
        anew: bool,
    ) -> None:
        """Build beside, then rename: a folder with its final name is whole."""
        started = time.monotonic()
        folder = self.folder_of(identity)
        building = folder.with_name(f".building-{folder.name}")
        shutil.rmtree(building, ignore_errors=True)
        index = EmbeddedIndex.create(building, identity, self.embedder.dimensions)
        by = self.embedder
        if self.corpus is not None and not anew:
            by = Remembering(by, self.corpus)
        made = entries(passages, by)
        index.take(with_sparse(made, self.embedder, None if anew else self.corpus))
        index.flush()
        vocabulary = Vocabulary.of((one.passage, one.keyword) for one in made)
        told = self.told_of(identity, passages, sources, erasures, started)
        self.whole(building, vocabulary, told)

    def told_of(
        self,
        identity: str,
        passages: Sequence[Passage],
        sources: str,
        erasures: int,
        started: float,
    ) -> Manifest:
        """The manifest of a generation that was begun at `started` of the monotonic clock."""
        return Manifest(
            identity=identity,
            sources=sources,
            embedder=self.embedder.name,
            documents=len({one.document_id for one in passages}),
            passages=len(passages),
            made_at=time.time(),
            seconds=round(time.monotonic() - started, 3),
            audiences=tuple(sorted({one.scopes for one in passages})),
            erasures=erasures,
        )

    def whole(self, building: Path, vocabulary: Vocabulary, manifest: Manifest) -> None:
        """Add the rest to the folder a generation was built in, and give it its final name."""
        vocabulary.save(building / VOCABULARY)
        folder = self.folder_of(manifest.identity)
        _write(building / MANIFEST, manifest)
        if folder.exists():
            self.remove(manifest.identity)
        building.rename(folder)

    @contextmanager
    def locked(self, name: str, *, wait: bool = True, shared: bool = False) -> Iterator[bool]:
        """One process, and one thread, at a time; the kernel lets go when its holder dies.

        Whether it is ours; without `wait` it may be somebody else's. `shared` keeps out those
        alone who do not share it.
        """
        self.place.mkdir(parents=True, exist_ok=True)
        with (self.place / f".lock-{name[:8]}").open("w") as file:
            try:
                how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                fcntl.flock(file, how | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True


def _write(path: Path, manifest: Manifest) -> None:
    path.write_text(json.dumps(asdict(manifest)), encoding="utf-8")
