"""Running one service as a process: settings → connect → wire → serve, until a signal."""

import asyncio
import signal
import sys

import uvloop

from interlock.runtime import telemetry
from interlock.runtime.errors import UserError
from interlock.runtime.pull import ConsumerLost
from interlock.runtime.service import Service, Wire
from interlock.runtime.settings import Settings, load_settings


def serve(name: str, wire: Wire, settings: Settings | None = None) -> None:
    """Serve `name` until SIGTERM or SIGINT, then drain. Exits non-zero if it cannot go on."""
    try:
        settings = settings or load_settings(Settings)
        telemetry.configure_logs(settings.log_level)
        telemetry.configure_traces(settings, name)
        uvloop.run(_until_signalled(Service(name, settings, wire)))
    except (UserError, ConsumerLost) as error:
        sys.exit(f"interlock: {name}: {error}")


async def _until_signalled(service: Service) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await service.run(stop)
