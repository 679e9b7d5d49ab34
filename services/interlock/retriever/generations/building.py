"""Generations opened, made where they are not there, and deleted: embedded, or on a server."""

import asyncio
from collections.abc import Collection
from contextlib import ExitStack

from interlock.retriever.generations import served
from interlock.retriever.generations.composed import composed
from interlock.retriever.generations.content import Content, identity_of
from interlock.retriever.generations.folder import MANIFEST, PARTS_LOCK, Generations
from interlock.retriever.generations.making import Making
from interlock.retriever.generations.opening import parts_of
from interlock.retriever.generations.segments import SEGMENTS
from interlock.retriever.searcher import Searcher
from interlock.runtime.errors import UserError


async def generation(
    generations: Generations,
    content: Content,
    *,
    sources: str = "",
    anew: bool = False,
    erasures: int = 0,
) -> Searcher:
    """The generation of these documents, made if it is not there, or `anew`.

    Only what no generation before has is embedded and stored. `erasures` are those known before
    the documents were read. Processes that want the same one at the same time make it once.
    Raises `RetryLater` where a server does not answer, or documents changed as they were read.
    """
    identity = await asyncio.to_thread(identity_of, generations.embedder.name, content.lines)
    with ExitStack() as held:
        # By two of its digits: another one seldom waits, and there are no more than 256 files.
        for lock, shared in ((identity[7:9], False), (PARTS_LOCK, True)):
            locked = generations.locked(lock, shared=shared)
            await asyncio.to_thread(held.enter_context, locked)
        if anew or not await _standing(generations, identity, erasures):
            await Making(generations, content, sources, erasures, anew).make(identity)
        await asyncio.to_thread(generations.vouch, identity, erasures)
        return await _open(generations, identity)


async def generation_again(generations: Generations, identity: str) -> Searcher:
    """A generation that was made before; raises `UserError` where it cannot answer."""
    with ExitStack() as held:
        # Nobody deletes it while it is opened.
        locked = generations.locked(PARTS_LOCK, shared=True)
        await asyncio.to_thread(held.enter_context, locked)
        generations.manifest(identity)
        if generations.server is not None and not await served.standing(generations, identity):
            raise UserError(
                f"index {identity} is not on the server any more; run `interlock index reindex`"
            )
        return await _open(generations, identity)


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
) -> bool:
    """Delete old generations, but for those that are `in_use`, and what only they have.

    Also what was made before the last of so many `erasures`. Whether it was done: while another
    process makes a generation, what that may need stays.
    """
    with generations.locked(PARTS_LOCK, wait=False) as free:
        if not free:
            return False
        for manifest in generations.outdated(erasures):
            if generations.server is not None:
                if manifest.identity in in_use:
                    continue
                await served.take_out(generations, manifest)
            folder = generations.folder_of(manifest.identity)
            await asyncio.to_thread(generations.remove, folder)
        await asyncio.to_thread(_sweep, generations)
        return True


def _sweep(generations: Generations) -> None:
    """Delete segments that no generation has, and what is not whole: its making was cut off."""
    place = generations.place
    used = {
        part.name for one in generations.manifests() for part in generations.parts(one.identity)
    }
    unused = (one for one in (place / SEGMENTS).glob("[!.]*") if one.name not in used)
    unnamed = (one for one in place.glob("?" * 32) if not (one / MANIFEST).exists())
    cut_off = (one for inside in (place, place / SEGMENTS) for one in inside.glob(".b*-*"))
    for folder in [*unused, *unnamed, *cut_off]:
        generations.remove(folder)


async def _standing(generations: Generations, identity: str, erasures: int) -> bool:
    """Whether a generation can answer as it is."""
    if not await asyncio.to_thread(generations.whole, identity, erasures):
        return False
    return generations.server is None or await served.standing(generations, identity, erasures)


async def _open(generations: Generations, identity: str) -> Searcher:
    """A search over a generation that can answer."""
    vocabulary = await asyncio.to_thread(generations.vocabulary, identity)
    parts = await parts_of(generations, identity)
    return Searcher(composed(identity, parts), generations.embedder, vocabulary)
