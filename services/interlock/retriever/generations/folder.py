"""Generations: whole indexes beside each other, one of which answers.

A generation is never changed: other documents, another embedder or another chunker make another
one, beside those that are there, under the name of its identity. So a query sees all of a
document's old version or all of its new one, indexes made differently cannot mix, and going back
is opening the one before. What they have in common they share: segments in files (`segments`), or
the versions of documents on a server (`served`).
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from interlock.bundles.model import Bundle
from interlock.retriever.corpus import Corpus
from interlock.retriever.engines.server import Server
from interlock.retriever.generations.content import Lines, making
from interlock.retriever.generations.segments import SEGMENTS, Held
from interlock.retriever.ranking.vocabulary import Vocabulary
from interlock.runtime.embedding import TextEmbedder
from interlock.runtime.errors import UserError
from interlock_contracts.canonical import digest

VOCABULARY = "vocabulary.npz"
MANIFEST = "manifest.json"
PARTS, LINES = "parts.json", "lines.json"
CURRENT = "current.json"

SERVER = "server"
"""The folder of what is known here of the generations on a server."""

REINDEXING = ".reindex"
"""The folder that `index reindex` reads the log into, and its lock."""

PARTS_LOCK = "parts"
"""Held, shared, by who makes a generation of parts that are there, and by who deletes parts."""

KEPT = 4
"""So many generations are kept where nothing is said; the older ones are deleted."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation is made of. `made_at` is in seconds since 1970, `seconds` its cost.

    `making` is how it was made (`content.making`). `sources` is the digest of the sources it was
    made for (`sources_identity`), if it was for some. `audiences` are the sets of scopes of its
    passages. `erasures` are those the log was known to have when the passages were read
    (`Corpus.erasures`). `indexed` are the passages that had to be written for it.
    """

    identity: str
    making: str
    sources: str
    embedder: str
    documents: int
    passages: int
    made_at: float
    seconds: float
    indexed: int = 0
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

    With a `corpus` no text of a passage is embedded twice. With a `server` the passages are
    there, and the folder has what is known of them. `keep` generations are kept, and those that
    are pinned or in use. An `installation` has indexes of its own on a server.
    """

    folder: Path
    embedder: TextEmbedder
    corpus: Corpus | None = None
    server: Server | None = None
    keep: int = KEPT
    installation: str = ""

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
        """How many bytes a generation takes on disk, those that it shares included.

        0 of one that another process has just deleted.
        """
        folders = [self.folder_of(identity)]
        try:
            if self.server is None:
                folders += (self.segment(one.name) for one in self.parts(identity))
            return sum(file.stat().st_size for folder in folders for file in folder.iterdir())
        except FileNotFoundError:
            return 0

    def folder_of(self, identity: str) -> Path:
        """The folder of a generation."""
        return self.place / identity.removeprefix("sha256:")[:32]

    def segment(self, name: str) -> Path:
        """The folder of a segment of embedded generations."""
        return self.place / SEGMENTS / name

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

    def parts(self, identity: str, *, lines: bool = False) -> list[Held]:
        """What a generation consists of; its documents only where `lines` are asked for."""
        folder = self.folder_of(identity)
        parts = json.loads((folder / PARTS).read_text(encoding="utf-8"))
        said: Sequence[Lines] = [{}] * len(parts)
        if lines:
            said = json.loads((folder / LINES).read_text(encoding="utf-8"))
        return [
            Held(one["name"], one["rows"], own, frozenset(one["gone"]))
            for one, own in zip(parts, said, strict=True)
        ]

    def vocabulary(self, identity: str) -> Vocabulary:
        """The frequencies of a generation's words."""
        return Vocabulary.load(self.folder_of(identity) / VOCABULARY)

    def made_for(self, identity: str) -> str | None:
        """The sources of a generation; None where it is gone."""
        return next((one.sources for one in self.manifests() if one.identity == identity), None)

    def whole(self, identity: str, erasures: int) -> bool:
        """Whether a generation is there and nothing that was erased is in its parts."""
        folder = self.folder_of(identity)
        if not folder.exists():
            return False
        return self.manifest(identity).erasures >= erasures or not any(
            one.gone for one in self.parts(identity)
        )

    def vouch(self, identity: str, erasures: int) -> None:
        """Note that a generation holds nothing erased so far: it is of passages read after that."""
        folder = self.folder_of(identity)
        manifest = self.manifest(identity)
        if manifest.erasures < erasures:
            beside = folder / f".{MANIFEST}-{os.getpid()}"
            _write(beside, asdict(replace(manifest, erasures=erasures)))
            beside.replace(folder / MANIFEST)

    def predecessors(self, sources: str) -> list[Manifest]:
        """Generations that were made in the same way, the likest first."""
        alike = making(self.embedder.name)
        found = [one for one in self.manifests() if one.making == alike]
        return sorted(found, key=lambda one: one.sources != sources)

    def outdated(self, erasures: int = 0) -> list[Manifest]:
        """The generations that may go: neither pinned nor among the newest, nor the last served.

        And those that must: made before the last of so many `erasures`.
        """
        now = self.current()
        keep = {now.pinned, *now.served[-self.keep :]}
        manifests = self.manifests()
        old = {one.identity for one in manifests[self.keep :]} - keep
        return [one for one in manifests if one.identity in old or one.erasures < erasures]

    def remove(self, folder: Path) -> None:
        """Delete the folder of a generation or segment. Who has it open keeps what it has open.

        It goes by another name: a folder with its final name is whole, also if this is cut off.
        """
        before = folder.with_name(f".before-{folder.name}")
        shutil.rmtree(before, ignore_errors=True)
        with suppress(OSError):  # another process did it
            folder.rename(before)
        shutil.rmtree(before, ignore_errors=True)

    @contextmanager
    def building(self, folder: Path) -> Iterator[Path]:
        """A folder to fill, which then gets its final name: one with that name is whole."""
        building = folder.with_name(f".building-{folder.name}")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        yield building
        if folder.exists():
            self.remove(folder)
        building.rename(folder)

    def write(self, manifest: Manifest, parts: Sequence[Held], vocabulary: Vocabulary) -> None:
        """A generation of parts that are there."""
        with self.building(self.folder_of(manifest.identity)) as folder:
            vocabulary.save(folder / VOCABULARY)
            _write(folder / LINES, [dict(one.lines) for one in parts])
            said = [{"name": one.name, "rows": one.rows, "gone": sorted(one.gone)} for one in parts]
            _write(folder / PARTS, said)
            _write(folder / MANIFEST, asdict(manifest))
            for file in folder.iterdir():
                with file.open("rb") as written:
                    os.fsync(written.fileno())

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


def _write(path: Path, said: Any) -> None:
    path.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
