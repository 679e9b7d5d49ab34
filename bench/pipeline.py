"""The pipeline: the six real services on the example bundle.

Requests are those of the example's gold set that end without a person and change nothing in the
shop: answers, order look-ups, drafts, refusals.
"""

import itertools
import json
import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.harness import Driver, Figures, measure
from interlock.cli.system import System, Worker
from interlock.runtime.broker.connect import connect
from interlock.runtime.commit import Committer
from interlock.runtime.settings import Settings

EXAMPLE = Path("examples/support")
ENDS = {"answered", "refused"}


def gold_requests() -> list[dict[str, object]]:
    """The example's requests of one tenant, without ids."""
    rows = [json.loads(line) for line in (EXAMPLE / "gold.jsonl").read_text().splitlines()]
    return [
        {
            "tenant": row["tenant"],
            "principal": {
                "user": row["user"],
                "role": row["role"],
                "scopes": row.get("scopes", []),
            },
            "text": row["text"],
        }
        for row in rows
        if row["tenant"] == "acme" and row["outcome"] in ENDS
    ]


async def measure_pipeline(*, processes: bool, in_flight: int, requests: int) -> Figures:
    """One row: a fresh installation, a warm-up, then the measurement."""
    texts = itertools.cycle(gold_requests())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHOP_DATABASE"] = str(Path(folder) / "shop.sqlite")
        settings = Settings(state=Path(folder), bundle=EXAMPLE, capacity=64)
        async with System(settings, processes=processes) as system:
            credential = system.broker.credential("producer-acme")
            producer = await connect(system.broker.url, credential, "bench")
            driver = Driver(
                producer,
                lambda request_id: {"request_id": request_id, **next(texts)},
                Committer(producer),
            )
            await driver.start()
            await measure("warm-up", driver.ask, 100, 10, {})
            pids = {"nats-server": system.broker.pid}
            for name, workers in system.workers.items():
                for worker in workers:
                    if isinstance(worker, Worker):
                        pids[name] = worker.pid
            what = "6 processes" if processes else "1 process"
            figures = await measure(what, driver.ask, requests, in_flight, pids)
            await driver.close()
    return figures


async def pipeline_table(console: Console) -> None:
    """Serial and loaded, in one process and in six."""
    rows = [
        await measure_pipeline(processes=processes, in_flight=in_flight, requests=requests)
        for processes in (False, True)
        for in_flight, requests in ((1, 200), (64, 1500))
    ]
    table = Table(
        title="Pipeline: six services, example bundle, sync_interval always",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("what", "in flight", "requests/s", "p50 ms", "p99 ms", "CPU ms a request"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        cells = (
            f"{row.rate:,.0f}",
            f"{row.p50:.1f}",
            f"{row.p99:.1f}",
            f"{sum(row.cpu.values()):.2f}",
        )
        table.add_row(row.name, str(row.in_flight), *cells)
    console.print(table)
    parts = Table(
        title="CPU ms a request, by process", title_justify="left", box=None, pad_edge=False
    )
    loaded = rows[-1].cpu
    for who in loaded:
        parts.add_column(who if who != "this process" else "producer", justify="right")
    parts.add_row(*(f"{spent:.2f}" for spent in loaded.values()))
    console.print(parts)
