"""Recordings of models go when the log is told that their requests are erased or have expired."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.broker import connected

from interlock.models.forgetting import Forgetting
from interlock.models.recording import FileRecordings, Recording
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.commit import EXPECT_NEW, Committer
from interlock.runtime.log import JetStreamLog
from interlock_contracts.custody import Custody
from interlock_contracts.ids import new_request_id
from interlock_contracts.request import Principal, Request

NOW = datetime.now(UTC)


def recorded(recordings: FileRecordings, tenant: str = "acme", days: int = 0) -> Request:
    """A request with a recording that is so many days old."""
    request = Request(
        request_id=new_request_id(),
        tenant=tenant,
        principal=Principal(user="ana", role="customer"),
        text="hello",
    )
    said = Recording(provider="p", model="m", prompt="hello", output="", stop_reason="end")
    recordings.put(said, request)
    then = (NOW - timedelta(days=days)).timestamp()
    for file in (recordings.folder / tenant / request.request_id).iterdir():
        os.utime(file, (then, then))
    return request


async def write(broker: EmbeddedBroker, user: str, subject: str, body: bytes) -> None:
    async with connected(broker, user) as client:
        committer = Committer(client)
        await committer.commit_wire([(subject, body, EXPECT_NEW)])
        await committer.close()


async def order(broker: EmbeddedBroker, address: str, **fields: object) -> None:
    said = Custody.model_validate({"by": "ops", **fields})
    await write(broker, "operator", f"ev.custody.{address}", said.model_dump_json().encode())


@pytest.fixture
def recordings(tmp_path: Path) -> FileRecordings:
    return FileRecordings(tmp_path / "recordings")


async def test_what_is_erased_goes_also_when_it_came_late(
    fresh_broker: EmbeddedBroker, recordings: FileRecordings
) -> None:
    erased, kept = recorded(recordings), recorded(recordings)
    elsewhere = recorded(recordings, tenant="globex")
    await order(fresh_broker, f"acme.{erased.request_id}.erased-p1", act="erased")
    await order(fresh_broker, f"acme.{elsewhere.request_id}.erased-p1", act="erased")
    await order(fresh_broker, f"acme.{kept.request_id}.held", act="held")
    async with connected(fresh_broker, "generator") as client:
        forgetting = Forgetting(recordings, JetStreamLog(client, "ev"))
        await forgetting.look()
        left = {("acme", kept.request_id), ("globex", elsewhere.request_id)}
        assert recordings.requests() == left
        said = Recording(provider="p", model="m", prompt="late", output="", stop_reason="end")
        recordings.put(said, erased)
        await forgetting.look()
        assert recordings.requests() == left


async def test_what_expired_goes_and_what_stands_on_the_log_stays(
    fresh_broker: EmbeddedBroker, recordings: FileRecordings
) -> None:
    old, held, young = (recorded(recordings, days=days) for days in (40, 40, 1))
    other = recorded(recordings, tenant="globex", days=40)
    address = f"ev.proposal.acme.{held.request_id}.1"
    await write(fresh_broker, "generator", address, b"{}")
    until = NOW - timedelta(days=30)
    for step, events in (("answers", ("answer",)), ("all", ("answer", "proposal"))):
        async with connected(fresh_broker, "generator") as client:
            await order(
                fresh_broker, f"acme.{new_request_id()}.expired", act="expired", events=events,
                until=until,
            )  # fmt: skip
            await Forgetting(recordings, JetStreamLog(client, "ev")).look()
        gone = {("acme", old.request_id)} if step == "all" else set()
        everything = {(one.tenant, one.request_id) for one in (old, held, young, other)}
        assert recordings.requests() == everything - gone
