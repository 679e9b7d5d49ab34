"""The scenes about the record: one request replayed, the audit log verified."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from interlock.audit_sink.database import SqliteDatabase
from interlock.audit_sink.places import public_key, store_file
from interlock.audit_sink.verify import Report, verify
from interlock.cli.demo.scene import Scene
from interlock.cli.demo.world import DidNotHappen, World, until
from interlock.replay.verify import verify_request
from interlock.runtime.broker.topology import stream_name
from interlock.runtime.wiring import bundles_of
from interlock_contracts.actions import Grant
from interlock_contracts.event import Event


async def replayed(world: World, scene: Scene) -> None:
    """Every stage of the reviewed refund again, then of a copy of its log in which one lied."""
    if "reviewed" not in world.asked:
        raise DidNotHappen("the reviewed refund, which is replayed here")
    request_id = world.asked["reviewed"]
    scene.requests.append(request_id)
    bundles = bundles_of(world.settings)
    events = await world.events(request_id)
    before = world.books.refunds()
    world.progress("every stage runs again over what is recorded")
    found = await verify_request(events, bundles)
    after = world.books.refunds()
    scene.tell("replay", f"the refund of scene 3, its {found.events} events, stage by stage")
    scene.check(
        "one request replayed: identical, without model, shop or broker",
        found.identical and not found.pending and found.reproduced > 0 and before == after,
        f"{found.reproduced} outputs came out identical, "
        f"{len(found.accepted)} taken as recorded, {len(found.divergences)} differ; "
        f"refunds in the shop database: {len(before)} → {len(after)}",
    )
    lied = await verify_request([_forged(event) for event in events], bundles)
    said = str(lied.first) if lied.first is not None else "nothing"
    scene.tell("forged", said)
    scene.check(
        "a grant that was forged on the log is found and named",
        lied.first is not None and ".approved." in lied.first.subject,
        f"first divergence: {lied.first.subject} {lied.first.pointer}" if lied.first else said,
    )


def _forged(event: Event) -> Event:
    """The event; of a grant, one that says another amount."""
    if not isinstance(event.data, Grant):
        return event
    arguments = {**event.data.arguments, "amount_cents": 90_000}
    return replace(event, data=event.data.model_copy(update={"arguments": arguments}))


async def audited(world: World, scene: Scene) -> None:
    """The audit store against its signatures; then a copy in which one byte is changed."""
    info = await world.operator.jetstream().stream_info(stream_name(world.settings.cell))
    last = info.state.last_seq
    store = store_file(world.settings.state)
    world.progress("waiting for the audit sink to have everything")

    async def whole() -> Report | None:
        report = await asyncio.to_thread(_verified, world.settings.state, store)
        return report if report.events >= last else None

    report = await until("the last event in the audit store", whole)
    scene.tell("verify", f"{report.events} events, {report.checkpoints} signed checkpoints")
    scene.tell("root", report.root)
    scene.check(
        "the audit store holds every event of the log, as signed",
        report.ok and report.covered == report.events == last and not report.lost,
        f"{report.covered} of {last} events under an Ed25519-signed Merkle root; "
        f"findings: {len(report.findings)}",
    )
    copy = store.with_name("changed.sqlite")
    changed = await asyncio.to_thread(_change, store, copy)
    second = await asyncio.to_thread(_verified, world.settings.state, copy)
    said = second.findings[0].message if second.findings else "nothing"
    scene.tell("tampered", f"a copy, one bit of a sealed grant changed: {said}")
    scene.check(
        "one changed record is found and named",
        any(one.kind == "changed" and one.first == changed for one in second.findings),
        f"record {changed} of a copy changed; verify: {said}",
    )


def _change(store: Path, copy: Path) -> int:
    """Copy the store and change one record of the copy; its sequence."""
    with (
        closing(sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        target.execute("DROP TRIGGER events_no_update")
        (sequence, payload) = target.execute(
            "SELECT sequence, payload FROM events WHERE subject LIKE '%.approved.%' "
            "ORDER BY sequence LIMIT 1"
        ).fetchone()
        forged = payload[:-1] + bytes([payload[-1] ^ 1])
        target.execute("UPDATE events SET payload = ? WHERE sequence = ?", (forged, sequence))
        target.commit()
    return int(sequence)


def _verified(state: Path, store: Path) -> Report:
    """Check a store with nothing but the public key."""
    with closing(SqliteDatabase(store, writable=False)) as database:
        return verify(database, public_key(state))
