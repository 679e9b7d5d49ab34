"""Whether a service is well: readiness that asks the broker, and a small HTTP server for it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.client import Client
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from interlock.runtime.broker.topology import stream_name

Check = Callable[[], Awaitable[str | None]]
"""None when all is well, else what is wrong."""


async def consumer_info(client: Client, cell: str, durable: str) -> dict[str, Any]:
    """`CONSUMER.INFO` of a durable; the `error` member says why there is none."""
    subject = f"$JS.API.CONSUMER.INFO.{stream_name(cell)}.{durable}"
    reply = await client.request(subject, b"", timeout=2.0)
    info: dict[str, Any] = json.loads(reply.data)
    return info


class HealthServer:
    """`/live`, `/ready` and `/metrics` over HTTP/1.1, for probes and scrapers."""

    def __init__(self, host: str, port: int, ready: Check) -> None:
        self._host = host
        self._port = port
        self._ready = ready
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen; raises `OSError` if the port is taken."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode("ascii", "replace")
                status, kind, body = await self._respond(path)
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a probe that went away or never spoke HTTP
        except IndexError:
            pass
        finally:
            writer.close()

    async def _respond(self, path: str) -> tuple[str, str, bytes]:
        if path == "/metrics":
            return "200 OK", CONTENT_TYPE_LATEST, generate_latest()
        if path == "/live":
            return "200 OK", "text/plain", b"ok\n"
        if path == "/ready":
            wrong = await self._ready()
            if wrong is None:
                return "200 OK", "text/plain", b"ok\n"
            return "503 Service Unavailable", "text/plain", f"{wrong}\n".encode()
        return "404 Not Found", "text/plain", b"try /live, /ready or /metrics\n"
