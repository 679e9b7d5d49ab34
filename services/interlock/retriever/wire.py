"""The retriever's wiring."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from interlock.bundles.model import Bundle
from interlock.retriever.searcher import Searcher
from interlock.retriever.service import build_index
from interlock.retriever.stage import decide
from interlock.runtime.bundles.live import WARM
from interlock.runtime.service import Connection, Handle
from interlock.runtime.stage import Draft, Input
from interlock.runtime.wiring import bundle_folder, live_bundles, stage_handler


async def wire(connection: Connection) -> Handle:
    """Open the index of a bundle's documents before the bundle is taken, building what is new."""
    settings = connection.settings
    server = None
    if settings.qdrant_url is not None:
        from qdrant_client import AsyncQdrantClient

        key = settings.qdrant_api_key
        server = AsyncQdrantClient(
            url=settings.qdrant_url, api_key=key.get_secret_value() if key else None
        )
    root, storage = bundle_folder(settings.bundle), settings.state / "index"
    searchers: OrderedDict[str, Searcher] = OrderedDict()

    async def open_index(bundle: Bundle) -> None:
        """Open it; it is built only where none of the same documents and sources is there."""
        if server is None:
            # Built, where it is not there yet, beside the loop that answers questions.
            await asyncio.to_thread(lambda: asyncio.run(build_index(bundle, root, storage)))
        made = await build_index(bundle, root, storage, server=server)
        searchers[bundle.digest] = made
        while len(searchers) > 2 * WARM:
            searchers.popitem(last=False)

    async def search(given: Input, _: None) -> Sequence[Draft]:
        if given.bundle.digest not in searchers:
            await open_index(given.bundle)
        searchers.move_to_end(given.bundle.digest)
        return await decide(given, searchers[given.bundle.digest])

    bundles = await live_bundles(connection, "retriever", open_index)
    return stage_handler("retriever", search, None, connection, bundles)
