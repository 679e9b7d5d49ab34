"""A service's side: it follows the activations on the log, and never uses a bundle untested.

Every bundle that is asked for (by an activation, by an operator's `prepare`, by an event that a
request brought along) is fetched, checked and given to the service's own load test once. Those
used last stay loaded: going back to one of them costs nothing.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError

from interlock.bundles.errors import BundleError, BundleRefused, BundleUnknown
from interlock.bundles.model import Bundle
from interlock.runtime.bundles.pointer import last
from interlock.runtime.bundles.store import BundleStore
from interlock.runtime.bundles.words import Order, Word, prepare_subject
from interlock.runtime.errors import NeverRetry, RetryLater, UserError
from interlock.runtime.log import JetStreamLog
from interlock_contracts.activation import Activation
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.request import Request
from interlock_contracts.table import EVENT

POLL_S = 2.0
"""How often the log is asked, in case what it said live was missed while reconnecting."""

FOLLOW_S = 60.0
"""How long an operator's question is kept whether an activation has arrived."""

WARM = 8
"""How many bundles stay loaded, those in use not counted."""

LoadTest = Callable[[Bundle], Awaitable[None]]
"""Makes everything a service needs of a bundle; raises if it cannot."""

log = structlog.get_logger(__name__)


class LiveBundles:
    """The `Bundles` of a running service."""

    def __init__(
        self, service: str, client: Client, cell: str, store: BundleStore, load_test: LoadTest
    ) -> None:
        self.service = service
        self.instance = secrets.token_hex(4)
        self.problem: str | None = None
        """Why the last activation does not hold here, if it does not."""
        self._client = client
        self._log = JetStreamLog(client, cell)
        self._store = store
        self._load_test = load_test
        self._loaded: OrderedDict[str, Bundle] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Bundle]] = {}
        self._now: Activation | None = None
        self._no_shadow: set[str] = set()
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, then wait for the first activation.

        Raises:
            UserError: what is active cannot be used here.
        """
        cell = self._log.cell
        for subject, heard in (
            (EVENT["activated"].subject(cell), self._heard),
            (prepare_subject(cell, self.service), self._asked),
        ):
            self._subscriptions.append(await self._client.subscribe(subject, cb=heard))
        await self._catch_up()
        if self._now is None and self.problem is None:
            log.info("waiting_for_a_bundle", service=self.service)
        while self._now is None:
            if self.problem is not None:
                raise UserError(self.problem)
            await self._next()
        self._spawn(self._follow())

    async def close(self) -> None:
        """Stop listening."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for subscription in self._subscriptions:
            with suppress(nats.errors.Error):  # the broker may be away
                await subscription.unsubscribe()

    def active(self, request: Request | None = None) -> Bundle:
        """The bundle this request starts on; without one, that of those no canary takes."""
        now = self._now
        assert now is not None, "it has started"
        if request is None:
            return self._loaded[now.bundle]
        return self._loaded[now.start(request.tenant, request.request_id)]

    @property
    def shadow(self) -> Bundle | None:
        """The bundle to be judged beside, once it is loaded here; no request waits for it."""
        digest = None if self._now is None else self._now.shadow
        if digest is None or digest in self._loaded:
            return None if digest is None else self._loaded[digest]
        if digest not in self._no_shadow:
            self._no_shadow.add(digest)
            self._spawn(self._load_shadow(digest))
        return None

    async def _load_shadow(self, digest: str) -> None:
        """Once; one that cannot be loaded casts no shadow, and nothing else comes of it."""
        try:
            await self.get(digest)
        except RetryLater:
            self._no_shadow.discard(digest)  # the broker was away
        except (BundleError, BundleRefused, BundleUnknown) as error:
            log.error("shadow_not_loaded", service=self.service, reason=str(error))  # noqa: TRY400  # its reason says it all

    async def get(self, digest: str) -> Bundle:
        """The bundle with this digest, tested here; see `Bundles.get` for what it raises."""
        loaded = self._loaded.get(digest)
        if loaded is not None:
            self._loaded.move_to_end(digest)
            return loaded
        task = self._loading.get(digest)
        if task is None:
            task = self._loading[digest] = asyncio.create_task(self._load(digest))
            task.add_done_callback(lambda _: self._loading.pop(digest, None))
        return await asyncio.shield(task)

    async def _load(self, digest: str) -> Bundle:
        bundle = await self._store.get(digest)
        try:
            await self._load_test(bundle)
        except BundleError as error:
            raise BundleError([f"{self.service}: {one}" for one in error.problems]) from error
        except (UserError, NeverRetry, RetryLater) as error:
            raise BundleError([f"{self.service}: {error}"]) from error
        except Exception as error:  # a bundle that breaks the service is refused, never taken
            log.exception("load_test_failed", service=self.service, bundle=digest, exc_info=error)
            reason = f"{type(error).__name__} while it was loaded"
            raise BundleError([f"{self.service}: {reason}"]) from error
        self._loaded[digest] = bundle
        now = self._now
        used = (*now.bundles, now.shadow) if now is not None else ()
        for old in [one for one in self._loaded if one not in used][:-WARM]:
            del self._loaded[old]
        return bundle

    async def _heard(self, message: Msg) -> None:
        """An activation, live: taken at once if all it needs is loaded."""
        try:
            said = Event.decode(message.subject, message.headers, message.data).data
        except InvalidEvent:
            said = None
        if isinstance(said, Activation) and all(one in self._loaded for one in said.bundles):
            self._take(said)
        else:
            self._wake.set()

    async def _follow(self) -> None:
        while True:
            await self._next()

    async def _next(self) -> None:
        """Wait until there may be something new, and take it."""
        with suppress(TimeoutError):
            # Not `wait_for`: it can lose a cancellation that comes together with what it waits for.
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        self._wake.clear()
        await self._catch_up()

    async def _catch_up(self) -> None:
        try:
            newest = await last(self._log)
        except (RetryLater, InvalidEvent):
            return  # the broker is away: asked again soon
        if newest is None or (self._now is not None and newest.number <= self._now.number):
            return
        try:
            for digest in newest.bundles:
                await self.get(digest)
        except RetryLater:
            return
        except (BundleError, BundleRefused, BundleUnknown) as error:
            if self.problem is None:
                log.error("activation_not_taken", service=self.service, reason=str(error))  # noqa: TRY400  # its reason says it all
            self.problem = f"activation {newest.number} cannot be followed: {error}"
            self._announce()
            return
        self._take(newest)

    def _take(self, activation: Activation) -> None:
        if self._now is None or activation.number > self._now.number:
            self._now = activation
            self.problem = None
            log.info(
                "bundle_active",
                service=self.service,
                number=activation.number,
                bundle=activation.bundle,
            )
            self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _asked(self, message: Msg) -> None:
        self._spawn(self._answer(message))

    async def _answer(self, message: Msg) -> None:
        started = time.perf_counter()
        try:
            order = Order.model_validate_json(message.data)
        except ValidationError:
            return  # an operator of another version: silence is a service that does not answer
        try:
            problem = await self._carry_out(order)
        except Exception as error:  # silence would be taken for a service that is gone
            log.exception("order_failed", service=self.service, order=order.do, exc_info=error)
            problem = f"{type(error).__name__} in {self.service}"
        word = Word(
            service=self.service,
            instance=self.instance,
            number=0 if self._now is None else self._now.number,
            milliseconds=round((time.perf_counter() - started) * 1000),
            problem=problem,
        )
        with suppress(nats.errors.Error):
            await self._client.publish(message.reply, word.model_dump_json().encode())

    async def _carry_out(self, order: Order) -> str | None:
        """Do what an operator asks; why it cannot be done, if it cannot."""
        if order.do == "prepare" and order.bundle is not None:
            try:
                await self.get(order.bundle)
            except (BundleError, BundleRefused, BundleUnknown, RetryLater) as error:
                return str(error)
        if order.do == "follow":
            return await self._reached(order.number)
        return None

    async def _reached(self, number: int) -> str | None:
        """Wait until activation `number` holds here; why it does not, if it cannot."""
        try:
            async with asyncio.timeout(FOLLOW_S):
                while self._now is None or self._now.number < number:
                    if self.problem is not None:
                        return self.problem
                    await self._changed.wait()
        except TimeoutError:
            return f"activation {number} was not heard of within {FOLLOW_S:.0f} s"
        return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
