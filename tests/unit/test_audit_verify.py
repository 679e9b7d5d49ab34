"""Verification finds every change, whoever made it, as long as he has not the key."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.audit import KEY, files, record

from interlock.audit_sink.checkpoint import (
    Checkpoint,
    CheckpointInvalid,
    open_note,
    sign,
)
from interlock.audit_sink.database import SqliteDatabase
from interlock.audit_sink.merkle import CompactRange
from interlock.audit_sink.schema import READABLE
from interlock.audit_sink.sealing import record_leaf
from interlock.audit_sink.verify import Report, verify

SIZE = 12
COLUMNS = ("version", *READABLE, "commitment", "seal")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of 12 records in three transactions."""
    folder = tmp_path_factory.mktemp("audit")
    with closing(files(folder).store()) as store:
        for first in (1, 5, 9):
            store.append([record(n, f"body {n}".encode()) for n in range(first, first + 4)])
    return folder


class Attacker:
    """Somebody who can write the file: no trigger holds him, and he knows how leaves are made."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path)
        for (name,) in self.connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            self.run(f"DROP TRIGGER {name}")

    def run(self, statement: str, *parameters: Any) -> None:
        self.connection.execute(statement, parameters)

    def fix_leaves(self) -> None:
        """Make every record agree with its own leaf hash again."""
        rows = self.connection.execute(
            f"SELECT sequence, commitment, seal, {', '.join(READABLE)} FROM events"
        ).fetchall()
        for sequence, commitment, seal, *texts in rows:
            leaf = record_leaf(sequence, [text.encode() for text in texts], commitment, seal)
            self.run("UPDATE events SET leaf = ? WHERE sequence = ?", leaf, sequence)

    def insert(self, number: int, like: int = 1) -> None:
        """A record of his own, made of another one."""
        rest = ", ".join((*COLUMNS, "leaf", "payload"))
        self.run(
            f"INSERT INTO events (sequence, {rest}) "
            f"SELECT ?, {rest} FROM events WHERE sequence = ?",
            number,
            like,
        )


def attacked(honest: Path, attack: Callable[[Attacker], None], **options: Any) -> Report:
    shutil.copy(honest / "audit.db", honest / "attacked.db")
    attacker = Attacker(honest / "attacked.db")
    with closing(attacker.connection):
        attack(attacker)
        attacker.connection.commit()
    return files(honest, "attacked.db").verify(**options)


def found(report: Report) -> list[tuple[str, int, int]]:
    return [(finding.kind, finding.first, finding.last) for finding in report.findings]


def test_an_untouched_store_is_fine(honest: Path) -> None:
    report = files(honest).verify()
    assert report.ok
    assert (report.events, report.covered, report.checkpoints) == (SIZE, SIZE, 3)
    assert attacked(honest, lambda _: None) == report


numbers = st.integers(1, SIZE)
anyway = settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@anyway
@given(
    number=numbers,
    column=st.sampled_from([*COLUMNS, "leaf", "payload"]),
    clever=st.booleans(),
    sealed=st.booleans(),
)
def test_a_change_is_found(
    honest: Path, number: int, column: str, clever: bool, sealed: bool
) -> None:
    """Whoever verifies has the keys, or nothing but the public one."""

    def attack(by: Attacker) -> None:
        value = {"version": 1, "facets": '{"tool":["refund"]}'}.get(column, "forged")
        value = b"forged" if column in ("commitment", "seal", "leaf", "payload") else value
        by.run(f"UPDATE events SET {column} = ? WHERE sequence = ?", value, number)
        if clever:
            by.fix_leaves()

    report = attacked(honest, attack, sealed=sealed)
    if column == "leaf" and clever:
        assert report.ok
        return
    if column == "version":  # a record of before contents were sealed, so he says
        assert report.ok is (number == 1 and sealed)
        assert report.unopened == (number == 1 and sealed)
        return
    first = (number - 1) // 4 * 4 + 1
    whole = {("not_as_signed", first, first + 3)}
    named = {("changed", number, number)}
    also = named | {("index", number, number)}
    if clever and column != "payload":
        assert whole <= set(found(report)) <= whole | also
    elif column == "leaf":
        assert set(found(report)) == whole | named
    else:
        assert named <= set(found(report)) <= also


@anyway
@given(dropped=st.sets(numbers, min_size=1))
def test_a_drop_is_found_and_named(honest: Path, dropped: set[int]) -> None:
    def attack(by: Attacker) -> None:
        for number in dropped:
            by.run("DELETE FROM events WHERE sequence = ?", number)

    findings = found(attacked(honest, attack))
    named = {n for kind, first, last in findings for n in range(first, last + 1)}
    assert named == dropped
    assert {kind for kind, _, _ in findings} == {"dropped"}


@anyway
@given(pair=st.lists(numbers, min_size=2, max_size=2, unique=True), clever=st.booleans())
def test_a_swap_is_found(honest: Path, pair: list[int], clever: bool) -> None:
    def attack(by: Attacker) -> None:
        for old, new in ((pair[0], 99), (pair[1], pair[0]), (99, pair[1])):
            by.run("UPDATE events SET sequence = ? WHERE sequence = ?", new, old)
        if clever:
            by.fix_leaves()

    report = attacked(honest, attack)
    assert {n for kind, n, _ in found(report) if kind == "changed"} == set(pair)
    assert any(kind == "not_as_signed" for kind, _, _ in found(report))


@anyway
@given(number=st.integers(1, SIZE + 3))
def test_an_insertion_is_found(honest: Path, number: int) -> None:
    def attack(by: Attacker) -> None:
        for moved in range(SIZE, number - 1, -1):
            by.run("UPDATE events SET sequence = ? WHERE sequence = ?", moved + 1, moved)
        by.insert(number, like=SIZE + 1 if number == 1 else 1)
        by.fix_leaves()

    kinds = {kind for kind, _, _ in found(attacked(honest, attack, sealed=True))}
    if number <= SIZE:
        assert kinds == {"not_as_signed", "not_signed"}
    else:
        assert kinds == {"not_signed" if number == SIZE + 1 else "missing"}


@pytest.mark.parametrize("number", [0, -1])
def test_a_record_before_the_first_is_found(honest: Path, number: int) -> None:
    def attack(by: Attacker) -> None:
        by.insert(number)

    assert found(attacked(honest, attack)) == [("not_signed", number, number)]


def test_a_store_signed_anew_with_another_key_is_found(honest: Path) -> None:
    def attack(by: Attacker) -> None:
        by.run("UPDATE events SET tenant = 'other' WHERE sequence = 1")
        by.fix_leaves()
        tree = CompactRange()
        for (leaf,) in by.connection.execute("SELECT leaf FROM events ORDER BY sequence"):
            tree.append(leaf)
        note = sign(Checkpoint(tree.size, tree.root()), Ed25519PrivateKey.generate())
        by.run("DELETE FROM checkpoints")
        by.run("INSERT INTO checkpoints VALUES (?,?,?)", tree.size, note, b"")

    assert {kind for kind, _, _ in found(attacked(honest, attack))} == {
        "checkpoint_invalid",
        "not_signed",
    }


def test_a_cut_tail_needs_a_checkpoint_kept_elsewhere(honest: Path) -> None:
    with closing(sqlite3.connect(honest / "audit.db")) as reader:
        (witness,) = reader.execute("SELECT note FROM checkpoints WHERE size = 12").fetchone()

    def attack(by: Attacker) -> None:
        by.run("DELETE FROM events WHERE sequence > 8")
        by.run("DELETE FROM checkpoints WHERE size > 8")

    assert attacked(honest, attack).ok
    assert found(attacked(honest, attack, witness=witness)) == [("dropped", 9, 12)]
    assert files(honest).verify(witness=witness).ok


def test_a_file_that_is_no_store_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with closing(SqliteDatabase(path, writable=False)) as database:
        report = verify(database, KEY.public_key())
    assert [kind for kind, _, _ in found(report)] == ["unreadable"]


def test_a_checkpoint_is_a_signed_note() -> None:
    checkpoint = Checkpoint(1042, bytes(32))
    note = sign(checkpoint, KEY)
    lines = note.split("\n")
    assert lines[:4] == ["interlock/audit", "1042", "A" * 43 + "=", ""]
    assert lines[4].startswith("— interlock/audit ")
    assert open_note(note, KEY.public_key()) == checkpoint
    cosigned = note + "— witness.example/w AAAAAAAA\n"
    assert open_note(cosigned, KEY.public_key()) == checkpoint


@pytest.mark.parametrize(
    "forge",
    [
        lambda note: note.replace("1042", "1043"),
        lambda note: note.replace("interlock/audit\n", "other\n", 1),
        lambda note: note.partition("\n\n")[0] + "\n",
        lambda note: "",
        lambda note: note[:-10] + "\n",
    ],
)
def test_a_forged_checkpoint_is_refused(forge: Callable[[str], str]) -> None:
    note = forge(sign(Checkpoint(1042, bytes(32)), KEY))
    with pytest.raises(CheckpointInvalid):
        open_note(note, KEY.public_key())


def test_a_checkpoint_of_another_log_is_refused() -> None:
    note = sign(Checkpoint(1, bytes(32)), KEY, "other/log")
    with pytest.raises(CheckpointInvalid):
        open_note(note, KEY.public_key())
