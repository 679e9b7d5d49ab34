"""The audit store: every message once, nothing ever taken back."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.audit_sink.appender import Appender
from interlock.audit_sink.checkpoint import CheckpointInvalid
from interlock.audit_sink.query import by_request, by_tenant, timeline
from interlock.audit_sink.stage import AuditRecord, Message, decide, lost
from interlock.audit_sink.store import AuditError, AuditStore, SequenceConflict
from interlock.audit_sink.verify import verify
from interlock.runtime.errors import UserError
from interlock.runtime.keyfile import load_or_create_key

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
START = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = "01JD0000000000000000000000"


def record(sequence: int, body: bytes = b"{}", tenant: str = "acme") -> AuditRecord:
    return decide(
        Message(
            subject=f"ev.route.{tenant}.{REQUEST}.{sequence}",
            headers={"ce-id": f"id-{sequence}", "ce-type": "interlock.route.v1", "ce-cause": "c"},
            body=body,
            sequence=sequence,
            logged_at=START + timedelta(milliseconds=sequence),
        )
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "audit.db"


@pytest.fixture
def store(path: Path) -> Iterator[AuditStore]:
    with closing(AuditStore(path, KEY)) as opened:
        yield opened


def sequences(path: Path) -> list[int]:
    return [kept.sequence for kept in by_tenant(path, "acme")]


def test_a_record_says_what_the_message_says() -> None:
    kept = record(3, b"body")
    assert (kept.type, kept.id, kept.tenant) == ("interlock.route.v1", "id-3", "acme")
    assert (kept.request_id, kept.data, len(kept.leaf)) == (REQUEST, b"body", 32)
    assert AuditRecord.model_validate_json(kept.model_dump_json()) == kept


def test_a_bare_request_gets_the_id_that_follows_from_its_subject() -> None:
    kept = decide(Message(f"ev.request.acme.{REQUEST}.0", {}, b"{}", 1, START))
    assert kept.type == "interlock.request.v1"
    assert len(kept.id) == 26


@pytest.mark.parametrize("subject", ["nonsense", "ev.route.a b.c.0", "", "ev.\udcff.x"])
def test_what_is_no_event_is_kept_all_the_same(store: AuditStore, path: Path, subject: str) -> None:
    kept = decide(Message(subject, {"x": "\udcff"}, b"\x00\xff not JSON", 1, START))
    assert (kept.tenant, kept.request_id) == ("", "")
    store.append([kept])
    assert by_tenant(path, "") == [kept]
    assert verify(path, KEY.public_key()).ok


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "ev.x"},
        {"headers": {"ce-id": "y"}},
        {"body": b"z"},
        {"sequence": 2},
        {"logged_at": START + timedelta(microseconds=1)},
    ],
)
def test_every_part_of_a_message_is_in_the_leaf(change: dict[str, object]) -> None:
    parts: dict[str, object] = {
        "subject": "ev",
        "headers": {"ce-id": "x"},
        "body": b"y",
        "sequence": 1,
        "logged_at": START,
    }
    leaves = {decide(Message(**{**parts, **c})).leaf for c in ({}, change)}  # type: ignore[arg-type]  # by name
    assert len(leaves) == 2


def test_a_redelivery_changes_nothing(store: AuditStore, path: Path) -> None:
    store.append([record(1), record(2), record(1)])
    before = store.checkpoint
    store.append([record(2), record(1)])
    assert store.checkpoint == before
    assert sequences(path) == [1, 2]


def test_another_record_at_the_same_sequence_is_refused_and_so_is_its_batch(
    store: AuditStore, path: Path
) -> None:
    store.append([record(1)])
    with pytest.raises(SequenceConflict) as refused:
        store.append([record(2), record(1, b"forged"), record(3), record(3, b"forged")])
    assert refused.value.sequences == {1, 3}
    assert sequences(path) == [1]
    store.append([record(2)])
    assert verify(path, KEY.public_key()).ok


def test_records_out_of_order_are_signed_when_the_gap_is_filled(
    store: AuditStore, path: Path
) -> None:
    store.append([record(1), record(3)])
    assert (store.checkpoint.size, store.missing) == (1, 2)
    report = verify(path, KEY.public_key())
    assert [(f.kind, f.first, f.last) for f in report.findings] == [("missing", 2, 2)]
    store.append([record(2)])
    assert (store.checkpoint.size, store.missing) == (3, 0)
    assert verify(path, KEY.public_key()).ok


def test_a_message_that_the_stream_lost_is_put_on_record(store: AuditStore, path: Path) -> None:
    store.append([record(1), lost(2, START), record(3)])
    report = verify(path, KEY.public_key())
    assert report.ok
    assert (report.lost, report.covered) == ((2,), 3)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_restart_goes_on_where_it_was(path: Path, at: int) -> None:
    records = [record(n) for n in (1, 2, 4, 3, 5)]
    with closing(AuditStore(path, KEY)) as store:
        store.append(records[:at])
    with closing(AuditStore(path, KEY)) as store:
        store.append(records[at:])
        assert store.checkpoint.size == 5
    report = verify(path, KEY.public_key())
    assert (report.ok, report.covered, report.events) == (True, 5, 5)


def test_two_processes_may_append_to_one_store(path: Path) -> None:
    with closing(AuditStore(path, KEY)) as one, closing(AuditStore(path, KEY)) as other:
        one.append([record(1), record(3)])
        other.append([record(2), record(1)])
        one.append([record(4)])
        other.append([record(4), record(5)])
    assert verify(path, KEY.public_key()).covered == 5


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = x'00' WHERE sequence = 1",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events",
        "UPDATE checkpoints SET size = 9",
        "DELETE FROM checkpoints",
        "INSERT OR REPLACE INTO checkpoints SELECT * FROM checkpoints",
    ],
)
def test_the_file_itself_refuses_to_change_what_is_written(
    store: AuditStore, path: Path, statement: str
) -> None:
    store.append([record(1)])
    with closing(sqlite3.connect(path)) as other, pytest.raises(sqlite3.IntegrityError):
        other.execute(statement)


def test_a_store_signed_by_another_key_is_not_opened(store: AuditStore, path: Path) -> None:
    store.append([record(1)])
    with pytest.raises(CheckpointInvalid):
        AuditStore(path, Ed25519PrivateKey.generate())


def test_a_store_with_a_record_that_nobody_signed_is_not_opened(
    store: AuditStore, path: Path
) -> None:
    store.append([record(1)])
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)", record(2).stored)
    with pytest.raises(AuditError, match="no checkpoint covers"):
        AuditStore(path, KEY)


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "audit.pem"
    key = load_or_create_key(path)
    assert load_or_create_key(path).private_bytes_raw() == key.private_bytes_raw()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["audit.pem"]
    path.chmod(0o640)
    with pytest.raises(UserError, match="read by others"):
        load_or_create_key(path)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(UserError, match="PEM"):
        load_or_create_key(path)


def test_a_request_has_a_timeline(store: AuditStore, path: Path) -> None:
    store.append([record(1), record(2, tenant="globex"), record(3)])
    entries = timeline(path, REQUEST)
    assert [(e.sequence, e.event, e.step, e.after_ms, e.cause) for e in entries] == [
        (1, "route", "1", 0.0, "c"),
        (2, "route", "2", 1.0, "c"),
        (3, "route", "3", 2.0, "c"),
    ]
    assert by_request(path, REQUEST)[0] == record(1)
    assert [kept.sequence for kept in by_tenant(path, "acme", after=1, limit=1)] == [3]
    assert timeline(path, "unknown") == []
    with pytest.raises(UserError, match="no audit store"):
        timeline(path.with_name("other.db"), REQUEST)


class Counting(AuditStore):
    """A store that counts its transactions, and fails when told to."""

    batches: list[int]
    fail = False

    def append(self, records: Sequence[AuditRecord]) -> None:
        if self.fail:
            raise sqlite3.OperationalError("disk full")
        self.batches.append(len(records))
        super().append(records)


@pytest.fixture
def counting(path: Path) -> Counting:
    store = Counting(path, KEY)
    store.batches = []
    return store


async def test_concurrent_appends_share_transactions(counting: Counting, path: Path) -> None:
    appender = Appender(counting, max_batch=40)
    await asyncio.gather(*(appender.append(record(n)) for n in range(1, 101)))
    await appender.aclose()
    assert sum(counting.batches) == 100
    assert len(counting.batches) <= 4
    assert verify(path, KEY.public_key()).covered == 100
    with pytest.raises(AuditError, match="closed"):
        await appender.append(record(101))


async def test_a_refused_record_does_not_harm_those_beside_it(
    counting: Counting, path: Path
) -> None:
    appender = Appender(counting)
    await appender.append(record(1))
    outcomes = await asyncio.gather(
        *(appender.append(r) for r in (record(2), record(1, b"forged"), record(3))),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], SequenceConflict)
    assert [outcomes[0], outcomes[2]] == [None, None]
    await appender.aclose()
    assert sequences(path) == [1, 2, 3]


async def test_what_could_not_be_written_is_not_acknowledged(
    counting: Counting, path: Path
) -> None:
    appender = Appender(counting)
    counting.fail = True
    with pytest.raises(sqlite3.OperationalError):
        await appender.append(record(1))
    counting.fail = False
    await appender.append(record(1))
    await appender.aclose()
    assert sequences(path) == [1]


async def test_close_writes_what_is_queued(counting: Counting, path: Path) -> None:
    appender = Appender(counting)
    pending = [asyncio.create_task(appender.append(record(n))) for n in (1, 2)]
    await asyncio.wait_for(pending[0], 5)
    await appender.aclose()
    await pending[1]
    assert sequences(path) == [1, 2]


KILLED = """
import sys
from pathlib import Path
from interlock.runtime.keyfile import load_or_create_key
from interlock.audit_sink.stage import Message, decide
from interlock.audit_sink.store import AuditStore
from datetime import datetime, UTC
folder = Path(sys.argv[1])
store = AuditStore(folder / "audit.db", load_or_create_key(folder / "key.pem"))
for n in range(1, 10**6):
    store.append([decide(Message(f"ev.route.acme.r.{n}", {}, b"x" * 500, n, datetime.now(UTC)))])
    print(n, flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout as lines:
        for line in lines:
            if int(line) == 30:
                os.kill(process.pid, signal.SIGKILL)
                break
        acknowledged = max([30, *map(int, lines.read().split())])
    report = verify(tmp_path / "audit.db", load_or_create_key(tmp_path / "key.pem").public_key())
    assert report.ok
    assert report.events >= acknowledged
