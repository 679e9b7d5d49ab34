"""The retriever's wiring."""

import asyncio
from collections.abc import Sequence

import structlog

from interlock.bundles.model import Bundle
from interlock.retriever.corpus import Corpus
from interlock.retriever.generations.folder import Generations
from interlock.retriever.generations.served import installation_of
from interlock.retriever.live import LiveSearch
from interlock.retriever.parts import parts_of
from interlock.retriever.settings import RetrieverSettings
from interlock.retriever.stage import decide
from interlock.runtime.service import Connection, Handle
from interlock.runtime.settings import load_settings
from interlock.runtime.stage import Draft, Input
from interlock.runtime.wiring import bundle_folder, live_bundles, stage_handler

log = structlog.get_logger(__name__)


async def wire(connection: Connection) -> Handle:
    """Open the index of a bundle's documents before the bundle is taken, and follow the log."""
    settings = connection.settings
    known = {"qdrant_url": settings.qdrant_url, "qdrant_api_key": settings.qdrant_api_key}
    retrieval = load_settings(RetrieverSettings, **known)
    parts = parts_of(retrieval)
    storage = settings.state / "index"
    live = LiveSearch(
        bundle_folder(settings.bundle),
        connection.log,
        Generations(
            storage,
            parts.embedder,
            Corpus(storage),
            parts.server,
            retrieval.indexes_kept,
            installation_of(settings.state),
        ),
        lambda searcher, bundle: parts.of(bundle).around(searcher),
    )
    await live.start()

    async def search(given: Input, _: None) -> Sequence[Draft]:
        return await decide(given, await live.of(given.bundle))

    async def opened(bundle: Bundle) -> None:
        await live.open(bundle)
        if unknown := parts.unknown_to(bundle):
            log.warning("external_sources_unknown", bundle=bundle.digest, sources=unknown)

    bundles = await live_bundles(connection, "retriever", opened)
    task = asyncio.create_task(live.keep_up(), name="index")

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await parts.aclose()

    connection.closing.append(stop)
    connection.health.append(lambda: live.behind)
    return stage_handler("retriever", search, None, connection, bundles)
