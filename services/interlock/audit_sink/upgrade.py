"""Version 1 of the audit store → version 2: contents are sealed, and can be found by facets.

The leaves of version 1 are over the contents themselves; they stay, so that every checkpoint that
was ever signed still holds. Such a record can be checked only by who can unseal it, and its hash
remains one of the bare content after an erasure.
"""

import json
from datetime import datetime

from interlock.audit_sink.database import Database, Row
from interlock.audit_sink.ingest import INSERT_EVENT, INSERT_POSTING, Ingest
from interlock.audit_sink.merkle import CompactRange
from interlock.audit_sink.stage import LOST, AuditRecord, Message, decide

_PAGE = 500
_COLUMNS = "sequence, subject, type, id, tenant, request_id, logged_at, headers, leaf, data"


def upgrade_from_1(database: Database, ingest: Ingest) -> None:
    """Move the records from `events_v1` into `events`, sealed; to be called in a transaction."""
    tree, after = CompactRange(), 0
    while rows := database.execute(
        f"SELECT {_COLUMNS} FROM events_v1 WHERE sequence > ? ORDER BY sequence LIMIT ?",  # noqa: S608
        (after, _PAGE),
    ):
        after = rows[-1][0]
        made = ingest.rows([_record(row) for row in rows])
        events = [_kept(new, old) for new, old in zip(made.events, rows, strict=True)]
        database.many(INSERT_EVENT, events)
        database.many(INSERT_POSTING, made.postings)
        for row in rows:
            if row[0] == tree.size + 1:
                database.many("INSERT INTO nodes VALUES (?,?,?)", tree.append(row[8]))


def _record(row: Row) -> AuditRecord:
    sequence, subject, type_, _, _, _, logged_at, headers, _, data = row
    moment = datetime.fromisoformat(logged_at)
    record = decide(Message(subject, json.loads(headers), data, sequence, moment))
    if type_ != LOST:
        return record
    return AuditRecord(sequence, "", LOST, "", "", "", "", moment, {}, b"")


def _kept(new: Row, old: Row) -> Row:
    """The new row with what the old leaf covers, as it was, and that leaf."""
    sequence, subject, type_, id_, tenant, request_id, logged_at, _, leaf, _ = old
    cause, data_subject, facets, commitment, seal, payload = (
        new[5], new[9], new[10], new[11], new[12], new[14],
    )  # fmt: skip
    return (
        sequence, 1, subject, type_, id_, cause, tenant, request_id, logged_at, data_subject,
        facets, commitment, seal, leaf, payload,
    )  # fmt: skip
