"""The models of a service: its recordings, and what has to run and to be closed with them."""

import asyncio

from interlock.models.forgetting import Forgetting
from interlock.models.recording import FileRecordings
from interlock.models.routes import ModelRoutes, known_models
from interlock.runtime.service import Connection


def models_of(connection: Connection) -> ModelRoutes:
    """Models that keep recordings below the state folder, and forget them as the log orders."""
    recordings = FileRecordings(connection.settings.state / "recordings")
    models = ModelRoutes(known_models(recordings))
    forgetting = Forgetting(recordings, connection.log)
    task = asyncio.create_task(forgetting.keep_up(), name="forgetting")

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await models.aclose()

    connection.closing.append(stop)
    return models
