"""The embedded broker's life: start, crash, restart, orphans; and its files."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.broker import TOPOLOGY, call, connected

from interlock.runtime.broker.config import Listen, write_broker_files
from interlock.runtime.broker.connect import BrokerUnreachable, connect
from interlock.runtime.broker.credentials import ensure_credentials, load_credential
from interlock.runtime.broker.permissions import users
from interlock.runtime.broker.server import BrokerError, EmbeddedBroker
from interlock.runtime.broker.topology import Topology
from interlock.runtime.errors import UserError
from interlock_contracts.ids import new_request_id

OWNER = """
import asyncio, pathlib, sys
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.broker.topology import Topology

async def main():
    broker = EmbeddedBroker(pathlib.Path(sys.argv[1]), Topology())
    await broker.start()
    print(broker.pid, broker.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_kill_of_the_broker_loses_nothing_and_it_comes_back_on_its_port(
    fresh_broker: EmbeddedBroker,
) -> None:
    subject = f"ev.request.acme.{new_request_id()}.0"
    first, url = fresh_broker.pid, fresh_broker.url
    async with connected(fresh_broker, "producer-acme") as acme:
        await call(acme, subject, {"n": 1})
        await fresh_broker.kill()
        await fresh_broker.ready()
        assert fresh_broker.pid != first
        assert fresh_broker.url == url
        async with connected(fresh_broker, "producer-acme") as again:
            found = await again.request(f"$JS.API.DIRECT.GET.EV.{subject}")
    assert found.data == b'{"n": 1}'


async def test_a_client_reconnects_by_itself(fresh_broker: EmbeddedBroker) -> None:
    back = asyncio.Event()

    async def reconnected() -> None:
        back.set()

    client = await connect(
        fresh_broker.url,
        fresh_broker.credential("generator"),
        name="test",
        reconnected_cb=reconnected,
    )
    try:
        await fresh_broker.kill()
        async with asyncio.timeout(10):
            await back.wait()
        assert (await call(client, "$JS.API.CONSUMER.INFO.EV.generator"))["name"] == "generator"
    finally:
        await client.close()


async def test_a_broker_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path, Topology(), restarts=1)
    await broker.start()
    try:
        await broker.kill()
        await broker.ready()
        assert not broker.failed.is_set()
        await broker.kill()
        async with asyncio.timeout(10):
            await broker.failed.wait()
    finally:
        await broker.stop()


async def test_a_second_start_on_the_same_state_is_refused(fresh_broker: EmbeddedBroker) -> None:
    second = EmbeddedBroker(fresh_broker.state, TOPOLOGY)
    with pytest.raises(BrokerError, match=f"process {os.getpid()} already runs the broker"):
        await second.start()
    await second.stop()
    async with connected(fresh_broker, "operator"):
        """The first one is unharmed."""


async def test_stop_leaves_no_process_and_a_new_start_takes_the_same_port(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path, Topology())
    await broker.start()
    pid, url = broker.pid, broker.url
    await broker.stop()
    assert not alive(pid)
    await broker.stop()
    later = EmbeddedBroker(tmp_path, Topology())
    await later.start()
    try:
        assert later.url == url
    finally:
        await later.stop()


async def test_the_orphan_of_a_killed_owner_is_replaced(tmp_path: Path) -> None:
    owner = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pid, url = (await asyncio.to_thread(owner.stdout.readline)).split()
    with pytest.raises(BrokerError, match=f"process {owner.pid} already runs"):
        await EmbeddedBroker(tmp_path, Topology()).start()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert alive(int(pid))
    broker = EmbeddedBroker(tmp_path, Topology())
    await broker.start()
    try:
        assert not alive(int(pid))
        assert broker.url == url
        async with connected(broker, "operator"):
            """It serves."""
    finally:
        await broker.stop()


async def test_a_stale_pid_file_is_no_obstacle(tmp_path: Path) -> None:
    """The pid may by now be anybody's; only a held lock means a broker."""
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "server.pid").write_text(f"{os.getpid()}\n")
    broker = EmbeddedBroker(tmp_path, Topology())
    await broker.start()
    await broker.stop()


async def test_a_taken_port_is_told(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    port = int(fresh_broker.url.rpartition(":")[2])
    with pytest.raises(BrokerError, match="address already in use"):
        await EmbeddedBroker(tmp_path / "other", Topology(), port=port).start()


async def test_nobody_there_is_told_in_time(tmp_path: Path) -> None:
    credential = ensure_credentials(tmp_path, ["generator"])["generator"]
    before = time.monotonic()
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
        await connect("nats://127.0.0.1:1", credential, name="test", wait=0.5)
    assert time.monotonic() - before < 5


def test_credentials_are_made_once_private_and_hidden(tmp_path: Path) -> None:
    first = ensure_credentials(tmp_path, ["generator"])["generator"]
    path = tmp_path / "credentials" / "generator.nk"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert ensure_credentials(tmp_path, ["generator", "retriever"])["generator"] == first
    assert load_credential(path) == first
    assert first.seed not in repr(first)
    assert [file.name for file in path.parent.glob(".*")] == []


@pytest.mark.parametrize("content", ["", "SUnonsense", "not ascii: é", "SAAAA"])
def test_a_broken_credential_is_one_clear_line_without_the_seed(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "generator.nk"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"generator\.nk") as told:
        load_credential(path)
    assert not content or content not in str(told.value)


def test_a_missing_credential_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no credential"):
        load_credential(tmp_path / "generator.nk")


def test_files_for_a_broker_run_by_others_hold_public_keys_only(tmp_path: Path) -> None:
    path = write_broker_files(tmp_path, TOPOLOGY, Listen("0.0.0.0", 4222, 8222))
    text = path.read_text()
    config = json.loads(text)
    assert config["jetstream"] == {"store_dir": "/data", "sync_interval": "always"}
    assert config["max_payload"] == 2 * 1024 * 1024
    for user in users(TOPOLOGY):
        credential = load_credential(tmp_path / "credentials" / f"{user.name}.nk")
        assert credential.public_key in text
        assert credential.seed not in text
    assert write_broker_files(tmp_path, TOPOLOGY).read_text() == text
