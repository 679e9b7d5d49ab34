"""The generator's wiring."""

from interlock.bundles.model import Bundle
from interlock.generator.prompt import try_prompts
from interlock.generator.stage import Capabilities, decide
from interlock.models.wire import models_of
from interlock.runtime.service import Connection, Handle
from interlock.runtime.wiring import live_bundles, stage_handler


async def wire(connection: Connection) -> Handle:
    """Models by route, and the log for joins."""
    models = models_of(connection)
    using = Capabilities(models=models.complete, log=connection.log)

    async def load_test(bundle: Bundle) -> None:
        try_prompts(bundle)

    bundles = await live_bundles(connection, "generator", load_test)
    return stage_handler("generator", decide, using, connection, bundles)
