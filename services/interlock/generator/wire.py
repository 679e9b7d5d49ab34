"""The generator's wiring."""

import asyncio

from interlock.bundles.model import Bundle
from interlock.generator.forgetting import Forgetting
from interlock.generator.prompt import try_prompts
from interlock.generator.stage import Capabilities, decide
from interlock.models.recording import FileRecordings
from interlock.models.routes import ModelRoutes, known_models
from interlock.runtime.service import Connection, Handle
from interlock.runtime.wiring import live_bundles, stage_handler


async def wire(connection: Connection) -> Handle:
    """Models by route, closed at the end, the log for joins, and orders to forget recordings."""
    recordings = FileRecordings(connection.settings.state / "recordings")
    models = ModelRoutes(known_models(recordings))
    connection.closing.append(models.aclose)
    forgetting = Forgetting(recordings, connection.log)
    task = asyncio.create_task(forgetting.keep_up(), name="forgetting")

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    connection.closing.append(stop)
    using = Capabilities(models=models.complete, log=connection.log)

    async def load_test(bundle: Bundle) -> None:
        try_prompts(bundle)

    bundles = await live_bundles(connection, "generator", load_test)
    return stage_handler("generator", decide, using, connection, bundles)
