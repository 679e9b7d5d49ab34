"""One trivial stage as a process, to be killed: `python -m tests.chaos.stages KIND`.

`slow`: says each request it takes on standard output and needs a second for it.
`poison`: dies at once, as an out-of-memory kill would, over a request that says "poison".
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from tests.support.system import OneBundle, echo

from interlock.runtime.main import serve
from interlock.runtime.service import Connection, Handle
from interlock.runtime.stage import Draft, Input
from interlock.runtime.wiring import stage_handler


async def slow(given: Input, _: None) -> Sequence[Draft]:
    """A second of work."""
    sys.stdout.write(f"{given.case.request.request_id}\n")
    sys.stdout.flush()
    await asyncio.sleep(1.0)
    return await echo(given)


async def poison(given: Input, _: None) -> Sequence[Draft]:
    """No time to say goodbye."""
    if "poison" in given.case.request.text:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(0.05)
    return await echo(given)


async def wire(connection: Connection) -> Handle:
    """As a service's `wire`."""
    stage = {"slow": slow, "poison": poison}[sys.argv[1]]
    return stage_handler("intent-router", stage, None, connection, OneBundle())


if __name__ == "__main__":
    serve("intent-router", wire)
