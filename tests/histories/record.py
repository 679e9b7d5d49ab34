"""Records the history of a release: one case file for each of the requests that tests ask.

    python -m tests.histories.record tests/histories/v0.1

Run on the code that is released, the last time just before; never again for the same version.
What is recorded is read by every later version (tests/unit/test_replay_histories.py).
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration.test_replay import running_world
from tests.support.broker import connected

from interlock.replay.case import write_case
from interlock.replay.log import Entry, Unreadable
from interlock.replay.outcome import outcome_of
from interlock.replay.scan import LogReader
from interlock.runtime.wiring import bundles_of


async def record(target: Path) -> None:
    """Run the requests on a broker of their own and write their cases into `target`."""
    with tempfile.TemporaryDirectory() as state:
        async with running_world(Path(state)) as world:
            bundle = bundles_of(world.settings).active()
            async with connected(world.system.broker, "replay") as client:
                reader = LogReader(client, "ev")
                outcomes = {}
                for name, request_id in world.requests.items():
                    messages = await reader.of_request(request_id)
                    write_case(target / f"{name}.tar.gz", messages, [bundle])
                    outcomes[name] = told([message.entry() for message in messages])
    (target / "outcomes.json").write_text(json.dumps(outcomes, indent=1) + "\n")


def told(entries: Sequence[Entry]) -> dict[str, Any]:
    """How the request ended, as a person can check it."""
    found = outcome_of(entries)
    return {
        "status": found.status,
        "codes": list(found.codes),
        "actions": [[one.tool, one.decision, one.effect] for one in found.actions],
        "unreadable": sum(isinstance(one, Unreadable) for one in entries),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    asyncio.run(record(folder))
