"""Contents are sealed with a key per person, found by facets, and stores of version 1 move up."""

import base64
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.support.audit import KEY, REQUEST, START, Place, files, message, record

from interlock.audit_sink.checkpoint import Checkpoint, sign
from interlock.audit_sink.errors import AuditError
from interlock.audit_sink.facets import MAX_CHARS
from interlock.audit_sink.ingest import term
from interlock.audit_sink.keys import unread
from interlock.audit_sink.merkle import CompactRange
from interlock.audit_sink.query import Query
from interlock.audit_sink.sealing import (
    SALT_BYTES,
    Content,
    commitment_of,
    record_leaf_v1,
    seal,
    unseal,
)
from interlock.audit_sink.stage import AuditRecord, headers_text, time_text
from interlock.runtime.errors import UserError

SECRET = b"my cat is called Ottoline"
OTHER = "01JD0000000000000000000001"


def asked(sequence: int, user: str, request: str = REQUEST, text: str = "hello") -> AuditRecord:
    data = {"principal": {"user": user, "role": "customer"}, "text": text, "history": []}
    return message(sequence, f"ev.request.acme.{request}.0", data)


def filled(place: Place, *records: AuditRecord) -> None:
    with closing(place.store()) as store:
        store.append(records)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return files(tmp_path)


def test_content_is_nowhere_in_the_file_in_the_clear(place: Place, tmp_path: Path) -> None:
    filled(place, asked(1, "maria", text=SECRET.decode()), record(2, SECRET))
    for file in tmp_path.iterdir():
        for form in (SECRET, base64.b64encode(SECRET), hashlib.sha256(SECRET).digest()):
            assert form not in file.read_bytes()
        assert file.name.startswith("keys") or b"maria" not in file.read_bytes()
    assert [kept.data for kept in place.select()][1] == SECRET


def test_no_hash_of_a_content_can_be_made_by_who_guesses_it() -> None:
    key = AESGCM(bytes(32))
    one, other = (seal(b"{}", SECRET, key, 7) for _ in range(2))
    assert one.commitment != other.commitment
    assert one.payload != other.payload
    content = unseal(one.payload, key, 7)
    assert content is not None
    assert content.data == SECRET
    assert commitment_of(content) == one.commitment
    guess = Content(content.headers, content.data, bytes(SALT_BYTES))
    assert commitment_of(guess) not in (one.commitment, other.commitment)
    assert unseal(one.payload, key, 8) is None
    assert unseal(one.payload, AESGCM(bytes(31) + b"1"), 7) is None


def test_without_the_keys_everything_but_the_content_is_there(place: Place) -> None:
    filled(place, record(1, SECRET))
    with place.reader(sealed=True) as reader:
        (kept,) = reader.by_request(REQUEST)
        assert (kept.state, kept.data, kept.headers) == ("sealed", None, None)
        assert (kept.event, kept.tenant, kept.logged_at) == ("route", "acme", record(1).logged_at)
        with pytest.raises(ValueError, match="sealed"):
            kept.decoded()
        with pytest.raises(UserError, match="key store"):
            list(reader.select(Query(tenant="acme", principal="maria")))
    assert place.verify(sealed=True).ok


def test_everything_of_a_request_is_its_principals(place: Place) -> None:
    answer = message(3, f"ev.answer.acme.{REQUEST}.0", {"text": "hi", "status": "answered"})
    filled(place, asked(1, "maria"), record(2), answer, asked(4, "otto", OTHER))
    filled(place, record(5, request=OTHER), record(6))
    found = {name: place.select(tenant="acme", principal=name) for name in ("maria", "otto")}
    assert [kept.sequence for kept in found["maria"]] == [1, 2, 3, 6]
    assert [kept.sequence for kept in found["otto"]] == [4, 5]
    assert place.select(tenant="globex", principal="maria") == []
    with closing(place.keys()) as keys:
        assert keys.name(found["otto"][0].data_subject) == "otto"


def test_a_case_whose_request_was_never_seen_says_itself_whose_it_is(place: Place) -> None:
    case = {"request": {"principal": {"user": "maria"}}}
    filled(place, message(1, f"ev.route.acme.{REQUEST}.0", case), record(2))
    assert len(place.select(tenant="acme", principal="maria")) == 2


def test_a_running_sink_learns_of_a_destroyed_key(place: Place) -> None:
    """Whoever comes back is somebody new; what is late of the old request is not kept."""
    with closing(place.store()) as store, closing(place.keys()) as elsewhere:
        store.append([asked(1, "maria"), record(2, SECRET)])
        old = elsewhere.pseudonym(("acme", "maria"))
        assert old is not None
        elsewhere.destroy(old, START)
        store.append(
            [record(3, SECRET), asked(4, "maria", OTHER), record(5, SECRET, request=OTHER)]
        )
        store.append([record(2, SECRET), record(3, SECRET)])  # redelivered
        new = elsewhere.pseudonym(("acme", "maria"))
    found = {kept.sequence: (kept.data_subject, kept.data) for kept in place.select()}
    assert found[2] == found[3] == (old, None)
    assert found[5] == (new, SECRET)
    assert new != old
    assert [one.first for one in place.verify().findings] == [3]  # no order to erase stands yet


