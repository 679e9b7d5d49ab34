"""The parts of a generation that is there."""

import asyncio
from collections.abc import Sequence

from interlock.retriever.engines.embedded import EmbeddedIndex
from interlock.retriever.generations import served
from interlock.retriever.generations.composed import Part, Versioned
from interlock.retriever.generations.folder import Generations


async def parts_of(generations: Generations, identity: str) -> Sequence[Part]:
    """Its segments in files, or the one index on the server."""
    if generations.server is None:
        return await asyncio.to_thread(_segments, generations, identity)
    (one,) = await asyncio.to_thread(generations.parts, identity, lines=True)
    audiences = generations.manifest(identity).audiences
    return [Versioned(await served.index_at(generations, one.name, audiences), one.lines)]


def _segments(generations: Generations, identity: str) -> Sequence[Part]:
    return [
        Part(EmbeddedIndex.open(generations.segment(one.name), identity), one.gone)
        for one in generations.parts(identity)
    ]
