"""Documents: onto the log, into the index, and what a change costs afterwards."""

import asyncio
import random
import resource
import tempfile
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from interlock.bundles.knowledge import KnowledgeSource, RetrievalSpec
from interlock.bundles.model import Bundle
from interlock.retriever.corpus import Corpus
from interlock.retriever.generations.folder import Generations
from interlock.retriever.live import LiveSearch
from interlock.retriever.ranking.pooled import load_pooled
from interlock.retriever.search import SearchRequest
from interlock.runtime.broker.connect import connect
from interlock.runtime.broker.permissions import PROVISIONER, ingest_user
from interlock.runtime.broker.provision import provision
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.broker.topology import Topology
from interlock.runtime.log import JetStreamLog
from interlock.sdk.documents import Documents

DOCUMENTS = 10_000
AT_ONCE = 64
BUNDLE = Bundle(name="bench", version="1", sources={"help": KnowledgeSource()})


def text_of(number: int) -> str:
    """A document of three sections, about 2,000 characters of made-up words."""
    chance = random.Random(number)
    words = [f"word{chance.randrange(8_000)}" for _ in range(240)]
    thirds = (words[start : start + 80] for start in range(0, 240, 80))
    return "\n\n".join(f"# Section {n}\n{' '.join(own)}." for n, own in enumerate(thirds))


async def ingest_table(console: Console) -> None:
    """One row per step, each with its time, this process's CPU and its peak memory so far."""
    load_pooled()
    table = Table("step", title=f"Ingest: {DOCUMENTS:,} documents", title_justify="left", box=None)
    for column in ("seconds", "CPU s", "peak MB"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            await _steps(Path(folder), stack, table)
    console.print(table)


async def _steps(folder: Path, stack: AsyncExitStack, table: Table) -> None:
    broker = EmbeddedBroker(folder / "state", Topology(tenants=("acme",)))
    await broker.start()
    stack.push_async_callback(broker.stop)
    made = await connect(broker.url, broker.credential(PROVISIONER), name="bench")
    await provision(made, broker.topology)
    await made.close()
    credential = broker.state / "credentials" / f"{ingest_user('acme')}.nk"
    documents = await stack.enter_async_context(await Documents.connect(broker.url, credential))
    client = await connect(broker.url, broker.credential("retriever"), name="bench")
    stack.push_async_callback(client.close)

    def live(where: str) -> LiveSearch:
        storage = folder / where
        generations = Generations(storage, load_pooled(), Corpus(storage))
        return LiveSearch(folder, JetStreamLog(client, "ev"), generations)

    search = live("index")
    await _timed(table, "onto the log", _put(documents, DOCUMENTS))
    await _timed(table, "again, nothing changed", _put(documents, DOCUMENTS))
    await _timed(table, "from the log to the file", search.start())
    await _timed(table, "cut, embedded, indexed, opened", search.open(BUNDLE))
    await documents.put(documents.describe("help", "d7"), "Changed.")
    await _timed(table, "one document changed: the next index", search.look())
    await _timed(table, "another start, nothing changed", live("index").open(BUNDLE))
    await documents.put(documents.describe("help", "d8"), "Changed, too.")
    slowest = await _while_looking(search)
    table.add_row("slowest query while the next index is made, ms", f"{slowest * 1e3:.0f}")


async def _put(documents: Documents, count: int) -> None:
    """Write all of them, as `interlock ingest` does."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with limit:
            await documents.put(documents.describe("help", f"d{number}"), text_of(number))

    await asyncio.gather(*map(one, range(count)))


async def _while_looking(search: LiveSearch) -> float:
    """Query without a pause until the next index answers; seconds of the slowest query."""
    looking = asyncio.create_task(search.look())
    slowest = 0.0
    while not looking.done():
        request = SearchRequest(
            query="word7 word77 word777", tenant="acme", scopes=(), sources=("help",),
            spec=RetrievalSpec(),
        )  # fmt: skip
        started = time.perf_counter()
        await (await search.of(BUNDLE)).search(request)
        await asyncio.sleep(0)
        slowest = max(slowest, time.perf_counter() - started)
    return slowest


async def _timed(table: Table, what: str, work: Awaitable[Any]) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    await work
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    table.add_row(what, f"{seconds:.2f}", f"{used:.2f}", f"{peak:,.0f}")
