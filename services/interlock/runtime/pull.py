"""Taking messages from a durable pull consumer: by credit, never more than can be worked on.

FastStream subscribes an inbox; this asks the consumer to deliver there as many messages as
there are free slots, again and again, and keeps what is being worked on from being redelivered.
"""

import asyncio
import json
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from interlock.runtime.broker.topology import stream_name

ACK = b"+ACK"
IN_PROGRESS = b"+WPI"

_REQUEST_EXPIRES_S = 30.0
_IDLE_HEARTBEAT_S = 5.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger(__name__)


class ConsumerLost(Exception):
    """The durable consumer or its stream is gone: the service cannot go on."""


@dataclass(slots=True)
class Delivery:
    """What the acknowledgement subject says of a delivered message."""

    sequence: int
    deliveries: int
    logged_at: datetime
    pending: int


def parse_ack_subject(reply: str) -> Delivery:
    """Read `$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<cseq>.<ns>.<pending>`.

    Servers may put a domain and an account hash in front, and a token behind.
    """
    tokens = reply.split(".")
    at = 4 if len(tokens) < 11 else 6
    return Delivery(
        deliveries=int(tokens[at]),
        sequence=int(tokens[at + 1]),
        # Cut off, not rounded, as every other reader of the log does.
        logged_at=_EPOCH + timedelta(microseconds=int(tokens[at + 3]) // 1000),
        pending=int(tokens[at + 4]),
    )


@dataclass(slots=True)
class _Held:
    reply: str
    since: float
    taken: float


class PullConsumer:
    """The credit loop of one durable. `capacity` is how many messages may be held at once."""

    def __init__(
        self, client: Client, cell: str, durable: str, inbox: str, *, capacity: int, ack_wait: float
    ) -> None:
        self.inbox = inbox
        self.capacity = capacity
        self.durable = durable
        self.lag = 0
        self.lost: str | None = None
        self._client = client
        self._stream = stream_name(cell)
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{durable}"
        self._ack_wait = ack_wait
        self._held: dict[int, _Held] = {}
        self._asked: OrderedDict[str, int] = OrderedDict()
        # Credit starts at one and grows with every message that was finished at its first
        # delivery. What was held at a crash comes again before anything new, one at a time: a
        # message that kills its worker is alone by then, and no other is counted out with it.
        self._window = 1
        self._count = 0
        self._last_heard = time.monotonic()
        self._paused_until = 0.0
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._tick: asyncio.Task[None] | None = None

    @property
    def held(self) -> int:
        """How many messages are being worked on."""
        return len(self._held)

    @property
    def paused(self) -> bool:
        """Whether the loop asks for nothing just now."""
        return time.monotonic() < self._paused_until

    async def start(self) -> None:
        """Begin to ask for messages; the inbox must be subscribed by now."""
        await self._ask()
        self._tick = asyncio.create_task(self._keep_going(), name=f"pull-{self.durable}")

    async def drain(self, patience: float) -> bool:
        """Ask for nothing more and wait until what is held is finished; False if it was not."""
        self._stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), patience)
        except TimeoutError:
            return False
        finally:
            if self._tick is not None:
                self._tick.cancel()
                await asyncio.gather(self._tick, return_exceptions=True)
        return True

    def pause(self, seconds: float) -> None:
        """Ask for nothing for a while; what has been asked for may still come."""
        self._paused_until = time.monotonic() + seconds

    def taken(self, message: Msg) -> Delivery | None:
        """Note that a message has arrived; it is kept alive until `finish`.

        None if it is being worked on already: the server thought it lost and sent it again.
        """
        self._last_heard = now = time.monotonic()
        if self._asked:
            oldest = next(iter(self._asked))
            self._asked[oldest] -= 1
            if self._asked[oldest] <= 0:
                del self._asked[oldest]
        delivery = parse_ack_subject(message.reply)
        self.lag = delivery.pending
        again = delivery.sequence in self._held
        self._held[delivery.sequence] = _Held(message.reply, now, now)
        self._idle.clear()
        return None if again else delivery

    async def finish(self, delivery: Delivery, how: bytes) -> None:
        """Acknowledge, or hand back, and free the slot."""
        held = self._held.pop(delivery.sequence)
        if delivery.deliveries == 1:
            self._window = min(self.capacity, self._window + 1)
        try:
            await self._client.publish(held.reply, how)
        finally:
            if not self._held:
                self._idle.set()
        await self._ask()

    async def on_status(self, message: Msg) -> None:
        """Handle what the server says about a request instead of a message."""
        self._last_heard = time.monotonic()
        headers = message.headers or {}
        status, text = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            return
        self._asked.pop(message.subject, None)
        if status == "409" and "Deleted" in text:
            self.lost = f"consumer {self.durable} of stream {self._stream} was deleted"
        elif status not in ("404", "408"):
            log.warning("pull_status", durable=self.durable, status=status, text=text)
            self.pause(0.5)
        await self._ask()

    async def _ask(self) -> None:
        if self._stopping or self.lost or self.paused or not self._client.is_connected:
            return
        open_requests = sum(self._asked.values())
        free = self._window - len(self._held) - open_requests
        if free <= 0 or (open_requests and free < self._window // 4):
            return
        self._count += 1
        inbox = f"{self.inbox}.{self._count}"
        self._asked[inbox] = free
        request = {
            "batch": free,
            "expires": int(_REQUEST_EXPIRES_S * 1e9),
            "idle_heartbeat": int(_IDLE_HEARTBEAT_S * 1e9),
        }
        await self._client.publish(self._next, json.dumps(request).encode(), reply=inbox)

    async def _keep_going(self) -> None:
        """Keep what is held alive, and ask again when the server has forgotten the request."""
        interval = min(self._ack_wait / 3, 1.0)
        reconnects = self._client.stats["reconnects"]
        while True:
            await asyncio.sleep(interval)
            if reconnects != self._client.stats["reconnects"]:
                reconnects = self._client.stats["reconnects"]
                self._asked.clear()  # the server forgets with the connection
            if not self._client.is_connected:
                continue
            if all(time.monotonic() - held.taken > interval / 2 for held in self._held.values()):
                self._window = min(self.capacity, self._window * 2)  # slow, but not deadly
            try:
                await self._look_after()
            except nats.errors.Error as error:  # the connection broke just now
                log.warning("pull_interrupted", durable=self.durable, reason=type(error).__name__)

    async def _look_after(self) -> None:
        now = time.monotonic()
        for held in list(self._held.values()):
            if now - held.since >= self._ack_wait / 3:
                held.since = now
                await self._client.publish(held.reply, IN_PROGRESS)
        if self._asked and now - self._last_heard > 2.5 * _IDLE_HEARTBEAT_S:
            self._asked.clear()
            self._last_heard = now
        await self._ask()

    async def move(self, inbox: str) -> None:
        """Have messages delivered to another inbox; requests from the old one are void."""
        self.inbox = inbox
        self._asked.clear()
        await self._ask()
