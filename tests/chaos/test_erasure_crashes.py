"""kill -9 of the command, the retriever and the broker while a document is erased."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.chaos.test_ingest_crashes import EXAMPLE, kill, until
from tests.support.broker import connected

from interlock.audit_sink.places import open_reader
from interlock.cli.operator import activate_folder
from interlock.cli.system import Worker
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.errors import RetryLater
from interlock.runtime.keys import make_keys
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings
from interlock.sdk import Documents
from interlock_contracts.documents import MAX_PART_CHARS

SECRET = "swordfish-4711"
VERSIONS = 12
DOCUMENT = "acme/public_help/runbook"


def holding(state: Path) -> list[Path]:
    """The files that hold the secret in the clear; one that goes meanwhile does not."""
    found = []
    for path in state.rglob("*"):
        try:
            if path.is_file() and SECRET.encode() in path.read_bytes():
                found.append(path)
        except OSError:
            continue
    return found


async def command(settings: Settings, *arguments: str) -> asyncio.subprocess.Process:
    """`interlock audit …` as a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "interlock.cli", "audit", *arguments,
        "--state", str(settings.state),
        env={**os.environ, "INTERLOCK_NATS_URL": settings.url},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def versions_left(log: JetStreamLog) -> list[str]:
    """The steps of what is on the log of documents."""
    return [one.subject.split(".")[-1] async for one in log.matching("ev.document.acme.*.*")]


@pytest.mark.timeout(240)
async def test_an_erasure_survives_kill_9_of_everything(fresh_broker: EmbeddedBroker) -> None:
    settings = Settings(state=fresh_broker.state, nats_url=fresh_broker.url, bundle=EXAMPLE)
    make_keys(settings.state)
    await activate_folder(settings, given=True)
    credential = fresh_broker.state / "credentials/ingest-acme.nk"
    async with AsyncExitStack() as stack:
        workers = [
            Worker(name, settings, asyncio.Event(), {}) for name in ("retriever", "audit-sink")
        ]
        for worker in workers:
            await worker.start()
            stack.push_async_callback(worker.stop)
        documents = await stack.enter_async_context(
            await Documents.connect(fresh_broker.url, credential)
        )
        client = await stack.enter_async_context(connected(fresh_broker, "operator"))
        log = JetStreamLog(client, "ev")
        about = documents.describe("public_help", "runbook")
        for version in range(VERSIONS):
            words = f"The password of the zeppelin, in version {version}, is {SECRET}. "
            await documents.put(about, words + "And so on. " * (MAX_PART_CHARS // 8))
        await until(lambda: any("index" in one.parts for one in holding(settings.state)))

        async def tombstone() -> bool:
            return f"{VERSIONS + 1}-0" in await versions_left(log)

        async def some_gone() -> bool:
            return len(await versions_left(log)) < VERSIONS

        async def ordered() -> bool:
            return bool([one async for one in log.matching("ev.custody.acme.*.*")])

        for moment in (tombstone, ordered, some_gone):
            await fresh_broker.ready()
            erasing = await command(settings, "erase", "--document", DOCUMENT, "--reason", "leak")
            await _once(moment, erasing)
            if erasing.returncode is None:
                erasing.kill()
            await kill(workers[0])
            await fresh_broker.kill()
            await erasing.communicate()
        await fresh_broker.ready()

        erasing = await command(settings, "erase", "--document", DOCUMENT)
        said, _ = await erasing.communicate()
        assert erasing.returncode == 0, said.decode()
        await until(lambda: not holding(settings.state))
        assert await versions_left(log) == [f"{VERSIONS + 1}-0"]
        verified = await command(settings, "verify")
        said, _ = await verified.communicate()
        assert verified.returncode == 0, said.decode()
        with open_reader(settings) as reader:
            assert reader.keys is not None and len(reader.keys.destroyed()) == 1


async def _once(so: Callable[[], Awaitable[bool]], process: asyncio.subprocess.Process) -> None:
    """Wait until it is so, or the process has come to its end."""
    while process.returncode is None:
        try:
            if await so():
                return
        except RetryLater:
            continue
        await asyncio.sleep(0)
