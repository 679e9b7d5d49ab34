"""A whole installation for tests, single stages on a real broker, and looking at the log."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from tests.support.broker import TOPOLOGY, call, connected

from interlock.bundles.model import NO_BUNDLE, Bundle
from interlock.cli.system import System
from interlock.runtime.broker.permissions import PROVISIONER
from interlock.runtime.broker.provision import ConsumerSettings, provision
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.log import JetStreamLog, StoredMessage
from interlock.runtime.pull import Delivery, PullConsumer
from interlock.runtime.service import Connection, Handle, Service
from interlock.runtime.settings import Settings
from interlock.runtime.stage import Draft, Input
from interlock.runtime.wiring import stage_handler
from interlock.sdk.producer import Producer
from interlock_contracts.ids import new_request_id
from interlock_contracts.request import Principal, Request

Decide = Callable[[Input], Awaitable[Sequence[Draft]]]

QUESTION = "How many days do I have to return something?"
"""A question that the example's help pages answer."""


@asynccontextmanager
async def running_system(
    state: Path, *, processes: bool = False, latency_ms: int = 0, **settings: Any
) -> AsyncIterator[System]:
    """The example, all six services of it, with a shop of its own below `state`."""
    shop = {"SHOP_DATABASE": str(state / "shop.sqlite"), "SHOP_LATENCY_MS": str(latency_ms)}
    before = {name: os.environ.get(name) for name in shop}
    os.environ.update(shop)
    try:
        async with System(Settings(state=state, **settings), processes=processes) as system:
            yield system
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def sdk(broker: EmbeddedBroker, tenant: str = "acme") -> Producer:
    """The SDK's client for one tenant."""
    return await Producer.connect(
        broker.url, broker.state / "credentials" / f"producer-{tenant}.nk"
    )


def a_request(text: str = "hello", **changes: Any) -> Request:
    """A valid request of acme."""
    given: dict[str, Any] = {
        "request_id": new_request_id(),
        "tenant": "acme",
        "principal": Principal(user="maria", role="customer"),
        "text": text,
    }
    return Request(**(given | changes))


async def submit(broker: EmbeddedBroker, *requests: Request) -> None:
    """Put requests on the log, as a producer without the SDK would."""
    async with connected(broker, "producer-acme") as client:
        for request in requests:
            subject = f"ev.request.acme.{request.request_id}.0"
            answer = await client.request(subject, request.model_dump_json().encode())
            assert b'"error"' not in answer.data, answer.data


async def logged(broker: EmbeddedBroker, pattern: str) -> list[StoredMessage]:
    """Every message on the log whose subject matches, in order."""
    async with connected(broker, "operator") as client:
        return [message async for message in JetStreamLog(client, "ev").matching(pattern)]


async def wait_logged(
    broker: EmbeddedBroker, pattern: str, count: int = 1, within: float = 20.0
) -> list[StoredMessage]:
    """Wait until so many messages match."""
    async with asyncio.timeout(within), connected(broker, "operator") as client:
        log = JetStreamLog(client, "ev")
        while True:
            found = [message async for message in log.matching(pattern)]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)  # the log offers no event to wait for


async def subjects_on_log(broker: EmbeddedBroker, pattern: str) -> dict[str, int]:
    """Every subject that matches, with the number of its messages."""
    async with connected(broker, "operator") as client:
        info = await call(client, "$JS.API.STREAM.INFO.EV", {"subjects_filter": pattern})
    return info["state"].get("subjects") or {}


async def consumer_state(broker: EmbeddedBroker, durable: str) -> dict[str, Any]:
    """The broker's word on a durable."""
    async with connected(broker, "operator") as client:
        return await call(client, f"$JS.API.CONSUMER.INFO.EV.{durable}")


async def set_ack_wait(broker: EmbeddedBroker, seconds: float) -> None:
    """Provision again, with another patience."""
    async with connected(broker, PROVISIONER) as client:
        await provision(client, TOPOLOGY, consumer=ConsumerSettings(ack_wait=seconds))


class OneBundle:
    """The bundle of trivial stages: none, really."""

    def active(self, request: Request | None = None) -> Bundle:
        return NO_BUNDLE

    async def get(self, digest: str) -> Bundle:
        return NO_BUNDLE


async def echo(given: Input) -> Sequence[Draft]:
    """The least stage: what came in as `request` or `route` goes on as the next event."""
    following = {"request": "route", "route": "context"}[given.event.subject.event]
    return [Draft(following, "0", given.case)]


class Running:
    """A service under test: its task, what was delivered to it, and where its health is."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.deliveries: list[Delivery] = []
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def pull(self) -> PullConsumer:
        assert self.service.pull is not None
        return self.service.pull

    async def get(self, path: str) -> tuple[int, str]:
        """What the health server says."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.http_port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return int(head.split()[1]), body

    async def wait_ready_is(self, status: int, within: float = 15.0) -> str:
        """Wait until `/ready` answers with this status; what it says."""
        async with asyncio.timeout(within):
            while True:
                found, body = await self.get("/ready")
                if found == status:
                    return body
                await asyncio.sleep(0.05)  # as a probe would


@asynccontextmanager
async def running_stage(
    broker: EmbeddedBroker, decide: Decide = echo, name: str = "intent-router", **settings: Any
) -> AsyncIterator[Running]:
    """A stage fed by the runtime from the real broker; drained at the end."""
    given: dict[str, Any] = {"ack_wait": 30.0, "retry_delay": 0.05, "http_port": 0} | settings
    made = Settings(state=broker.state, nats_url=broker.url, **given)

    async def stage(input: Input, _: None) -> Sequence[Draft]:
        return await decide(input)

    async def wire(connection: Connection) -> Handle:
        handle = stage_handler(name, stage, None, connection, OneBundle())

        async def watched(message: Any, delivery: Delivery, pull: PullConsumer) -> None:
            running.deliveries.append(delivery)
            await handle(message, delivery, pull)

        return watched

    running = Running(Service(name, made, wire))
    running.task = asyncio.create_task(running.service.run(running.stop))
    ready = asyncio.create_task(running.service.wait_ready())
    await asyncio.wait((ready, running.task), return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        ready.cancel()
        running.task.result()
    try:
        yield running
    finally:
        running.stop.set()
        await asyncio.gather(running.task, return_exceptions=True)


def rows(database: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query finds in an SQLite file."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query, values).fetchall()
