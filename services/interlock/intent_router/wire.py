"""The intent-router's wiring."""

from interlock.intent_router.stage import Capabilities, decide
from interlock.runtime.service import Connection, Handle
from interlock.runtime.wiring import bundles_of, stage_handler


async def wire(connection: Connection) -> Handle:
    """Fit the active bundle's classifier now, so that the first request does not wait for it."""
    bundles = bundles_of(connection.settings)
    using = Capabilities()
    using.classifier(bundles.active())
    return stage_handler("intent-router", decide, using, connection, bundles)
