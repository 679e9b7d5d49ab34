"""Streams and consumers: made once, then compared with what they should be at every start.

A difference that can be mended without losing anything is mended and reported; any other is an
error for a person. Durations are nanoseconds on the wire.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client

from interlock.runtime.broker.topology import (
    LIVE,
    Durable,
    Topology,
    bundle_stream,
    bundle_subject,
    durables,
)
from interlock.runtime.errors import UserError
from interlock_contracts.base import MAX_EVENT_BYTES
from interlock_contracts.table import EVENTS

_NANOSECONDS = 1_000_000_000
_STREAM_NOT_FOUND = 10059
_CONSUMER_NOT_FOUND = 10014

_STREAM_UPDATABLE = frozenset(
    {"subjects", "max_bytes", "num_replicas", "duplicate_window", "max_msg_size", "allow_direct",
     "allow_atomic", "republish"}
)  # fmt: skip
_CONSUMER_UPDATABLE = frozenset({"ack_wait", "max_ack_pending", "max_deliver", "filter_subjects"})


class ProvisionError(UserError):
    """What stands on the broker differs from what should, and cannot simply be changed."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What may differ between installations. Seconds and bytes; -1: no limit."""

    duplicate_window: float = 120.0
    max_bytes: int = -1
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """`ack_wait` in seconds: a message not acknowledged by then is delivered again."""

    ack_wait: float = 30.0
    max_ack_pending: int = 1024


@dataclass(slots=True)
class Report:
    """What provisioning did: names, and for the updated ones each change."""

    created: list[str] = field(default_factory=list)
    updated: dict[str, list[str]] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)


async def provision(
    nc: Client,
    topology: Topology,
    stream: StreamSettings | None = None,
    consumer: ConsumerSettings | None = None,
) -> Report:
    """Make the cell's two streams and its durables what they should be. Idempotent.

    `nc` is connected as the provisioner.

    Raises:
        ProvisionError: something stands that differs and cannot be changed, or the broker
            refused; nothing was overwritten.
    """
    report = Report()
    settings = stream or StreamSettings()
    for config in (stream_config(topology, settings), bundle_config(topology, settings)):
        await _stream(nc, config, report)
    for durable in durables(topology):
        config = consumer_config(durable, consumer or ConsumerSettings())
        await _consumer(nc, topology.stream, config, report)
    return report


def stream_config(topology: Topology, settings: StreamSettings) -> dict[str, Any]:
    """The log's stream: write-once for every publisher, and only for well-formed addresses."""
    return {
        "name": topology.stream,
        "subjects": sorted(spec.subject(topology.cell) for spec in EVENTS),
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": 1,
        "max_msgs": -1,
        "max_age": 0,
        "max_bytes": settings.max_bytes,
        "max_msg_size": MAX_EVENT_BYTES,
        "duplicate_window": round(settings.duplicate_window * _NANOSECONDS),
        "num_replicas": settings.replicas,
        "republish": {"src": f"{topology.cell}.>", "dest": f"{LIVE}.{topology.cell}.>"},
        "allow_direct": True,
        "allow_atomic": True,
        "allow_rollup_hdrs": False,
        "allow_msg_ttl": False,
    }


def bundle_config(topology: Topology, settings: StreamSettings) -> dict[str, Any]:
    """The stream of the bundles: as write-once as the log, and nothing in it is ever deleted."""
    return stream_config(topology, settings) | {
        "name": bundle_stream(topology.cell),
        "subjects": [bundle_subject(topology.cell)],
        "max_bytes": -1,
        "republish": None,
        "allow_atomic": False,
        "deny_delete": True,
        "deny_purge": True,
    }


def consumer_config(durable: Durable, settings: ConsumerSettings) -> dict[str, Any]:
    """A durable pull consumer that delivers again until it is acknowledged."""
    return {
        "name": durable.name,
        "durable_name": durable.name,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "ack_wait": round(settings.ack_wait * _NANOSECONDS),
        "max_ack_pending": -1 if durable.waiting else settings.max_ack_pending,
        "max_deliver": -1,
        "filter_subjects": sorted(durable.filters),
    }


async def _stream(nc: Client, wanted: dict[str, Any], report: Report) -> None:
    name = wanted["name"]
    what = f"stream {name}"
    reply = await _api(nc, f"STREAM.INFO.{name}")
    if _failed(reply, what, absent=_STREAM_NOT_FOUND):
        _failed(await _api(nc, f"STREAM.CREATE.{name}", wanted), what)
        report.created.append(what)
        return
    standing = dict(reply["config"])
    standing["subjects"] = sorted(standing.get("subjects", []))
    changes = _changes(what, standing, wanted, _STREAM_UPDATABLE)
    lost = set(standing["subjects"]) - set(wanted["subjects"])
    if lost:
        # What is on the log under them would no longer be reachable by a publisher or a filter.
        raise ProvisionError(f"{what} also holds {', '.join(sorted(lost))}; nothing was changed")
    if changes:
        update = {**reply["config"], **wanted}
        _failed(await _api(nc, f"STREAM.UPDATE.{name}", update), what)
        report.updated[what] = changes
    else:
        report.unchanged.append(what)


async def _consumer(nc: Client, stream: str, wanted: dict[str, Any], report: Report) -> None:
    name = wanted["name"]
    what = f"consumer {name}"
    reply = await _api(nc, f"CONSUMER.INFO.{stream}.{name}")
    create = f"CONSUMER.CREATE.{stream}.{name}"
    if _failed(reply, what, absent=_CONSUMER_NOT_FOUND):
        order = {"stream_name": stream, "config": wanted, "action": "create"}
        _failed(await _api(nc, create, order), what)
        report.created.append(what)
        return
    standing = dict(reply["config"])
    if "deliver_subject" in standing:
        raise ProvisionError(f"{what} is a push consumer; nothing was changed")
    single = standing.pop("filter_subject", None)
    standing["filter_subjects"] = sorted(standing.get("filter_subjects") or filter(None, [single]))
    changes = _changes(what, standing, wanted, _CONSUMER_UPDATABLE)
    if changes:
        order = {"stream_name": stream, "config": {**standing, **wanted}, "action": "update"}
        _failed(await _api(nc, create, order), what)
        report.updated[what] = changes
    else:
        report.unchanged.append(what)


def _changes(
    what: str, standing: Mapping[str, Any], wanted: Mapping[str, Any], updatable: frozenset[str]
) -> list[str]:
    """The differences, in words; raises `ProvisionError` for one that cannot be mended."""
    differing = {key for key, value in wanted.items() if standing.get(key, _unset(value)) != value}
    words = {key: f"{key}: {standing.get(key)!r} → {wanted[key]!r}" for key in differing}
    fixed = sorted(differing - updatable)
    if fixed:
        told = "; ".join(words[key] for key in fixed)
        raise ProvisionError(f"{what} stands with other settings that stay as they are: {told}")
    return [words[key] for key in sorted(differing)]


def _unset(value: Any) -> Any:
    """What an absent field means: the broker leaves out what is false, zero or empty."""
    return None if value is None else type(value)()


async def _api(nc: Client, call: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    payload = b"" if body is None else json.dumps(body).encode()
    reply = await nc.request(f"$JS.API.{call}", payload, timeout=10)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


def _failed(reply: Mapping[str, Any], what: str, absent: int | None = None) -> bool:
    """Whether it was absent; any other error raises `ProvisionError`."""
    error = reply.get("error")
    if error is None:
        return False
    if absent is not None and error.get("err_code") == absent:
        return True
    raise ProvisionError(f"{what}: {error.get('description', 'refused')} ({error.get('err_code')})")
