"""The intent-router's wiring."""

import asyncio

from interlock.bundles.model import Bundle
from interlock.intent_router.stage import Capabilities, decide
from interlock.runtime.service import Connection, Handle
from interlock.runtime.wiring import live_bundles, stage_handler


async def wire(connection: Connection) -> Handle:
    """Fit a bundle's classifier before the bundle is taken: no request waits for it."""
    using = Capabilities()

    async def load_test(bundle: Bundle) -> None:
        await asyncio.to_thread(using.classifier, bundle)

    bundles = await live_bundles(connection, "intent-router", load_test)
    return stage_handler("intent-router", decide, using, connection, bundles)
