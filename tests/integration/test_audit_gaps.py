"""The audit sink on a real broker: once per event through crashes, and every gap on record."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.broker import call, connected
from tests.support.system import a_request, submit

from interlock.audit_sink import gaps
from interlock.audit_sink.places import open_reader, public_key, store_file
from interlock.audit_sink.verify import Report, verify
from interlock.audit_sink.wire import wire
from interlock.runtime.broker.permissions import PROVISIONER
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.service import Service
from interlock.runtime.settings import Settings


def settings_of(broker: EmbeddedBroker) -> Settings:
    return Settings(state=broker.state, nats_url=broker.url, http_port=0)


@asynccontextmanager
async def sink(broker: EmbeddedBroker) -> AsyncIterator[Service]:
    """A running audit sink."""
    service, stop = Service("audit-sink", settings_of(broker), wire), asyncio.Event()
    task = asyncio.create_task(service.run(stop))
    await asyncio.wait_for(service.wait_ready(), 10)
    try:
        yield service
    finally:
        stop.set()
        await task


def report(broker: EmbeddedBroker) -> Report:
    with open_reader(settings_of(broker)) as reader:
        return verify(reader.database, public_key(broker.state), reader.keys)


async def recorded(broker: EmbeddedBroker, count: int) -> Report:
    """Wait until so many events are in the tree."""
    async with asyncio.timeout(20):
        while True:
            if store_file(broker.state).is_file():
                found = await asyncio.to_thread(report, broker)
                if found.covered >= count:
                    return found
            await asyncio.sleep(0.05)  # a file offers no event to wait for


async def log_requests(broker: EmbeddedBroker, count: int) -> None:
    await submit(broker, *(a_request(f"question {number}") for number in range(count)))


async def purge(broker: EmbeddedBroker, **what: int) -> None:
    async with connected(broker, PROVISIONER) as client:
        done = await call(client, "$JS.API.STREAM.PURGE.EV", what)
    assert done["success"]


async def test_what_left_the_log_before_it_was_read_is_put_on_record(
    fresh_broker: EmbeddedBroker,
) -> None:
    await log_requests(fresh_broker, 10)
    async with connected(fresh_broker, PROVISIONER) as client:
        for sequence in (1, 2, 5):
            await call(client, "$JS.API.STREAM.MSG.DELETE.EV", {"seq": sequence})
    async with sink(fresh_broker):
        found = await recorded(fresh_broker, 10)
    assert (found.ok, found.events, found.lost) == (True, 10, (1, 2, 5))


async def test_a_log_purged_to_its_end_is_noticed_too(fresh_broker: EmbeddedBroker) -> None:
    await log_requests(fresh_broker, 300)
    await purge(fresh_broker)
    before = gaps.LOST._value.get()
    async with sink(fresh_broker):
        found = await recorded(fresh_broker, 300)
        assert len(found.lost) == 300
        assert gaps.LOST._value.get() - before == 300
        await log_requests(fresh_broker, 5)
        found = await recorded(fresh_broker, 305)
    assert (found.ok, len(found.lost)) == (True, 300)


async def test_a_store_restored_from_an_older_copy_is_filled_from_the_log(
    fresh_broker: EmbeddedBroker,
) -> None:
    folder = store_file(fresh_broker.state).parent
    await log_requests(fresh_broker, 5)
    async with sink(fresh_broker):
        await recorded(fresh_broker, 5)
    shutil.copytree(folder, folder.with_name("older"))
    await log_requests(fresh_broker, 20)
    async with sink(fresh_broker):
        await recorded(fresh_broker, 25)
    shutil.rmtree(folder)
    folder.with_name("older").rename(folder)
    async with sink(fresh_broker):
        found = await recorded(fresh_broker, 25)
    assert (found.ok, found.events, found.lost) == (True, 25, ())


async def test_another_log_than_the_recorded_one_is_not_served(
    fresh_broker: EmbeddedBroker,
) -> None:
    await log_requests(fresh_broker, 5)
    async with sink(fresh_broker):
        await recorded(fresh_broker, 5)
    async with connected(fresh_broker, PROVISIONER) as client:
        info = await call(client, "$JS.API.STREAM.INFO.EV")
        consumer = await call(client, "$JS.API.CONSUMER.INFO.EV.audit-sink")
        await call(client, "$JS.API.STREAM.DELETE.EV")
        await call(client, "$JS.API.STREAM.CREATE.EV", info["config"])
        order = {"stream_name": "EV", "config": consumer["config"], "action": "create"}
        await call(client, "$JS.API.CONSUMER.CREATE.EV.audit-sink", order)
    async with sink(fresh_broker) as service, asyncio.timeout(10):
        said = ""
        while "another log" not in said:
            said = await ready(service)
            await asyncio.sleep(0.05)  # as a probe would
    assert "503" in said


async def ready(service: Service) -> str:
    """What `/ready` says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.http_port)
    writer.write(b"GET /ready HTTP/1.1\r\nHost: here\r\n\r\n")
    body = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return body


async def test_kill_9_records_every_event_once(fresh_broker: EmbeddedBroker) -> None:
    environment = {
        **os.environ,
        "INTERLOCK_STATE": str(fresh_broker.state),
        "INTERLOCK_NATS_URL": fresh_broker.url,
    }
    command = [sys.executable, "-m", "interlock.audit_sink"]
    total = 0
    for _ in range(4):
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        await log_requests(fresh_broker, 150)
        total += 150
        await recorded(fresh_broker, total - 100)
        process.kill()
        await process.wait()
    async with sink(fresh_broker):
        found = await recorded(fresh_broker, total)
    assert (found.ok, found.events, found.lost) == (True, total, ())
