"""Provisioning: idempotent, mends what can be mended, and overwrites nothing in silence."""

from typing import Any

import pytest
from tests.support.broker import TOPOLOGY, call, connected

from interlock.runtime.broker.permissions import PROVISIONER
from interlock.runtime.broker.provision import (
    ConsumerSettings,
    ProvisionError,
    StreamSettings,
    provision,
)
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.broker.topology import Topology, durables
from interlock_contracts.table import EVENTS, SERVICES

STREAM = TOPOLOGY.stream


def test_every_service_consumes_what_the_table_says_and_only_its_own_retries() -> None:
    found = {durable.name: durable.filters for durable in durables(TOPOLOGY)}
    assert set(found) == {*SERVICES, "executor-mailer", "contract-validator-expiry"}
    assert found["contract-validator"] == (
        "ev.proposal.*.*.*",
        "ev.confirmed.*.*.*",
        "ev.reviewed.*.*.*.*",
        "ev.retry.*.*.*.contract-validator",
    )
    assert found["contract-validator-expiry"] == (
        "ev.answer_review.*.*.*",
        "ev.confirm.*.*.*",
        "ev.review.*.*.*",
    )
    assert found["generator"] == (
        "ev.context.*.*.*",
        "ev.repair.*.*.*",
        "ev.result.*.*.*.*",
        "ev.retry.*.*.*.generator",
    )
    assert found["tool-executor"] == (
        "ev.approved.*.*.*.create_refund",
        "ev.approved.*.*.*.order_status",
        "ev.retry.*.*.*.tool-executor",
    )
    assert found["executor-mailer"] == (
        "ev.approved.*.*.*.send_mail",
        "ev.retry.*.*.*.executor-mailer",
    )
    assert found["audit-sink"] == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"executors": {"mailer": ("send_mail",)}},
        {"executors": {"mailer": ("send_mail",)}, "tools": ("send_mail",)},
        {"executors": {"mailer": ()}, "tools": ("create_refund",)},
        {"tenants": ("ac.me",)},
        {"tenants": ("*",)},
        {"cell": "EV"},
    ],
)
def test_a_topology_that_would_mix_things_up_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"executor|token|lower case"):
        Topology(**wrong)


async def test_provisioning_again_changes_nothing(fresh_broker: EmbeddedBroker) -> None:
    async with connected(fresh_broker, PROVISIONER) as nc:
        report = await provision(nc, TOPOLOGY)
        assert (report.created, report.updated) == ([], {})
        assert len(report.unchanged) == 2 + len(durables(TOPOLOGY))
        config = (await call(nc, f"$JS.API.STREAM.INFO.{STREAM}"))["config"]
    assert sorted(config["subjects"]) == sorted(spec.subject("ev") for spec in EVENTS)
    assert config["max_msgs_per_subject"] == 1
    assert config["discard_new_per_subject"] is True


async def test_a_new_cell_is_created_beside_the_live_one(fresh_broker: EmbeddedBroker) -> None:
    replay = Topology(cell="rp")
    async with connected(fresh_broker, PROVISIONER) as nc:
        report = await provision(nc, replay)
        assert report.created[0] == "stream RP"
        assert not report.updated
        assert (await provision(nc, TOPOLOGY)).updated == {}


async def test_what_can_be_updated_is_updated_and_reported(fresh_broker: EmbeddedBroker) -> None:
    async with connected(fresh_broker, PROVISIONER) as nc:
        report = await provision(
            nc, TOPOLOGY, StreamSettings(duplicate_window=60), ConsumerSettings(ack_wait=7)
        )
        assert report.updated[f"stream {STREAM}"] == [
            "duplicate_window: 120000000000 → 60000000000"
        ]
        assert report.updated["consumer generator"] == ["ack_wait: 30000000000 → 7000000000"]
        info = await call(nc, f"$JS.API.CONSUMER.INFO.{STREAM}.generator")
        assert info["config"]["ack_wait"] == 7_000_000_000
        again = await provision(
            nc, TOPOLOGY, StreamSettings(duplicate_window=60), ConsumerSettings(ack_wait=7)
        )
        assert again.updated == {}


async def test_a_wrong_filter_is_mended(fresh_broker: EmbeddedBroker) -> None:
    """An existing durable would otherwise keep its old filter in silence."""
    fewer = Topology(tenants=TOPOLOGY.tenants, tools=("create_refund",))
    async with connected(fresh_broker, PROVISIONER) as nc:
        report = await provision(nc, fewer)
        assert list(report.updated) == ["consumer tool-executor"]
        info = await call(nc, f"$JS.API.CONSUMER.INFO.{STREAM}.tool-executor")
    assert "ev.approved.*.*.*.order_status" not in info["config"]["filter_subjects"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_msgs_per_subject": 2}, "max_msgs_per_subject: 2"),
        ({"max_age": 3_600_000_000_000}, "max_age"),
        ({"allow_rollup_hdrs": True}, "allow_rollup_hdrs"),
        ({"subjects": [*(spec.subject("ev") for spec in EVENTS), "ev.more.*"]}, "ev.more"),
    ],
)
async def test_a_stream_that_is_not_the_log_is_left_alone(
    fresh_broker: EmbeddedBroker, change: dict[str, Any], told: str
) -> None:
    async with connected(fresh_broker, PROVISIONER) as nc:
        config = (await call(nc, f"$JS.API.STREAM.INFO.{STREAM}"))["config"]
        changed = await call(nc, f"$JS.API.STREAM.UPDATE.{STREAM}", {**config, **change})
        assert "error" not in changed
        with pytest.raises(ProvisionError, match=told):
            await provision(nc, TOPOLOGY)
        after = (await call(nc, f"$JS.API.STREAM.INFO.{STREAM}"))["config"]
    assert after[next(iter(change))] == changed["config"][next(iter(change))]


async def test_a_consumer_that_acks_otherwise_is_left_alone(fresh_broker: EmbeddedBroker) -> None:
    consumer = f"CONSUMER.CREATE.{STREAM}.generator"
    config = {"name": "generator", "durable_name": "generator", "ack_policy": "none"}
    async with connected(fresh_broker, PROVISIONER) as nc:
        await call(nc, f"$JS.API.CONSUMER.DELETE.{STREAM}.generator")
        order = {"stream_name": STREAM, "config": config, "action": "create"}
        assert "error" not in await call(nc, f"$JS.API.{consumer}", order)
        with pytest.raises(ProvisionError, match="ack_policy: 'none' → 'explicit'"):
            await provision(nc, TOPOLOGY)


async def test_what_the_broker_refuses_is_told(fresh_broker: EmbeddedBroker) -> None:
    async with connected(fresh_broker, PROVISIONER) as nc:
        with pytest.raises(ProvisionError, match=r"stream EV: .*replicas"):
            await provision(nc, TOPOLOGY, StreamSettings(replicas=3))
