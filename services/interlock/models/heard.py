"""What a provider really sent: the bodies of its responses, for whoever records them.

Importing this needs the extra `interlock[models]`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx2

_bodies: ContextVar[list[bytes] | None] = ContextVar("interlock_response_bodies", default=None)


@contextmanager
def listening() -> Iterator[list[bytes]]:
    """The bodies of the responses that arrive within: one, unless a client asks more than once."""
    bodies: list[bytes] = []
    token = _bodies.set(bodies)
    try:
        yield bodies
    finally:
        _bodies.reset(token)


def listened_client(timeout_s: float) -> httpx2.AsyncClient:
    """An HTTP client whose responses are heard; whoever makes it closes it."""
    timeout = httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s))
    return httpx2.AsyncClient(timeout=timeout, event_hooks={"response": [_keep]})


async def _keep(response: httpx2.Response) -> None:
    bodies = _bodies.get()
    if bodies is not None:
        bodies.append(await response.aread())


def listen_to(client: Any) -> None:
    """Hear the responses of a client of botocore's; its calls run in a thread with our context."""

    def keep(http_response: Any, **_: object) -> None:
        bodies = _bodies.get()
        if bodies is not None:
            bodies.append(bytes(http_response.content))

    client.meta.events.register("after-call.*", keep)
