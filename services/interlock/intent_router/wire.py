"""The intent-router's wiring."""

import asyncio

from interlock.bundles.model import Bundle
from interlock.intent_router.choosing import try_prompt
from interlock.intent_router.stage import Capabilities, decide
from interlock.models.wire import models_of
from interlock.runtime.service import Connection, Handle
from interlock.runtime.wiring import live_bundles, stage_handler


async def wire(connection: Connection) -> Handle:
    """Fit a bundle's examples, and try its prompt, before it is taken: no request waits for it."""
    models = models_of(connection)
    using = Capabilities(models=models.complete)

    async def load_test(bundle: Bundle) -> None:
        spec = bundle.router.classifier
        if spec is not None and spec.model in bundle.models:
            try_prompt(bundle, spec)
            await models.prepare(bundle.models[spec.model].candidates)
        await asyncio.to_thread(using.classifier, bundle)

    bundles = await live_bundles(connection, "intent-router", load_test)
    return stage_handler("intent-router", decide, using, connection, bundles)
