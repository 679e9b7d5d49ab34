"""kill -9 of retriever and broker while documents come in: what was acknowledged is found."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import pytest
from tests.support.broker import connected

from interlock.bundles.compile import compile_bundle
from interlock.bundles.knowledge import RetrievalSpec
from interlock.cli.operator import activate_folder
from interlock.cli.system import Worker
from interlock.retriever.generations.folder import Generations
from interlock.retriever.live import LiveSearch
from interlock.retriever.ranking.pooled import load_pooled
from interlock.retriever.search import SearchRequest
from interlock.retriever.searcher import Searcher
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.errors import RetryLater, UserError
from interlock.runtime.keys import make_keys
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings
from interlock.sdk import Documents

EXAMPLE = Path(__file__).parents[2] / "examples/support"
SECTIONS = 4
DOCUMENTS = 20
WRITERS = 2
SENTENCE = "The zeppelin of this section has flown over the harbour once more, and it was seen. "


def text(number: int, version: int) -> str:
    """A document of several passages, all of which name its version."""
    return "\n".join(
        f"# Section {section}\nzeppelin {number} version {version}. {SENTENCE * 4}"
        for section in range(SECTIONS)
    )


async def put(documents: Documents, number: int, version: int) -> None:
    """Put it until it is acknowledged, as a writer would."""
    about = documents.describe("public_help", f"zeppelin-{number}")
    async with asyncio.timeout(60):
        while True:
            try:
                await documents.put(about, text(number, version))
            except (RetryLater, nats.errors.Error):
                await asyncio.sleep(0.05)  # the broker is coming back
            else:
                return


@asynccontextmanager
async def retriever(broker: EmbeddedBroker) -> AsyncIterator[Worker]:
    """A retriever as a process of its own, started again when it dies."""
    settings = Settings(state=broker.state, nats_url=broker.url, bundle=EXAMPLE)
    make_keys(settings.state)
    await activate_folder(settings, given=True)
    worker = Worker("retriever", settings, asyncio.Event(), {})
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def until(so: Callable[[], bool]) -> None:
    """Wait until it is so; nothing else tells of it."""
    async with asyncio.timeout(90):
        while True:
            if so():
                return
            await asyncio.sleep(0.02)  # neither the acknowledgements nor the files call back


async def kill(worker: Worker) -> None:
    """kill -9, unless it is down already."""
    try:
        os.kill(worker.pid, signal.SIGKILL)
    except (UserError, ProcessLookupError):
        return


@pytest.mark.timeout(240)
async def test_what_is_acknowledged_is_found_and_nothing_is_half_visible(
    fresh_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    acknowledged: dict[int, int] = {}
    generations = Generations(fresh_broker.state / "index", load_pooled())
    enough = asyncio.Event()

    async def write(documents: Documents, first: int) -> None:
        """New versions of a share of the documents, until there were enough crashes."""
        version = 0
        while not enough.is_set():
            version += 1
            for number in range(first, DOCUMENTS, WRITERS):
                await put(documents, number, version)
                acknowledged[number] = version

    async def crash(worker: Worker) -> None:
        """Every victim dies after the retriever has indexed something since the one before."""
        for victim in ("retriever", "broker", "retriever", "both"):
            await switched(generations)
            if victim != "broker":
                await kill(worker)
            if victim != "retriever":
                os.kill(fresh_broker.pid, signal.SIGKILL)
        enough.set()

    credential = fresh_broker.state / "credentials/ingest-acme.nk"
    async with (
        retriever(fresh_broker) as worker,
        await Documents.connect(fresh_broker.url, credential) as documents,
    ):
        async with asyncio.TaskGroup() as tasks:
            for first in range(WRITERS):
                tasks.create_task(write(documents, first))
            await crash(worker)
        assert len(acknowledged) == DOCUMENTS
        async with connected(fresh_broker, "retriever") as client:
            told = await from_the_log(JetStreamLog(client, "ev"), tmp_path)
        await found(told, acknowledged)
        # The retriever that was killed catches up by itself.
        await until(lambda: generations.current().served[-1:] == (told.identity,))


async def switched(generations: Generations) -> None:
    """Wait until another index answers than just now."""
    before = generations.current().served
    await until(lambda: generations.current().served != before)


async def from_the_log(events: JetStreamLog, folder: Path) -> Searcher:
    """A search over an index made of the log alone: the killed ones' has to be the same."""
    bundle = compile_bundle(EXAMPLE)
    live = LiveSearch(EXAMPLE, events, Generations(folder, load_pooled()))
    await live.start()
    searcher = await live.of(bundle)
    assert isinstance(searcher, Searcher)
    return searcher


async def found(searcher: Searcher, acknowledged: Mapping[int, int]) -> None:
    """Every document, whole, in its newest version."""
    for number, version in acknowledged.items():
        result = await searcher.search(
            SearchRequest(
                query=f"zeppelin {number}", tenant="acme", scopes=(), sources=("public_help",),
                spec=RetrievalSpec(limit=50, candidates=500, per_document=SECTIONS),
            )
        )  # fmt: skip
        own = [one.text for one in result.chunks if one.document_id.endswith(f"-{number}")]
        assert own, number
        assert all(f"zeppelin {number} version {version}." in one for one in own)
