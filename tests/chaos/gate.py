"""The contract-validator as a process that kills itself: `python -m tests.chaos.gate POINT`.

`before`: with a decision made, before the first message of its batch is sent. A number: after so
many messages of the batch. `sent`: after all of them, before the broker has answered. `after`: once
the batch is stored, before the input is acknowledged.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from interlock.contract_validator.wire import wire
from interlock.runtime import commit
from interlock.runtime.main import serve

POINT = sys.argv[1]


def die() -> None:
    """As kill -9 from outside, at exactly this place."""
    os.kill(os.getpid(), signal.SIGKILL)


class Fatal:
    """A connection that dies at `POINT` of the first batch that is sent through it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._sent = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def publish(self, subject: str, body: bytes, **more: Any) -> None:
        """One message of the batch but the last."""
        await self._client.publish(subject, body, **more)
        self._sent += 1
        if str(self._sent) == POINT:
            await self._client.flush()  # it has left this process
            die()

    async def request(self, subject: str, body: bytes, **more: Any) -> Any:
        """The last message of the batch, which commits it; or a single one."""
        if POINT == "sent":
            await self._client.publish(subject, body, headers=more.get("headers"))
            await self._client.flush()
            die()
        reply = await self._client.request(subject, body, **more)
        if POINT == "after":
            die()
        return reply


async def _store(self: commit.Committer, messages: Sequence[commit.Wire]) -> commit.Committed:
    if POINT == "before":
        die()
    fatal: Any = Fatal(self._client)
    self._client = fatal
    return await _really(self, messages)


_really = commit.Committer._store

if __name__ == "__main__":
    commit.Committer._store = _store  # type: ignore[method-assign]
    serve("contract-validator", wire)
