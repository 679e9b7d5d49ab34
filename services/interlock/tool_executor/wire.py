"""The tool-executor's wiring: whatever tools the settings name, behind the SDK's performer."""

from interlock.runtime.service import Connection, Handle
from interlock.sdk.serving import load_executor
from interlock.tool_executor.serving import executor_handler


async def wire(connection: Connection) -> Handle:
    """Run the tools that the settings name, or those of the bundle's folder."""
    return executor_handler("tool-executor", load_executor(connection.settings), connection)
