"""The audit store: every message once, nothing ever taken back."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.audit import KEY, REQUEST, START, Place, files, record

from interlock.audit_sink.appender import Appender
from interlock.audit_sink.checkpoint import CheckpointInvalid
from interlock.audit_sink.errors import AuditError, DatabaseError, SequenceConflict
from interlock.audit_sink.schema import READABLE
from interlock.audit_sink.stage import AuditRecord, Message, decide, lost
from interlock.audit_sink.store import AuditStore
from interlock.runtime.errors import UserError
from interlock.runtime.keyfile import load_or_create_key

REST = ", ".join(("version", *READABLE, "commitment", "seal", "leaf", "payload"))
"""The columns of a record but its sequence."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return files(tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[AuditStore]:
    with closing(place.store()) as opened:
        yield opened


def sequences(place: Place) -> list[int]:
    return [kept.sequence for kept in place.select(tenant="acme")]


def test_a_record_says_what_the_message_says() -> None:
    kept = record(3, b"body")
    assert (kept.type, kept.id, kept.tenant) == ("interlock.route.v1", f"{3:026}", "acme")
    assert (kept.request_id, kept.cause, kept.data) == (REQUEST, "C" * 26, b"body")


def test_a_bare_request_gets_the_id_that_follows_from_its_subject() -> None:
    kept = decide(Message(f"ev.request.acme.{REQUEST}.0", {}, b"{}", 1, START))
    assert kept.type == "interlock.request.v1"
    assert len(kept.id) == 26


def test_what_an_outsider_says_of_itself_is_not_readable_by_all() -> None:
    said = {"ce-id": "maria@example.com", "ce-type": "maria", "x": "maria"}
    kept = decide(Message(f"ev.request.acme.{REQUEST}.0", said, b"{}", 1, START))
    assert (kept.type, len(kept.id)) == ("interlock.request.v1", 26)
    assert kept.headers == said


@pytest.mark.parametrize("subject", ["nonsense", "ev.route.a b.c.0", "", "ev.\udcff.x"])
def test_what_is_no_event_is_kept_all_the_same(
    store: AuditStore, place: Place, subject: str
) -> None:
    kept = decide(Message(subject, {"x": "\udcff"}, b"\x00\xff not JSON", 1, START))
    assert (kept.tenant, kept.request_id) == ("", "")
    store.append([kept])
    (found,) = place.select()
    assert (found.data, found.headers) == (b"\x00\xff not JSON", {"x": "\\udcff"})
    assert place.verify().ok


def test_a_redelivery_changes_nothing(store: AuditStore, place: Place) -> None:
    store.append([record(1), record(2), record(1)])
    before = store.checkpoint
    store.append([record(2), record(1)])
    assert store.checkpoint == before
    assert sequences(place) == [1, 2]


def test_another_record_at_the_same_sequence_is_refused_and_so_is_its_batch(
    store: AuditStore, place: Place
) -> None:
    store.append([record(1)])
    with pytest.raises(SequenceConflict) as refused:
        store.append([record(2), record(1, b"forged"), record(3), record(3, b"forged")])
    assert refused.value.sequences == {1, 3}
    assert sequences(place) == [1]
    store.append([record(2)])
    assert place.verify().ok


def test_records_out_of_order_are_signed_when_the_gap_is_filled(
    store: AuditStore, place: Place
) -> None:
    store.append([record(1), record(3)])
    assert (store.checkpoint.size, list(store.missing)) == (1, [2])
    report = place.verify()
    assert [(f.kind, f.first, f.last) for f in report.findings] == [("missing", 2, 2)]
    store.append([record(2)])
    assert (store.checkpoint.size, list(store.missing)) == (3, [])
    assert place.verify().ok


def test_a_message_that_the_stream_lost_is_put_on_record(store: AuditStore, place: Place) -> None:
    store.append([record(1), lost(2, START), record(3)])
    report = place.verify()
    assert report.ok
    assert (report.lost, report.covered) == ((2,), 3)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_restart_goes_on_where_it_was(place: Place, at: int) -> None:
    records = [record(n) for n in (1, 2, 4, 3, 5)]
    with closing(place.store()) as store:
        store.append(records[:at])
    with closing(place.store()) as store:
        store.append(records[at:])
        assert store.checkpoint.size == 5
    report = place.verify()
    assert (report.ok, report.covered, report.events) == (True, 5, 5)


