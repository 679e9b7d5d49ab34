"""Generations whose indexes are on a server: made, opened again, deleted.

One server belongs to one installation: what is outdated in its folder is deleted on the server.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack

from interlock.retriever.documents import Passage
from interlock.retriever.engine import Audiences, Server, ServerIndex
from interlock.retriever.entries import entries
from interlock.retriever.generations import VOCABULARY, Generations, Manifest
from interlock.retriever.index import index_identity
from interlock.retriever.keywords import query_weights, terms
from interlock.retriever.remembering import Remembering
from interlock.retriever.searcher import Searcher
from interlock.retriever.sparse import with_sparse
from interlock.retriever.vocabulary import Vocabulary
from interlock.runtime.errors import UserError


async def generation(
    generations: Generations,
    passages: Sequence[Passage],
    *,
    sources: str = "",
    anew: bool = False,
    erasures: int = 0,
) -> Searcher:
    """The generation of these passages, embedded or on a server; built if it is not there.

    `erasures` are those known before the passages were read.
    """
    if generations.server is None:
        make = generations.make
        return await asyncio.to_thread(
            make, passages, sources=sources, anew=anew, erasures=erasures
        )
    started, embedder = time.monotonic(), generations.embedder
    identity = await asyncio.to_thread(index_identity, embedder.name, passages)
    digits = generations.folder_of(identity).name
    with ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, generations.locked(digits, shared=True))
        index = await _index(generations, identity, {one.scopes for one in passages})
        # Filling is idempotent: replicas that start together may do it at the same time.
        if anew or await index.size() < len(passages):
            corpus = None if anew else generations.corpus
            by = embedder if corpus is None else Remembering(embedder, corpus)
            made = await asyncio.to_thread(entries, passages, by)
            await index.upsert(await asyncio.to_thread(with_sparse, made, embedder, corpus))
        if anew or not generations.folder_of(identity).exists():
            told = generations.told_of(identity, passages, sources, erasures, started)
            await asyncio.to_thread(_note, generations, told, passages)
        await asyncio.to_thread(generations.vouch, identity, erasures)
    return Searcher(index, embedder, await asyncio.to_thread(_vocabulary, generations, identity))


async def generation_again(generations: Generations, identity: str) -> Searcher:
    """A generation that was made before; raises `UserError` where it cannot answer."""
    server = generations.server
    if server is None:
        return await asyncio.to_thread(generations.open, identity)
    manifest = generations.manifest(identity)
    if server.name_of(identity) in await server.indexes():
        index = await _index(generations, identity, manifest.audiences)
        if await index.size() >= manifest.passages:
            vocabulary = await asyncio.to_thread(_vocabulary, generations, identity)
            return Searcher(index, generations.embedder, vocabulary)
    raise UserError(
        f"index {identity} is not on the server any more; run `interlock index reindex`"
    )


async def pinned_generation(
    generations: Generations, sources: str, erasures: int = 0
) -> Searcher | None:
    """The generation that is pinned, if one is that was made for these sources.

    One made before the last of so many `erasures` does not answer any more.
    """
    identity = generations.current().pinned
    if identity is None or generations.made_for(identity) != sources:
        return None
    if generations.manifest(identity).erasures < erasures:
        return None
    return await generation_again(generations, identity)


async def delete_outdated(
    generations: Generations, in_use: Collection[str], erasures: int = 0
) -> None:
    """Delete old generations here and on the server, but for those that are `in_use`.

    Also what was made before the last of so many `erasures`.
    """
    for manifest in generations.outdated(erasures):
        if generations.server is not None:
            if manifest.identity in in_use:
                continue
            await generations.server.drop(generations.server.name_of(manifest.identity))
        await asyncio.to_thread(generations.remove, manifest.identity)


async def unknown_indexes(generations: Generations, server: Server) -> list[str]:
    """The indexes of ours on the server that no generation here has: of an earlier release, of
    another folder, or being filled by another process."""
    return sorted(await server.indexes() - _known(generations, server))


async def delete_unknown(
    generations: Generations, server: Server, names: Sequence[str]
) -> list[str]:
    """Delete these on the server, but for those that a process here fills; says which are gone."""
    gone = []
    for name in names:
        with generations.locked(name[-32:].lower(), wait=False) as free:
            if free and name not in _known(generations, server):
                await server.drop(name)
                gone.append(name)
    return gone


def _known(generations: Generations, server: Server) -> set[str]:
    return {server.name_of(one.identity) for one in generations.manifests()}


async def _index(generations: Generations, identity: str, audiences: Audiences) -> ServerIndex:
    assert generations.server is not None, "asked for those on a server alone"
    return await generations.server.index(identity, generations.embedder.dimensions, audiences)


def _vocabulary(generations: Generations, identity: str) -> Vocabulary:
    return Vocabulary.load(generations.folder_of(identity) / VOCABULARY)


def _note(generations: Generations, told: Manifest, passages: Sequence[Passage]) -> None:
    """Its manifest, and its frequencies: no start counts the words again."""
    words = ((one, query_weights(terms(one.searchable))) for one in passages)
    folder = generations.folder_of(told.identity)
    building = folder.with_name(f".building-{os.getpid()}-{folder.name}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    generations.whole(building, Vocabulary.of(words), told)
