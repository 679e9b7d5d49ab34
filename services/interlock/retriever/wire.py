"""The retriever's wiring."""

from interlock.retriever.service import build_index
from interlock.retriever.stage import decide
from interlock.runtime.service import Connection, Handle
from interlock.runtime.wiring import bundle_folder, bundles_of, stage_handler


async def wire(connection: Connection) -> Handle:
    """Open the index of the bundle's documents, building it if it is not there."""
    settings = connection.settings
    bundles = bundles_of(settings)
    server = None
    if settings.qdrant_url is not None:
        from qdrant_client import AsyncQdrantClient

        key = settings.qdrant_api_key
        server = AsyncQdrantClient(
            url=settings.qdrant_url, api_key=key.get_secret_value() if key else None
        )
    searcher = await build_index(
        bundles.active(), bundle_folder(settings.bundle), settings.state / "index", server=server
    )
    return stage_handler("retriever", decide, searcher, connection, bundles)
