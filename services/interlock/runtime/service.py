"""A service: a stage fed from its durable consumer, from connect to graceful drain."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import nats.errors
import structlog
from faststream import AckPolicy
from faststream.nats import NatsBroker
from faststream.nats.subscriber.usecases import LogicSubscriber
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from interlock.runtime import telemetry
from interlock.runtime.broker.connect import BrokerClient, connect
from interlock.runtime.broker.credentials import load_credential
from interlock.runtime.broker.permissions import inbox_prefix
from interlock.runtime.commit import Committer
from interlock.runtime.garbage import settle_garbage_collection
from interlock.runtime.health import HealthServer, consumer_info
from interlock.runtime.log import JetStreamLog
from interlock.runtime.pull import ConsumerLost, Delivery, PullConsumer
from interlock.runtime.settings import Settings

WATCH_INTERVAL_S = 2.0
MAX_UNSENT_BYTES = 64 * 1024 * 1024
"""How much may wait to be sent while the broker is away, before publishing fails."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Connection:
    """What the wiring of a service may use of its broker connection."""

    client: Client
    broker: NatsBroker
    log: JetStreamLog
    committer: Committer
    settings: Settings
    health: list[Callable[[], str | None]] = field(default_factory=list)
    """What else keeps the service from being ready; the wiring adds to it."""
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """What to close once the last message is finished."""


class _Broker(NatsBroker):
    """FastStream over a connection of ours: scoped inboxes, refusals that are errors."""

    def __init__(self, client: BrokerClient) -> None:
        super().__init__(logger=None, apply_types=False)
        self._client = client

    async def _connect(self) -> Client:
        self.config.connect(self._client)
        return self._client


Handle = Callable[[Msg, Delivery, PullConsumer], Coroutine[Any, Any, None]]
Take = Callable[[Msg], Coroutine[Any, Any, None]]


def _listen(connection: Connection, inbox: str, take: Take) -> LogicSubscriber[Any]:
    """A subscriber of this inbox.

    One message after the other, because taking one only starts its task: what bounds the
    number of tasks is the credit, and FastStream's own workers cost twice as much. A delivery
    goes straight to `take`: FastStream's scopes, parsing and middlewares around each message
    would be an eighth of the CPU of a hop, and nothing uses them.
    """
    listener = connection.broker.subscriber(
        f"{inbox}.>", ack_policy=AckPolicy.MANUAL, no_reply=True, persistent=False
    )
    listener(take)
    listener.consume = take  # type: ignore[method-assign, assignment]
    return listener


Wire = Callable[[Connection], Awaitable[Handle]]
"""Builds a service's handler once its connection stands."""


