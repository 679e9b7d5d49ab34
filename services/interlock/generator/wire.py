"""The generator's wiring."""

from interlock.generator.models.routes import ModelRoutes
from interlock.generator.stage import Capabilities, decide
from interlock.runtime.service import Connection, Handle
from interlock.runtime.wiring import bundles_of, stage_handler


async def wire(connection: Connection) -> Handle:
    """Models by route, and the log for joins."""
    using = Capabilities(models=ModelRoutes().complete, log=connection.log)
    return stage_handler("generator", decide, using, connection, bundles_of(connection.settings))
