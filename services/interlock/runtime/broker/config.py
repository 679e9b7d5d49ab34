"""The configuration of nats-server, generated from the users.

JSON is valid nats-server configuration, so there is no template.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlock.runtime.broker.credentials import ensure_credentials
from interlock.runtime.broker.permissions import User, barrier_subject, covers, users
from interlock.runtime.broker.topology import LIVE, Topology
from interlock_contracts.base import MAX_EVENT_BYTES
from interlock_contracts.table import PREPARE_SUBJECT

LOG_ACCOUNT = "log"
"""The account that holds the streams; every user but the provisioner has one of its own."""

VOID_ACCOUNT = "void"
"""Imported by every account in place of a JetStream API of its own, which would otherwise
answer before the log's does, with "JetStream not enabled for account"."""

CONFIG_FILE = "nats-server.conf"

_STREAMED = re.compile(r"\$JS\.API\.(CONSUMER\.MSG\.NEXT\..*|DIRECT\.GET\.[^.]+)")
"""Requests with more than one answer."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the broker listens and as whom it greets; `http` is the monitoring port, if any."""

    host: str
    port: int
    http: int | None = None
    name: str = "interlock"


def render(
    members: Iterable[User], keys: Mapping[str, str], listen: Listen, store: str
) -> dict[str, Any]:
    """The configuration: `keys` are the public keys by user name, `store` is JetStream's folder.

    Durable means durable: `sync_interval: always` has every acknowledged message on disk.
    """
    members = tuple(members)
    config: dict[str, Any] = {
        "server_name": listen.name,
        "host": listen.host,
        "port": listen.port,
        "max_payload": MAX_EVENT_BYTES,
        "jetstream": {"store_dir": store, "sync_interval": "always"},
        "accounts": _accounts(members, keys),
    }
    if listen.http is not None:
        config["http"] = f"{listen.host}:{listen.http}"
    return config


def _accounts(members: tuple[User, ...], keys: Mapping[str, str]) -> dict[str, Any]:
    accounts: dict[str, Any] = {
        LOG_ACCOUNT: {
            "jetstream": "enabled",
            "users": [_user(user, keys) for user in members if user.trusted],
            "exports": _log_exports(members),
        },
        VOID_ACCOUNT: {"exports": [{"service": f"{VOID_ACCOUNT}.>"}]},
    }
    for user in members:
        if not user.trusted:
            accounts[user.name] = _account(user, members, keys)
    return accounts


def _log_exports(members: tuple[User, ...]) -> list[dict[str, Any]]:
    """What the log's account offers, each subject to the accounts that may use it only."""
    offered: dict[tuple[str, str], list[str]] = {}
    for user in members:
        if user.trusted:
            continue
        for subject in user.publish:
            offered.setdefault(("service", subject), []).append(user.name)
        for subject in user.subscribe:
            offered.setdefault(("stream", f"{LIVE}.{subject}"), []).append(user.name)
    exports: list[dict[str, Any]] = []
    for (kind, subject), accounts in offered.items():
        export: dict[str, Any] = {kind: subject, "accounts": accounts}
        if _STREAMED.fullmatch(subject):
            export["response_type"] = "stream"
        exports.append(export)
    return exports


def _account(user: User, members: tuple[User, ...], keys: Mapping[str, str]) -> dict[str, Any]:
    """One user's account: what it may use is what is imported."""
    imports = [_import("service", LOG_ACCOUNT, subject) for subject in user.publish]
    imports += [
        {**_import("stream", LOG_ACCOUNT, f"{LIVE}.{subject}"), "to": subject}
        for subject in user.subscribe
    ]
    imports.append({**_import("service", VOID_ACCOUNT, f"{VOID_ACCOUNT}.>"), "to": "$JS.API.>"})
    imports += [
        _import("service", other.name, subject)
        for other in members
        for subject in other.answers
        if _asks(user, subject)
    ]
    exports: list[dict[str, Any]] = []
    for subject in user.answers:
        asking = [other.name for other in members if _asks(other, subject)]
        export: dict[str, Any] = {"service": subject, "accounts": asking}
        if subject.split(".")[1] == PREPARE_SUBJECT:  # every instance answers, not only the first
            export["response_type"] = "stream"
        exports.append(export)
    return {"users": [_user(user, keys)], "imports": imports, "exports": exports}


def _asks(user: User, answered: str) -> bool:
    return any(covers(asked, answered) for asked in user.asks)


def _import(kind: str, account: str, subject: str) -> dict[str, Any]:
    return {kind: {"account": account, "subject": subject}}


def _user(user: User, keys: Mapping[str, str]) -> dict[str, Any]:
    """The user and its permissions: the accounts confine it, these make a refusal an error."""
    permissions: dict[str, Any] = {
        "publish": {"allow": [*user.publish, *user.asks, barrier_subject(user.name)]},
        "subscribe": {"allow": [f"{user.inbox}.>", *user.subscribe, *user.answers]},
    }
    if user.answers:
        permissions["allow_responses"] = True
    return {"nkey": keys[user.name], "permissions": permissions}


def write_config(path: Path, state: Path, topology: Topology, listen: Listen, store: str) -> None:
    """Write the configuration to `path`, with credentials below `state` (created if missing)."""
    members = users(topology)
    credentials = ensure_credentials(state, (user.name for user in members))
    keys = {name: credential.public_key for name, credential in credentials.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(render(members, keys, listen, store), indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def write_broker_files(
    folder: Path,
    topology: Topology,
    listen: Listen = Listen("0.0.0.0", 4222, 8222),  # noqa: S104 — immutable; in a container
    store: str = "/data",
) -> Path:
    """Write what a broker run by others needs: `nats-server.conf` and `credentials/`.

    Run it again after a change of tenants or executors: existing credentials are kept. Returns
    the path of the configuration. `store` is JetStream's folder as the broker sees it.
    """
    path = folder / CONFIG_FILE
    write_config(path, folder, topology, listen, store)
    return path
