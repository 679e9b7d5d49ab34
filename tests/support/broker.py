"""A real broker for tests, and the few moves that tests make on it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from interlock.runtime.broker.connect import BrokerClient, connect
from interlock.runtime.broker.permissions import PROVISIONER
from interlock.runtime.broker.provision import provision
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.broker.topology import Topology

TOPOLOGY = Topology(
    tenants=("acme", "globex"),
    tools=("create_refund", "order_status"),
    executors={"mailer": ("send_mail",)},
)
"""Two tenants, the in-house executor with two tools, and a further one with one."""


@asynccontextmanager
async def running_broker(
    state: Path, topology: Topology = TOPOLOGY
) -> AsyncIterator[EmbeddedBroker]:
    """A started and provisioned broker, stopped at the end."""
    broker = EmbeddedBroker(state, topology)
    await broker.start()
    try:
        async with connected(broker, PROVISIONER) as nc:
            await provision(nc, topology)
        yield broker
    finally:
        await broker.stop()


@asynccontextmanager
async def connected(broker: EmbeddedBroker, user: str) -> AsyncIterator[BrokerClient]:
    """A connection as one of the broker's users, closed at the end."""
    client = await connect(broker.url, broker.credential(user), name=f"test {user}")
    try:
        yield client
    finally:
        await client.close()


async def call(client: BrokerClient, subject: str, body: object = None) -> dict[str, Any]:
    """Send JSON (or nothing) and return the JSON that comes back."""
    payload = b"" if body is None else json.dumps(body).encode()
    reply = await client.request(subject, payload)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer
