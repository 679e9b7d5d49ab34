"""A whole Interlock on this machine: broker, six services, supervised, until it is stopped."""

import asyncio
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from importlib import import_module
from types import TracebackType
from typing import Self

import structlog

from interlock.cli.operator import activate_folder
from interlock.runtime.broker.connect import connect
from interlock.runtime.broker.permissions import PROVISIONER
from interlock.runtime.broker.provision import ConsumerSettings, Report, provision
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.broker.topology import Topology
from interlock.runtime.errors import UserError
from interlock.runtime.keys import make_keys
from interlock.runtime.service import Service, Wire
from interlock.runtime.settings import Settings
from interlock.runtime.wiring import bundles_of
from interlock_contracts.activation import Activation
from interlock_contracts.table import SERVICES

RESTARTS_PER_MINUTE = 10

log = structlog.get_logger(__name__)


def package_of(service: str) -> str:
    """The package of a service: `tool-executor` → `interlock.tool_executor`."""
    return f"interlock.{service.replace('-', '_')}"


def wire_of(service: str) -> Wire:
    """A service's `wire`, imported only when it is wanted."""
    wire: Wire = import_module(f"{package_of(service)}.wire").wire
    return wire


def topology_of(settings: Settings) -> Topology:
    """What the broker is made for, by the settings."""
    return Topology(cell=settings.cell, tenants=settings.tenants)


class System:
    """Use as an async context manager: inside it everything runs and is ready.

    `scale` says how many processes of each service; without `processes` all of them are tasks
    of this process, but for those that `scale` names.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        processes: bool = False,
        scale: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        given: bool | None = None,
    ) -> None:
        """`given`: whether somebody has named the bundle's folder; as the settings know it."""
        self.settings = settings
        self.active: Activation | None = None
        """What requests start on."""
        self.broker = EmbeddedBroker(settings.state, topology_of(settings))
        self.report: Report | None = None
        self.workers: dict[str, list[Worker | Task]] = {}
        self.failed = asyncio.Event()
        """Set when a service, or the broker, has died too often to be started again."""
        self._processes = processes
        self._scale = dict(scale or {})
        self._environment = dict(environment or {})
        self._given = "bundle" in settings.model_fields_set if given is None else given
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        if self._given:  # a bundle that does not compile is said before anything starts
            bundles_of(self.settings)
        make_keys(self.settings.state)
        await self.broker.start()
        self._stack.push_async_callback(self.broker.stop)
        self.report = await self._provision()
        settings = self.settings.model_copy(update={"nats_url": self.broker.url})
        self.active = await activate_folder(settings, given=self._given)
        starting = []
        for name in SERVICES:
            count = self._scale.get(name, 1)
            apart = self._processes or name in self._scale
            made: list[Worker | Task] = [
                Worker(name, settings, self.failed, self._environment)
                if apart
                else Task(name, settings, self.failed, self._provision)
                for _ in range(count)
            ]
            self.workers[name] = made
            for worker in made:
                self._stack.push_async_callback(worker.stop)
                starting.append(worker.start())
        await asyncio.gather(*starting)
        watch = asyncio.create_task(self._watch_broker(), name="watch-broker")
        self._stack.callback(watch.cancel)

    async def _watch_broker(self) -> None:
        await self.broker.failed.wait()
        self.failed.set()

    async def _provision(self) -> Report:
        client = await connect(
            self.broker.url, self.broker.credential(PROVISIONER), name=PROVISIONER
        )
        try:
            consumer = ConsumerSettings(ack_wait=self.settings.ack_wait, max_ack_pending=4096)
            return await provision(client, topology_of(self.settings), consumer=consumer)
        finally:
            await client.close()


class Task:
    """A service as a task of this process, started again when it loses its consumer.

    `mend` is called before it is started again: what is missing on the broker is made again.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        failed: asyncio.Event,
        mend: Callable[[], Awaitable[object]],
    ) -> None:
        self.name = name
        self._settings = settings
        self._failed = failed
        self._mend = mend
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once it takes messages."""
        wire = wire_of(self.name)
        service = Service(self.name, self._settings, wire)
        self._task = asyncio.create_task(self._run(service, wire), name=self.name)
        ready = asyncio.create_task(service.wait_ready())
        await asyncio.wait((ready, self._task), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            await self._task

    async def stop(self) -> None:
        """Drain and stop."""
        self._stop.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, service: Service, wire: Wire) -> None:
        deaths = Deaths()
        try:
            while True:
                try:
                    return await service.run(self._stop)
                except Exception as error:
                    if not service.was_ready or deaths.too_often():
                        raise
                    log.exception("service_died", service=self.name, exc_info=error)
                await self._mend()
                service = Service(self.name, self._settings, wire)
        except Exception:
            self._failed.set()
            raise


class Deaths:
    """Counts how often something died in the last minute."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=RESTARTS_PER_MINUTE + 1)

    def too_often(self) -> bool:
        """Count one more death; True when it should not be started again."""
        self._times.append(time.monotonic())
        return len(self._times) > RESTARTS_PER_MINUTE and self._times[-1] - self._times[0] < 60


class Worker:
    """A service as a process of its own, started again when it dies."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        failed: asyncio.Event,
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self._failed = failed
        self._settings = settings
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._port = 0
        self._stopping = False
        self._spawning = asyncio.Lock()

    @property
    def pid(self) -> int:
        """Its process id now; `UserError` while it is down."""
        if self._process is None or self._process.returncode is not None:
            raise UserError(f"{self.name} is not running")
        return self._process.pid

    async def start(self) -> None:
        """Return once it is ready; raises `UserError` if it exits before."""
        await self._spawn()
        await self.ready()
        self._supervisor = asyncio.create_task(self._supervise(), name=f"supervise-{self.name}")

    async def ready(self) -> None:
        """Wait until the service itself says that it is ready."""
        for _ in range(600):
            if await asyncio.to_thread(_answers, f"http://127.0.0.1:{self._port}/ready"):
                return
            if self._supervisor is None and self._process and self._process.returncode is not None:
                break
            await asyncio.sleep(0.05)
        raise UserError(f"{self.name} did not become ready; its log says why")

    async def stop(self) -> None:
        """SIGTERM, then wait for the drain; after the drain's own limit, SIGKILL."""
        self._stopping = True
        async with self._spawning:  # not between two lives
            process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self._settings.drain_timeout + 5.0)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._supervisor is not None:
            await asyncio.gather(self._supervisor, return_exceptions=True)

    async def _spawn(self) -> None:
        folder = self._settings.state / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        # Another one every time: while a service is down, anybody may be given its last one.
        self._port = free_port()
        with (folder / f"{self.name}.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", package_of(self.name)),
                env={**os.environ, **self._variables(), **self._environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _variables(self) -> dict[str, str]:
        given = self._settings.model_dump(mode="json", exclude_none=True)
        given["tenants"] = ",".join(self._settings.tenants)
        if self._settings.qdrant_api_key is not None:
            given["qdrant_api_key"] = self._settings.qdrant_api_key.get_secret_value()
        given["http_port"] = self._port
        return {f"INTERLOCK_{name.upper()}": str(value) for name, value in given.items()}

    async def _supervise(self) -> None:
        deaths = Deaths()
        while True:
            assert self._process is not None
            code = await self._process.wait()
            often = deaths.too_often()
            async with self._spawning:
                if self._stopping:
                    return
                if often:
                    log.critical("service_died_too_often", service=self.name, code=code)
                    self._failed.set()
                    return
                log.error("service_died", service=self.name, code=code)
                await self._spawn()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as reply:  # noqa: S310  # our own loopback
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def free_port() -> int:
    """A port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
