"""Connecting to the broker, with what it forbids turned into a clear error at once.

The protocol has no answer to a forbidden publish: the broker sends an error line that names the
subject, and whoever waits for a reply would run into a timeout. `BrokerClient` ties the two.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import NoRespondersError

from interlock.runtime.broker.credentials import Credential, load_credential
from interlock.runtime.broker.permissions import barrier_subject, inbox_prefix
from interlock.runtime.errors import UserError

_log = structlog.get_logger(__name__)

_VIOLATION = re.compile(
    r"permissions violation for (publish|subscription) to \"([^\"]+)\"", re.IGNORECASE
)


class PermissionDenied(UserError):
    """The broker does not let this user do this."""

    def __init__(self, user: str, subject: str) -> None:
        super().__init__(f"the broker does not let {user!r} use {subject!r}")
        self.user = user
        self.subject = subject


class BrokerUnreachable(UserError):
    """Nothing answers at the broker's address."""


class Violations:
    """What the broker refused this connection, told to whoever waits and whoever asks.

    The client library hands subjects over in lower case; they are compared that way.
    """

    def __init__(self, user: str) -> None:
        self._user = user
        self._callbacks: list[Callable[[str], None]] = []
        self._waiting: dict[str, list[tuple[str, asyncio.Future[None]]]] = {}

    def on_violation(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with the lower-cased subject of every refusal from now on."""
        self._callbacks.append(callback)

    @contextlib.contextmanager
    def watch(self, subject: str) -> Iterator[asyncio.Future[None]]:
        """A future that fails with `PermissionDenied` when `subject` is refused."""
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(subject.lower(), [])
        waiting.append((subject, refused))
        try:
            yield refused
        finally:
            waiting.remove((subject, refused))
            if not waiting:
                self._waiting.pop(subject.lower(), None)
            if refused.done():
                refused.exception()  # seen, also where the caller was faster
            refused.cancel()

    def record(self, error: Exception) -> bool:
        """Take an asynchronous error of the client; False when it is no violation."""
        found = _VIOLATION.search(str(error))
        if found is None:
            return False
        subject = found[2].split(" ")[0].lower()
        _log.error("the broker refused", user=self._user, operation=found[1], subject=subject)
        for asked, refused in self._waiting.get(subject, ()):
            if not refused.done():
                refused.set_exception(PermissionDenied(self._user, asked))
        for callback in self._callbacks:
            callback(subject)
        return True


def parse_header_lines(block: bytes) -> dict[str, str]:
    """The headers of a message, one `Name: value` a line; what is no header is left out."""
    headers: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and name.isascii() and " " not in name:
            headers[name] = value.strip()
    return headers


def header_block(headers: Mapping[str, str]) -> bytes:
    """The headers of a message as they are sent. Raises `ValueError` for a line break in one."""
    block = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if block.count("\n") != len(headers) or block.count("\r") != len(headers):
        raise ValueError("a header contains a line break")
    return f"NATS/1.0\r\n{block}\r\n".encode()


class BrokerClient(Client):
    """A nats client whose requests fail at once when the broker forbids them."""

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        # The library's own looks at every character twice: a fifth of all the CPU of a hop.
        return parse_header_lines(raw)

    def __init__(self, user: str) -> None:
        super().__init__()
        self.user = user
        self.violations = Violations(user)

    def on_violation(self, callback: Callable[[str], None]) -> None:
        """As `Violations.on_violation`: for those who publish without waiting."""
        self.violations.on_violation(callback)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 5.0,  # noqa: ASYNC109 — the signature is the library's
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As the library's; raises `PermissionDenied` where that would time out."""
        with self.violations.watch(subject) as refused:
            answer = asyncio.ensure_future(
                super().request(subject, payload, timeout, old_style, headers)
            )
            try:
                await asyncio.wait((answer, refused), return_when=asyncio.FIRST_COMPLETED)
                if answer.done():
                    return answer.result()
                refused.result()
                raise AssertionError("a refusal is an exception")
            finally:
                answer.cancel()

    def _build_message(
        self,
        sid: int,
        subject: bytes,
        reply: bytes,
        data: bytes,
        headers: dict[str, str] | None,
    ) -> Msg:
        """As the library's, but for a subject that is no UTF-8.

        The broker lets a publisher use any bytes; the library would end the connection over
        them, again and again, because the message stays on the log.
        """
        if not subject.isascii():
            subject = subject.decode(errors="replace").encode()
        message: Msg = super()._build_message(sid, subject, reply, data, headers)
        return message

    async def _send_publish(
        self,
        subject: str,
        reply: str,
        payload: bytes,
        payload_size: int,
        headers: dict[str, str] | None,
    ) -> None:
        # The library's own looks each header over with two regular expressions: a twelfth of
        # all the CPU of a hop.
        if not headers:
            await super()._send_publish(subject, reply, payload, payload_size, None)
            return
        block = header_block(headers)
        sizes = f"{len(block)} {len(block) + payload_size}"
        command = b"HPUB %b\r\n%b%b\r\n" % (f"{subject} {reply} {sizes}".encode(), block, payload)
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        await self._send_command(command)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def publish_checked(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish without a reply and wait until the broker has taken or refused it.

        Raises:
            PermissionDenied: it refused.
        """
        with self.violations.watch(subject) as refused:
            await self.publish(subject, payload, headers=dict(headers) if headers else None)
            await self.settle()
            if refused.done():
                refused.result()

    async def subscribe_checked(self, subject: str, **options: Any) -> Subscription:
        """Subscribe and wait until the broker has it; options as `Client.subscribe`.

        Raises:
            PermissionDenied: it refused.
        """
        with self.violations.watch(subject) as refused:
            subscription = await self.subscribe(subject, **options)
            await self.settle()
            if refused.done():
                refused.result()
        return subscription

    async def settle(self) -> None:
        """Wait until the broker has taken or refused all that was sent so far.

        The library's `flush` does not do that: its ping overtakes what it still holds. A request
        that nobody listens to goes in line, and the broker's word comes back in line too.
        """
        with contextlib.suppress(NoRespondersError):
            await super().request(barrier_subject(self.user), timeout=5)


def connection_options(
    credential: Credential | Path, name: str, violations: Violations | None = None
) -> dict[str, Any]:
    """The options with which any nats-py or FastStream client connects as this user.

    Reconnects for ever. What the broker refuses goes to `violations`.

    Raises:
        UserError: the credential cannot be read.
    """
    if isinstance(credential, Path):
        credential = load_credential(credential)
    user = credential.user
    recorder = violations or Violations(user)

    async def on_error(error: Exception) -> None:
        if not recorder.record(error):
            _log.warning("broker connection", user=user, error=repr(error))

    return {
        "name": name,
        "nkeys_seed_str": credential.seed,
        "inbox_prefix": inbox_prefix(user),
        "error_cb": on_error,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.25,
    }


async def connect(
    url: str, credential: Credential | Path, name: str, wait: float = 5.0, **options: Any
) -> BrokerClient:
    """Connect as `credential`'s user; once connected, reconnect for ever.

    `wait` is how many seconds the first connection may take. `options` go to the library.

    Raises:
        PermissionDenied: the broker does not know the credential.
        BrokerUnreachable: no broker answered in time.
        UserError: the credential cannot be read, or the address is none.
    """
    if not _is_address(url):
        raise UserError(f"{url!r} is no address of a broker, as nats://127.0.0.1:4222 is")
    if isinstance(credential, Path):
        credential = load_credential(credential)
    client = BrokerClient(credential.user)
    settings = {**connection_options(credential, name, client.violations), **options}
    report = settings["error_cb"]
    failures: list[Exception] = []
    rejected = asyncio.Event()

    async def on_error(error: Exception) -> None:
        if not client.is_connected:
            failures[:] = [error]
        if "authorization violation" in str(error).lower():
            rejected.set()
        await report(error)

    settings["error_cb"] = on_error
    connecting = asyncio.ensure_future(client.connect(url, **settings))
    refused = asyncio.ensure_future(rejected.wait())
    try:
        await asyncio.wait((connecting, refused), timeout=wait, return_when="FIRST_COMPLETED")
        if connecting.done():
            connecting.result()
            return client
    finally:
        refused.cancel()
        if not client.is_connected:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            await client.close()
    if rejected.is_set():
        raise PermissionDenied(credential.user, url)
    reason = f" ({failures[-1]})" if failures else ""
    raise BrokerUnreachable(f"no broker answers at {url}{reason}")


def _is_address(url: str) -> bool:
    """Whether the client library can make something of it: it breaks on what it cannot."""
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