def test_two_processes_may_append_to_one_store(place: Place) -> None:
    with closing(place.store()) as one, closing(place.store()) as other:
        one.append([record(1), record(3)])
        other.append([record(2), record(1)])
        one.append([record(4)])
        other.append([record(4), record(5)])
    assert place.verify().covered == 5


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = x'00' WHERE sequence = 1",
        "UPDATE events SET payload = NULL, tenant = 'x'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events",
        "UPDATE checkpoints SET size = 9",
        "DELETE FROM checkpoints",
        "INSERT OR REPLACE INTO checkpoints SELECT * FROM checkpoints",
    ],
)
def test_the_file_itself_refuses_to_change_what_is_written(
    store: AuditStore, place: Place, statement: str
) -> None:
    store.append([record(1)])
    with pytest.raises(DatabaseError, match="append-only"):
        place.run(statement)


def test_a_store_signed_by_another_key_is_not_opened(store: AuditStore, place: Place) -> None:
    store.append([record(1)])
    with pytest.raises(CheckpointInvalid):
        place.store(Ed25519PrivateKey.generate())


def test_a_store_with_a_record_that_nobody_signed_is_not_opened(
    store: AuditStore, place: Place
) -> None:
    store.append([record(1)])
    place.run("INSERT INTO events SELECT 2, " + REST + " FROM events WHERE sequence = 1")
    with pytest.raises(AuditError, match="no checkpoint covers"):
        place.store()


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


def test_a_request_has_a_timeline(store: AuditStore, place: Place) -> None:
    store.append([record(1), record(2, tenant="globex"), record(3)])
    with place.reader() as reader:
        entries = reader.timeline(REQUEST)
        assert reader.timeline("unknown") == []
    assert [(e.sequence, e.event, e.step, e.after_ms, e.cause) for e in entries] == [
        (1, "route", "1", 0.0, "C" * 26),
        (2, "route", "2", 1.0, "C" * 26),
        (3, "route", "3", 2.0, "C" * 26),
    ]


class Counting(AuditStore):
    """A store that counts its transactions, and fails when told to."""

    batches: list[int]
    fail = False

    def append(self, records: Sequence[AuditRecord]) -> None:
        if self.fail:
            raise DatabaseError("disk full")
        self.batches.append(len(records))
        super().append(records)


@pytest.fixture
def counting(place: Place) -> Counting:
    store = Counting(place.data(), place.keys(), KEY)
    store.batches = []
    return store


async def test_concurrent_appends_share_transactions(counting: Counting, place: Place) -> None:
    appender = Appender(counting, max_batch=40)
    await asyncio.gather(*(appender.append(record(n)) for n in range(1, 101)))
    await appender.aclose()
    assert sum(counting.batches) == 100
    assert len(counting.batches) <= 4
    assert place.verify().covered == 100
    with pytest.raises(AuditError, match="closed"):
        await appender.append(record(101))


async def test_a_refused_record_does_not_harm_those_beside_it(
    counting: Counting, place: Place
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
    assert sequences(place) == [1, 2, 3]


async def test_what_could_not_be_written_is_not_acknowledged(
    counting: Counting, place: Place
) -> None:
    appender = Appender(counting)
    counting.fail = True
    with pytest.raises(DatabaseError):
        await appender.append(record(1))
    counting.fail = False
    await appender.append(record(1))
    await appender.aclose()
    assert sequences(place) == [1]


async def test_close_writes_what_is_queued(counting: Counting, place: Place) -> None:
    appender = Appender(counting)
    pending = [asyncio.create_task(appender.append(record(n))) for n in (1, 2)]
    await asyncio.wait_for(pending[0], 5)
    await appender.aclose()
    await pending[1]
    assert sequences(place) == [1, 2]


KILLED = """
import sys
from pathlib import Path
from tests.support.audit import files, record
store = files(Path(sys.argv[1])).store()
for n in range(1, 10**6):
    store.append([record(n, b"x" * 500)])
    print(n, flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process, process.stdout as lines:
        for line in lines:
            if int(line) == 30:
                os.kill(process.pid, signal.SIGKILL)
                break
        acknowledged = max([30, *map(int, lines.read().split())])
    report = files(tmp_path).verify()
    assert report.ok
    assert report.events >= acknowledged