class Service:
    """One durable consumer and what handles its messages.

    `wire` builds the handler once the connection stands. `run` returns after a graceful drain
    when `stop` is set, and raises `ConsumerLost` when the broker no longer knows the consumer.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        wire: Wire,
        *,
        durable: str | None = None,
        user: str | None = None,
    ) -> None:
        """`durable` and `user` (whose credential is used) are the service's name unless given."""
        self.name = name
        self.durable = durable or name
        self.user = user or self.durable
        self.settings = settings
        self._wire = wire
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready: asyncio.Event = asyncio.Event()
        self._listener: LogicSubscriber[Any] | None = None
        self._moving = asyncio.Lock()
        self.pull: PullConsumer | None = None
        self.http_port: int | None = None

    @property
    def was_ready(self) -> bool:
        """Whether it has taken messages."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        """Return once messages are being asked for."""
        await self._ready.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; then finish what is being worked on and leave."""
        async with self._connected() as connection:
            handle = await self._wired(connection, stop)
            if handle is None:
                return
            pull = self._subscribe(connection, handle)
            await connection.broker.start()
            await pull.start()
            health = await self._serve_health(connection, pull)
            settle_garbage_collection()
            self._ready.set()
            log.info("serving", service=self.name, cell=self.settings.cell)
            try:
                await self._watch(connection, pull, stop)
            finally:
                await self._stop_listening()
                finished = await pull.drain(self.settings.drain_timeout)
                if not finished:
                    log.error("drain_timeout", service=self.name, held=pull.held)
                if health is not None:
                    await health.stop()
            log.info("stopped", service=self.name)

    async def _wired(self, connection: Connection, stop: asyncio.Event) -> Handle | None:
        """The handler; None if it is time to stop while the wiring waits for something."""
        wiring = asyncio.ensure_future(self._wire(connection))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((wiring, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if wiring.done():
            return wiring.result()
        wiring.cancel()
        await asyncio.gather(wiring, return_exceptions=True)
        return None

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        settings = self.settings
        credential = load_credential(settings.credential_of(self.user))
        client = await connect(settings.url, credential, self.name, pending_size=MAX_UNSENT_BYTES)
        broker = _Broker(client)
        await broker.connect()
        committer = Committer(client)
        log_ = JetStreamLog(client, settings.cell)
        connection = Connection(client, broker, log_, committer, settings)
        try:
            yield connection
        finally:
            for close in connection.closing:
                await close()
            await committer.close()
            with suppress(nats.errors.Error):  # the broker may be away: nothing is left to drain
                await broker.stop()
            await client.close()

    def _subscribe(self, connection: Connection, handle: Handle) -> PullConsumer:
        client, settings = connection.client, self.settings
        pull = PullConsumer(
            client,
            settings.cell,
            self.durable,
            client.new_inbox(),
            capacity=settings.capacity,
            ack_wait=settings.ack_wait,
        )
        self.pull = pull
        connection.committer.in_work = lambda: pull.held

        async def take(message: Msg) -> None:
            if message.subject.startswith(inbox_prefix(self.user)):
                await pull.on_status(message)
                return
            delivery = pull.taken(message)
            if delivery is not None:
                self._spawn(handle(message, delivery, pull))
            if not message.data and not message.headers:
                self._spawn(self._move(connection, pull, take))

        self._listener = _listen(connection, pull.inbox, take)
        return pull

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _move(self, connection: Connection, pull: PullConsumer, take: Take) -> None:
        """Go on from a new inbox.

        Between accounts an empty message is the mark that ends a series of replies, and a
        producer may send one: what the broker delivers on that request afterwards goes nowhere.
        Only without its inbox does the broker give the request up.
        """
        async with self._moving:
            if self._listener is None:
                return
            await self._stop_listening()
            inbox = connection.client.new_inbox()
            self._listener = _listen(connection, inbox, take)
            await self._listener.start()
            await pull.move(inbox)

    async def _stop_listening(self) -> None:
        """Let the broker forget what was asked for, and take what it has already sent."""
        listener, self._listener = self._listener, None
        if listener is None or not isinstance(listener.subscription, Subscription):
            return
        try:
            async with asyncio.timeout(5):
                await listener.subscription.drain()  # type: ignore[no-untyped-call]  # it has no types
        except (TimeoutError, nats.errors.Error) as error:
            log.warning("not_unsubscribed", service=self.name, reason=type(error).__name__)
        listener.subscription = None
        await listener.stop()

    async def _serve_health(
        self, connection: Connection, pull: PullConsumer
    ) -> HealthServer | None:
        if self.settings.http_port is None:
            return None

        async def ready() -> str | None:
            return await self.wrong(connection, pull)

        health = HealthServer(self.settings.http_host, self.settings.http_port, ready)
        await health.start()
        self.http_port = health.port
        return health

    async def wrong(self, connection: Connection, pull: PullConsumer) -> str | None:
        """What keeps this service from working, by the broker's own word; None if nothing does."""
        if pull.lost is not None:
            return pull.lost
        if not connection.client.is_connected:
            return "not connected to the broker"
        for check in connection.health:
            if (problem := check()) is not None:
                return problem
        try:
            info = await consumer_info(connection.client, self.settings.cell, self.durable)
        except Exception as error:
            return f"the broker did not answer: {type(error).__name__}"
        if "error" in info:
            return f"consumer {self.durable}: {info['error'].get('description')}"
        pull.lag = info["num_pending"]
        return None

    async def _watch(self, connection: Connection, pull: PullConsumer, stop: asyncio.Event) -> None:
        """Look after the consumer until it is time to stop; a lost one is never waited for."""
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), WATCH_INTERVAL_S)
            except TimeoutError:
                pass
            else:
                return
            wrong = await self.wrong(connection, pull)
            telemetry.LAG.labels(self.name).set(pull.lag)
            telemetry.HELD.labels(self.name).set(pull.held)
            if pull.lost is not None or (wrong is not None and "consumer not found" in wrong):
                log.error("consumer_lost", service=self.name, reason=wrong)
                raise ConsumerLost(wrong or "consumer lost")
            if wrong is not None:
                log.warning("not_ready", service=self.name, reason=wrong)
