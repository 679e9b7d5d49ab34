"""How fast the audit sink takes events off the log, and what an event costs it."""

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.harness import cpu_seconds
from interlock.audit_sink.places import open_reader, public_key
from interlock.audit_sink.verify import verify
from interlock.runtime.broker.connect import connect
from interlock.runtime.broker.permissions import PROVISIONER
from interlock.runtime.broker.provision import provision
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.broker.topology import Topology
from interlock.runtime.commit import EXPECT_NEW, Committer, Wire
from interlock.runtime.settings import Settings
from interlock_contracts.ids import new_request_id
from interlock_contracts.table import EVENT, Actor

EVENTS = 18_000
PEOPLE = 500
EXAMPLES = Path(__file__).parents[1] / "contracts" / "examples"
KINDS = ("request", "route", "context", "proposal", "verdict", "approved", "reserved", "result",
         "answer")  # fmt: skip
"""The events of one request that did something, of about 3 KB on average."""


def _events(number: int) -> list[Wire]:
    """One request, as the goldens tell it."""
    request, made = new_request_id(), []
    for kind in KINDS:
        event = json.loads((EXAMPLES / f"{kind}.json").read_bytes())
        body = json.dumps(event["data"], ensure_ascii=False)
        body = body.replace(event["subject"].split(".")[3], request)
        body = body.replace("nadia.okafor", f"user{number % PEOPLE}")
        tokens = event["subject"].split(".")
        tokens[3] = request
        headers = {"ce-id": new_request_id(), "ce-type": event["type"], **EXPECT_NEW}
        made.append((".".join(tokens), body.encode(), headers))
    return made


async def audit_table(console: Console) -> None:
    """Fill a log while the sink is away, then let it catch up."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        broker = EmbeddedBroker(state, Topology(tenants=("acme",)))
        await broker.start()
        try:
            await _fill(broker)
            await _measure(broker, console)
        finally:
            await broker.stop()


async def _fill(broker: EmbeddedBroker) -> None:
    """Log the events, each with the credential of who may publish it."""
    async with AsyncExitStack() as stack:
        client = await connect(broker.url, broker.credential(PROVISIONER), name="bench")
        stack.push_async_callback(client.close)
        await provision(client, broker.topology)
        committers = {}
        for kind in KINDS:
            owner = EVENT[kind].owner
            user = "producer-acme" if owner is Actor.PRODUCER else owner.value
            own = await connect(broker.url, broker.credential(user), name="bench")
            stack.push_async_callback(own.close)
            committers[kind] = Committer(own)
            stack.push_async_callback(committers[kind].close)
        for start in range(0, EVENTS // len(KINDS), 200):
            requests = [_events(number) for number in range(start, start + 200)]
            for kind, events in zip(KINDS, zip(*requests, strict=True), strict=True):
                commit = committers[kind].commit_wire
                await asyncio.gather(*(commit([event]) for event in events))


async def _measure(broker: EmbeddedBroker, console: Console) -> None:
    events = EVENTS
    environment = {
        **os.environ,
        "INTERLOCK_STATE": str(broker.state),
        "INTERLOCK_NATS_URL": broker.url,
    }
    settings = Settings(state=broker.state)
    command = (sys.executable, "-m", "interlock.audit_sink")
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        first = await _until(settings, 1)
        cpu, started = cpu_seconds(process.pid), time.perf_counter()
        broker_cpu = cpu_seconds(broker.pid)
        await _until(settings, events)
        seconds = time.perf_counter() - started
        spent = cpu_seconds(process.pid) - cpu
        broker_spent = cpu_seconds(broker.pid) - broker_cpu
    finally:
        process.terminate()
        await process.wait()
    taken = events - first
    table = Table(title="Audit: catching up", title_justify="left", box=None, pad_edge=False)
    for name in ("events", "events/s", "CPU µs an event", "broker µs", "events/s of a whole core"):
        table.add_column(name, justify="right")
    table.add_row(
        f"{taken:,}",
        f"{taken / seconds:,.0f}",
        f"{spent / taken * 1e6:.0f}",
        f"{broker_spent / taken * 1e6:.0f}",
        f"{taken / spent:,.0f}",
    )
    console.print(table)
    with open_reader(settings) as reader:
        started = time.perf_counter()
        report = verify(reader.database, public_key(settings.state), reader.keys)
        seconds = time.perf_counter() - started
    assert report.ok
    assert report.covered == events
    console.print(f"verified with keys: {events / seconds:,.0f} events/s")


async def _until(settings: Settings, count: int) -> int:
    """Wait until so many are recorded; how many are."""
    for _ in range(6_000):
        try:
            with open_reader(settings) as reader:
                ((size,),) = reader.database.execute("SELECT max(size) FROM checkpoints")
            if (size or 0) >= count:
                return int(size)
        except Exception:
            pass
        await asyncio.sleep(0.02)
    raise TimeoutError(f"{count} events were not recorded within two minutes")
