"""How fast a stretch of the log is verified, and what a request costs.

The log is made by the pipeline's own requests. Starting a replay (imports, fitting the classifier)
takes the same time however long the stretch is, so it is measured twice, over all of the log and
over a part of it: what is between the two is what the requests cost.
"""

import itertools
import os
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.harness import Driver, measure
from bench.pipeline import EXAMPLE, gold_requests
from interlock.cli.replays import replayed, replays, selection
from interlock.cli.system import System
from interlock.runtime.broker.connect import connect
from interlock.runtime.commit import Committer
from interlock.runtime.settings import Settings

REQUESTS = 3000
PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Verified:
    """One replay. Seconds by the clock, CPU seconds of the parent and of its processes."""

    requests: int
    events: int
    diverged: int
    seconds: float
    parent: float
    workers: float


async def measure_replay(requests: int, processes: int) -> tuple[Verified, Verified]:
    """A fresh installation, so many requests, and the replay of a tenth and of all of them."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHOP_DATABASE"] = str(Path(folder) / "shop.sqlite")
        settings = Settings(state=Path(folder), bundle=EXAMPLE, capacity=64)
        async with System(settings) as system:
            texts = itertools.cycle(gold_requests())
            producer = await connect(
                system.broker.url, system.broker.credential("producer-acme"), "bench"
            )
            driver = Driver(
                producer,
                lambda request_id: {"request_id": request_id, **next(texts)},
                Committer(producer),
            )
            await driver.start()
            await measure("a tenth", driver.ask, requests // 10, 64, {})
            until = await _length(system)
            await measure("the rest", driver.ask, requests - requests // 10, 64, {})
            await driver.close()
            some = await _verify(settings, processes, until)
            return some, await _verify(settings, processes, None)


async def _length(system: System) -> int:
    """How many messages are logged."""
    client = await connect(system.broker.url, system.broker.credential("operator"), "bench")
    info = await client.jetstream().stream_info("EV")
    await client.close()
    return int(info.state.messages)


async def _verify(settings: Settings, processes: int, until: int | None) -> Verified:
    wanted = selection((), "1", None if until is None else str(until), ())
    count, events, diverged = 0, 0, 0
    before, started = _cpu(), time.perf_counter()
    async with replays(settings, wanted) as given:
        async for found in replayed(given, {"task": "verify"}, processes):
            count += 1
            events += found["events"]
            diverged += not found["identical"]
    after, seconds = _cpu(), time.perf_counter() - started
    parent, workers = (now - then for now, then in zip(after, before, strict=True))
    return Verified(count, events, diverged, seconds, parent, workers)


def _cpu() -> tuple[float, float]:
    """CPU seconds so far: of this process, and of its children that have ended."""
    own, ended = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime, ended.ru_utime + ended.ru_stime


async def replay_table(console: Console) -> None:
    """Verification of a few thousand requests."""
    some, everything = await measure_replay(REQUESTS, PROCESSES)
    requests = everything.requests - some.requests
    seconds = everything.seconds - some.seconds
    parent, workers = everything.parent - some.parent, everything.workers - some.workers
    table = Table(
        title=f"Replay: verified in {PROCESSES} processes",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("requests", "events each", "diverged", "requests/s", "CPU ms a request",
                   "of it parent", "requests/s of 2 cores' CPU"):  # fmt: skip
        table.add_column(column, justify="right")
    table.add_row(
        f"{requests:,}",
        f"{everything.events / everything.requests:.1f}",
        str(everything.diverged),
        f"{requests / seconds:,.0f}",
        f"{(parent + workers) * 1e3 / requests:.2f}",
        f"{parent * 1e3 / requests:.2f}",
        f"{2 * requests / (parent + workers):,.0f}",
    )
    console.print(table)