@pytest.mark.parametrize(
    "body", [{}, [], "x", {"principal": 3}, {"principal": {"user": ["maria"]}}]
)
def test_a_request_that_cannot_be_read_has_a_key_of_its_own(place: Place, body: object) -> None:
    filled(place, message(1, f"ev.request.acme.{REQUEST}.0", body), record(2))
    (pseudonym,) = {kept.data_subject for kept in place.select()}
    with closing(place.keys()) as keys:
        assert keys.pseudonym(("acme", unread(REQUEST))) == pseudonym
        assert keys.name(pseudonym) is None


def test_facets_that_do_not_fit_are_passed_over(place: Place) -> None:
    chunks: list[object] = [
        {"document_id": "a", "version": 3, "digest": None},
        {"document_id": "x" * (MAX_CHARS + 1)},
        {"document_id": "nul\0"},
        "no chunk",
    ]
    subject = f"ev.context.acme.{REQUEST}.0"
    filled(place, message(1, subject, {"context": {"chunks": chunks}}))
    (kept,) = place.select()
    assert kept.facets == {"document": ["a"]}
    assert place.select(document="a") == [kept]


def test_the_index_is_checked_against_the_records(place: Place) -> None:
    subject = f"ev.approved.acme.{REQUEST}.1-0"
    filled(place, *(message(n, f"{subject}.tool{n}", {}) for n in (1, 2, 3)))
    assert [kept.sequence for kept in place.select(tool="tool2")] == [2]
    place.run("DELETE FROM postings WHERE sequence = 2")
    place.run("INSERT INTO postings VALUES (?, 3)", term("tool", "other"))
    found = place.verify(sealed=True).findings
    assert [(one.kind, one.first) for one in found] == [("index", 2), ("index", 3)]


def test_stored_subtrees_are_checked(place: Place) -> None:
    filled(place, *(record(n) for n in range(1, 600)))
    assert place.verify().ok
    place.run("UPDATE nodes SET hash = x'00' WHERE idx = 1 AND level = 8")
    found = place.verify().findings
    assert [(one.kind, one.first, one.last) for one in found] == [("index", 257, 512)]


def test_a_store_of_version_1_moves_up_and_every_old_checkpoint_holds(
    place: Place, tmp_path: Path
) -> None:
    records = [asked(1, "maria"), record(2, SECRET), record(3, SECRET)]
    notes = old_store(tmp_path / "audit.db", records)
    filled(place, record(4), asked(5, "maria", OTHER))
    assert SECRET not in (tmp_path / "audit.db").read_bytes()
    report = place.verify(witness=notes[-1])
    assert (report.ok, report.events, report.covered, report.unopened) == (True, 5, 5, 0)
    assert place.verify(sealed=True).unopened == 3
    assert [kept.data for kept in place.select(tenant="acme", principal="maria")][1] == SECRET
    place.run("DROP TRIGGER events_no_update")
    place.run("UPDATE events SET tenant = 'globex' WHERE sequence = 2")
    assert [one.kind for one in place.verify().findings] == ["changed"]


def test_a_store_of_a_later_version_is_left_alone(place: Place) -> None:
    filled(place, record(1))
    place.run("INSERT INTO schema_version VALUES (99)")
    with pytest.raises(AuditError, match="update it"):
        place.store()
    assert [one.kind for one in place.verify().findings] == ["unreadable"]


def old_store(path: Path, records: list[AuditRecord]) -> list[str]:
    """A store as version 0.1.0 made them; its checkpoints."""
    tree, notes = CompactRange(), []
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE events (sequence INTEGER PRIMARY KEY, subject TEXT NOT NULL, type TEXT "
            "NOT NULL, id TEXT NOT NULL, tenant TEXT NOT NULL, request_id TEXT NOT NULL, logged_at "
            "TEXT NOT NULL, headers TEXT NOT NULL, leaf BLOB NOT NULL, data BLOB NOT NULL) STRICT"
        )
        database.execute("CREATE INDEX events_by_request ON events (request_id)")
        database.execute(
            "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL, "
            "subtrees BLOB NOT NULL) STRICT"
        )
        database.execute(
            "CREATE TRIGGER events_no_delete BEFORE DELETE ON events "
            "BEGIN SELECT RAISE(ABORT, 'append-only'); END"
        )
        for one in records:
            head = (one.subject, one.type, one.id, one.tenant, one.request_id)
            texts = (*head, time_text(one.logged_at))
            headers = headers_text(one.headers)
            encoded = [text.encode() for text in texts]
            leaf = record_leaf_v1(one.sequence, encoded, headers.encode(), one.data)
            row = (one.sequence, *texts, headers, leaf, one.data)
            database.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)", row)
            tree.append(leaf)
            notes.append(sign(Checkpoint(tree.size, tree.root()), KEY))
            kept = (tree.size, notes[-1], b"".join(tree.hashes))
            database.execute("INSERT INTO checkpoints VALUES (?,?,?)", kept)
    return notes
