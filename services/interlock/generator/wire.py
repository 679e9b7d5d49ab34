"""The generator's wiring."""

from interlock.generator.models.recording import FileRecordings
from interlock.generator.models.routes import ModelRoutes, known_models
from interlock.generator.stage import Capabilities, decide
from interlock.runtime.service import Connection, Handle
from interlock.runtime.wiring import bundles_of, stage_handler


async def wire(connection: Connection) -> Handle:
    """Models by route, closed at the end, and the log for joins."""
    models = ModelRoutes(known_models(FileRecordings(connection.settings.state / "recordings")))
    connection.closing.append(models.aclose)
    using = Capabilities(models=models.complete, log=connection.log)
    return stage_handler("generator", decide, using, connection, bundles_of(connection.settings))
