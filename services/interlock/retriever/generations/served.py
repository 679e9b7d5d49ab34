"""What of generations is on a server: the versions of documents, each stored once.

One index there has them all, and a mark for every generation whose passages are complete; a
generation is in the folder (`generations`), as the list of its versions. So a document that changed
is all that is sent, and retrievers with folders of their own share what is there. After an erasure
everything goes into another index, and the one that may hold the erased words is dropped.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from interlock.retriever.documents import Passage
from interlock.retriever.engines.index import Entry
from interlock.retriever.engines.server import Audiences, Server, ServerIndex
from interlock.retriever.generations.composed import versioned
from interlock.retriever.generations.content import Lines, key_of, making, version_of
from interlock.retriever.generations.folder import PARTS_LOCK, Generations, Manifest
from interlock.runtime.keys import BUNDLES, trusted_keys_path
from interlock_contracts.canonical import digest, digest_bytes

MARK = "interlock:mark"
"""The tenant and source of marks: no tenant's name has a colon."""

OWN_DIGITS = 16
"""So many digits of the name of an index there say whose installation it is."""


def installation_of(state: Path) -> str:
    """What tells an installation's indexes on a server from another's: whose bundles it trusts.

    Every retriever of an installation has these keys, whatever else it has on disk.
    """
    try:
        return digest_bytes(trusted_keys_path(state, BUNDLES).read_bytes())
    except FileNotFoundError:
        return ""


def place_of(generations: Generations, erasures: int) -> str:
    """What the index of this installation is named after, made in this way after `erasures`."""
    made = digest({"making": making(generations.embedder.name), "erasures": erasures})
    return f"sha256:{_own(generations)}{made[7 : 7 + 32 - OWN_DIGITS]}"


def _own(generations: Generations) -> str:
    return digest(generations.installation)[7 : 7 + OWN_DIGITS]


async def index_at(generations: Generations, place: str, audiences: Audiences) -> ServerIndex:
    """The index on the server, made if it is not there."""
    assert generations.server is not None, "asked for those on a server alone"
    return await generations.server.index(place, generations.embedder.dimensions, audiences)


async def marked(generations: Generations, place: str, identity: str) -> bool:
    """Whether all passages of a generation are in the index there, whoever stored them."""
    assert generations.server is not None, "asked for those on a server alone"
    if generations.server.name_of(place) not in await generations.server.indexes():
        return False
    index = await index_at(generations, place, [()])
    return bool(await index.fetch([identity], tenant=MARK, scopes=(), sources=(MARK,)))


async def standing(generations: Generations, identity: str, erasures: int | None = None) -> bool:
    """Whether a generation that is known here has its passages there still.

    With `erasures`, only if it is in the index of after those.
    """
    try:
        (part,) = generations.parts(identity)
    except FileNotFoundError:  # another process with this folder has deleted it
        return False
    if erasures is not None and part.name != place_of(generations, erasures):
        return False
    assert generations.server is not None, "asked for those on a server alone"
    if time.time() < generations.manifest(identity).made_at + generations.server.settles_s:
        return True
    return await marked(generations, part.name, identity)


async def fill(
    index: ServerIndex, identity: str, entries: Sequence[Entry], lines: Lines, dimensions: int
) -> None:
    """Store passages, then the mark that all of the generation are there; may be done twice."""
    await index.upsert(
        [
            replace(one, passage=replace(one.passage, chunk_id=_called(one.passage, lines)))
            for one in entries
        ]
    )
    await index.upsert([_mark(identity, dimensions)])


async def take_out(generations: Generations, manifest: Manifest) -> None:
    """Delete what only this generation has; the whole index where no other is in it."""
    server = generations.server
    assert server is not None, "asked for those on a server alone"
    (part,) = generations.parts(manifest.identity, lines=True)
    needed: set[tuple[str, str]] = set()
    alone = True
    for other in generations.manifests():
        (its,) = generations.parts(other.identity, lines=True)
        if other != manifest and its.name == part.name:
            alone = False
            needed.update(its.lines.items())
    if alone:
        await server.drop(server.name_of(part.name))
        return
    index = await index_at(generations, part.name, [()])
    await index.remove([(MARK, manifest.identity)])
    await index.remove(list(_stored(part.lines.items() - needed)))


def _stored(lines: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    for name, line in lines:
        version = version_of(name, line)
        for passage in version.passages:
            yield version.tenant, versioned(passage, version.key)


def _called(passage: Passage, lines: Lines) -> str:
    return versioned(passage.chunk_id, key_of(lines[passage.document_id]))


def _mark(identity: str, dimensions: int) -> Entry:
    """A record that no search finds, of a tenant that nobody is."""
    passage = Passage(
        chunk_id=identity,
        document_id=identity,
        version="",
        digest="",
        tenant=MARK,
        source=MARK,
        trust="untrusted",
        scopes=(),
        title="",
        url=None,
        heading="",
        text="",
    )
    return Entry(passage, np.zeros(dimensions, np.float32), {0: 1.0})


async def unknown_indexes(generations: Generations, server: Server) -> list[str]:
    """The indexes on the server that no generation here has: of this installation, or of an
    earlier release, whose names do not say of which."""
    mine = server.name_of(f"sha256:{_own(generations)}")
    known = _known(generations, server)
    layout = server.name_of("sha256:")
    return sorted(
        name
        for name in await server.indexes() - known
        if name.startswith(mine) or not name.startswith(layout)
    )


async def delete_unknown(
    generations: Generations, server: Server, names: Sequence[str]
) -> list[str]:
    """Delete these on the server, unless a process here fills one; says which are gone."""
    gone = []
    for name in names:
        with generations.locked(PARTS_LOCK, wait=False) as free:
            if free and name not in _known(generations, server):
                await server.drop(name)
                gone.append(name)
    return gone


def _known(generations: Generations, server: Server) -> set[str]:
    known: set[str] = set()
    for one in generations.manifests():
        with suppress(FileNotFoundError):  # another process has just deleted it
            known.update(server.name_of(part.name) for part in generations.parts(one.identity))
    return known
