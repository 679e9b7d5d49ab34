"""The runtime alone: six trivial hops, beside six bare nats-py hops on the same broker.

A hop validates its event, changes a field, commits it write-once, acknowledges; payloads are
about 1 KB. Real credentials and consumers are used: router → retriever → generator → validator
→ generator → validator. The floor does the same with nothing but nats-py: fetch, `json`, publish
with the same expectation, wait for the acknowledgement, acknowledge.
"""

import asyncio
import json
import multiprocessing
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats.errors
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.harness import Driver, Figures, measure
from interlock.bundles.model import NO_BUNDLE, Bundle
from interlock.runtime import telemetry
from interlock.runtime.broker.connect import connect
from interlock.runtime.broker.permissions import PROVISIONER
from interlock.runtime.broker.provision import ConsumerSettings, provision
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.broker.topology import Topology, stream_name
from interlock.runtime.commit import EXPECT_NEW, Committer
from interlock.runtime.service import Connection, Handle, Service
from interlock.runtime.settings import Settings
from interlock.runtime.stage import Draft, Input
from interlock.runtime.wiring import stage_handler
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.request import Request

NEXT = {
    ("request", "0"): ("route", "0"),
    ("route", "0"): ("context", "0"),
    ("context", "0"): ("proposal", "1"),
    ("proposal", "1"): ("repair", "1"),
    ("repair", "1"): ("proposal", "2"),
    ("proposal", "2"): ("answer", "0"),
}
"""Event and step of each hop's input → of its output."""

WORKERS = ("intent-router", "retriever", "generator", "contract-validator")
APART = (*WORKERS, "generator", "contract-validator")
"""Six processes: those with two hops twice."""

TOPOLOGY = Topology(tenants=("acme",))
CAPACITY = 1024
"""Messages that a hop works on at once: more than ever wait for it on average."""

Ready = Callable[[], None]
Run = Callable[[str, Settings, asyncio.Event, Ready], Coroutine[Any, Any, None]]


class _NoBundles:
    def active(self, request: Request | None = None) -> Bundle:  # noqa: ARG002
        return NO_BUNDLE

    async def get(self, digest: str) -> Bundle:
        assert digest
        return NO_BUNDLE


async def _hop(given: Input, _: None) -> Sequence[Draft]:
    event, step = NEXT[given.event.subject.event, given.event.subject.step]
    case = given.case
    if event != "answer":
        return (Draft(event, step, case.model_copy(update={"step": int(step)})),)
    answer = Answer(request_id=case.request.request_id, status=AnswerStatus.ANSWERED, text="done")
    return (Draft("answer", "0", answer),)


async def ours(name: str, settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """One worker of the runtime."""

    async def wire(connection: Connection) -> Handle:
        return stage_handler(name, _hop, None, connection, _NoBundles())

    service = Service(name, settings, wire)
    running = asyncio.create_task(service.run(stop))
    await service.wait_ready()
    ready()
    await running


async def bare(name: str, settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """One worker of the floor."""
    client = await connect(settings.url, settings.credential_of(name), name)
    inbox = client.new_inbox()
    arrived = await client.subscribe(inbox)
    ask = f"$JS.API.CONSUMER.MSG.NEXT.{stream_name('ev')}.{name}"
    order = json.dumps({"batch": CAPACITY, "expires": 1_000_000_000}).encode()
    ready()
    while not stop.is_set():
        await client.publish(ask, order, reply=inbox)
        taken = await _batch(arrived)
        await asyncio.gather(*(_bare_hop(client, message) for message in taken))
    await client.close()


async def _batch(arrived: Any) -> list[Msg]:
    """What is there, at least one; the status that ends a request counts as nothing."""
    try:
        taken = [await arrived.next_msg(timeout=2.0)]
    except nats.errors.TimeoutError:
        return []
    while arrived.pending_msgs:
        taken.append(await arrived.next_msg())
    return [message for message in taken if message.reply]


async def _bare_hop(client: Any, message: Msg) -> None:
    tokens = message.subject.split(".")
    data = json.loads(message.data)
    data["hop"] = tokens[1]
    tokens[1], tokens[4] = NEXT[tokens[1], tokens[4]]
    body = json.dumps(data).encode()
    # The library's own request, without our look-out for refusals: the floor is bare.
    await Client.request(client, ".".join(tokens), body, timeout=30, headers=EXPECT_NEW)
    await client.publish(message.reply, b"+ACK")


def body(request_id: str) -> dict[str, object]:
    """A request whose case is about 1 KB."""
    return {
        "request_id": request_id,
        "tenant": "acme",
        "principal": {"user": "ana", "role": "customer"},
        "text": "x" * 600,
    }


def _process(run: Run, name: str, settings: Settings, stop: Any, ready: Any) -> None:
    async def main() -> None:
        telemetry.configure_logs("error")
        stopped = asyncio.Event()
        running = asyncio.create_task(run(name, settings, stopped, ready.release))
        await asyncio.to_thread(stop.wait)
        stopped.set()
        await running

    uvloop.run(main())


@asynccontextmanager
async def _workers(run: Run, settings: Settings, apart: bool) -> AsyncIterator[dict[str, int]]:
    """The hops, in this process or in six; yields the pids to account for."""
    if not apart:
        stop, ready = asyncio.Event(), asyncio.Semaphore(0)
        tasks = [asyncio.create_task(run(name, settings, stop, ready.release)) for name in WORKERS]
        for _ in tasks:
            await ready.acquire()
        yield {}
        stop.set()
        await asyncio.gather(*tasks)
        return
    context = multiprocessing.get_context("spawn")
    stopping, up = context.Event(), context.Semaphore(0)
    processes = [
        context.Process(target=_process, args=(run, name, settings, stopping, up)) for name in APART
    ]
    for process in processes:
        process.start()
    for _ in processes:
        await asyncio.to_thread(up.acquire)
    yield {f"worker {n}": process.pid or 0 for n, process in enumerate(processes)}
    stopping.set()
    for process in processes:
        await asyncio.to_thread(process.join, 20)


async def measure_one(run: Run, *, apart: bool, in_flight: int, requests: int) -> Figures:
    """One row: a fresh broker, a warm-up, then the measurement."""
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker(Path(folder), TOPOLOGY)
        await broker.start()
        try:
            client = await connect(broker.url, broker.credential(PROVISIONER), PROVISIONER)
            await provision(client, TOPOLOGY, consumer=ConsumerSettings(max_ack_pending=4096))
            await client.close()
            settings = Settings(state=Path(folder), nats_url=broker.url, capacity=CAPACITY)
            async with _workers(run, settings, apart) as pids:
                producer = await connect(broker.url, broker.credential("producer-acme"), "bench")
                committer = Committer(producer) if run is ours else None
                driver = Driver(producer, body, committer)
                await driver.start()
                await measure("warm-up", driver.ask, 50, 10, {})
                name = f"{run.__name__}, {'6 processes' if apart else '1 process'}"
                pids["nats-server"] = broker.pid
                figures = await measure(name, driver.ask, requests, in_flight, pids)
                await driver.close()
            return figures
        finally:
            await broker.stop()
