"""The retriever's wiring."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from interlock.bundles.model import Bundle
from interlock.retriever.parts import parts_of
from interlock.retriever.search import Search
from interlock.retriever.service import build_index
from interlock.retriever.settings import RetrieverSettings
from interlock.retriever.stage import decide
from interlock.runtime.bundles.live import WARM
from interlock.runtime.service import Connection, Handle
from interlock.runtime.settings import load_settings
from interlock.runtime.stage import Draft, Input
from interlock.runtime.wiring import bundle_folder, live_bundles, stage_handler


async def wire(connection: Connection) -> Handle:
    """Open the index of a bundle's documents before the bundle is taken, building what is new."""
    settings = connection.settings
    known = {"qdrant_url": settings.qdrant_url, "qdrant_api_key": settings.qdrant_api_key}
    parts = parts_of(load_settings(RetrieverSettings, **known))
    root, storage = bundle_folder(settings.bundle), settings.state / "index"
    searchers: OrderedDict[str, Search] = OrderedDict()

    async def open_index(bundle: Bundle) -> None:
        """Open it; it is built only where none of the same documents and sources is there."""
        build = partial(build_index, bundle, root, storage, embedder=parts.embedder)
        if parts.opened is None:
            # Built, where it is not there yet, beside the loop that answers questions.
            await asyncio.to_thread(lambda: asyncio.run(build()))
        searchers[bundle.digest] = parts.around(await build(opened=parts.opened))
        while len(searchers) > 2 * WARM:
            searchers.popitem(last=False)

    async def search(given: Input, _: None) -> Sequence[Draft]:
        if given.bundle.digest not in searchers:
            await open_index(given.bundle)
        searchers.move_to_end(given.bundle.digest)
        return await decide(given, searchers[given.bundle.digest])

    bundles = await live_bundles(connection, "retriever", open_index)
    return stage_handler("retriever", search, None, connection, bundles)
