"""The tables of the audit store and of the key store, their versions, and the way up.

A store says its version in `schema_version`; opening one that is older brings it up to date in one
transaction. A version number is never used twice.
"""

from collections.abc import Callable

from interlock.audit_sink.database import Database
from interlock.audit_sink.errors import AuditError

AUDIT_VERSION = 2

READABLE = (
    "subject", "type", "id", "cause", "tenant", "request_id", "logged_at", "data_subject", "facets",
)  # fmt: skip
"""The text columns of a record that stay readable, in the order in which its leaf covers them."""

_AUDIT = """
CREATE TABLE events (
  sequence BIGINT PRIMARY KEY, version INT NOT NULL,
  subject TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, cause TEXT NOT NULL,
  tenant TEXT NOT NULL, request_id TEXT NOT NULL, logged_at TEXT NOT NULL,
  data_subject TEXT NOT NULL, facets TEXT NOT NULL,
  commitment BYTEA NOT NULL, seal BYTEA NOT NULL, leaf BYTEA NOT NULL, payload BYTEA
){strict};
CREATE INDEX events_by_request ON events (request_id, sequence);
CREATE INDEX events_by_tenant ON events (tenant, sequence);
CREATE INDEX events_by_data_subject ON events (data_subject, sequence);
CREATE INDEX events_by_time ON events (logged_at);
CREATE TABLE postings (
  term BIGINT NOT NULL, sequence BIGINT NOT NULL, PRIMARY KEY (term, sequence)
){clustered};
CREATE TABLE nodes (
  level INT NOT NULL, idx BIGINT NOT NULL, hash BYTEA NOT NULL, PRIMARY KEY (level, idx)
){clustered};
"""

_CHECKPOINTS = """
CREATE TABLE checkpoints (
  size BIGINT PRIMARY KEY, note TEXT NOT NULL, subtrees BYTEA NOT NULL
){strict};
"""

_KEYS = """
CREATE TABLE subjects (
  pseudonym TEXT PRIMARY KEY, tenant TEXT NOT NULL, name TEXT, key BYTEA,
  made_at TEXT NOT NULL, destroyed_at TEXT
){strict};
CREATE UNIQUE INDEX subjects_by_name ON subjects (tenant, name) WHERE destroyed_at IS NULL;
CREATE TABLE destructions (one INT PRIMARY KEY, number BIGINT NOT NULL){strict};
INSERT INTO destructions VALUES (1, 0);
"""

# The triggers stop mistakes and honest tools; who can drop them is caught by the tree. In SQLite
# INSERT needs one too: INSERT OR REPLACE deletes without firing the trigger for DELETE. The one
# change that a record allows is that its payload goes.
_SQLITE_TRIGGERS = """
CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {unless}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}
WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key})
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
"""

_POSTGRES_TRIGGERS = """
CREATE OR REPLACE FUNCTION interlock_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$;
CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} FOR EACH ROW {unless}
EXECUTE FUNCTION interlock_append_only();
CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} FOR EACH ROW
EXECUTE FUNCTION interlock_append_only();
CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
EXECUTE FUNCTION interlock_append_only();
"""

_FIXED = ("sequence", "version", *READABLE, "commitment", "seal", "leaf")


def _triggers(database: Database, table: str, key: str, unless: str = "") -> str:
    form = _SQLITE_TRIGGERS if database.dialect == "sqlite" else _POSTGRES_TRIGGERS
    return form.format(table=table, key=key, unless=unless)


def _adapted(database: Database, sql: str) -> str:
    if database.dialect == "postgres":
        return sql.format(clustered="", strict="")
    # In SQLite only a key declared INTEGER is the row's own number.
    sql = sql.format(clustered=" WITHOUT ROWID, STRICT", strict=" STRICT")
    return sql.replace("BYTEA", "BLOB").replace("BIGINT", "INTEGER")


def version_of(database: Database) -> int:
    """The version of what stands; 0: nothing, 1: an audit store of before versions."""
    if "schema_version" in _tables(database):
        return int(database.execute("SELECT max(version) FROM schema_version")[0][0])
    return 1 if "events" in _tables(database) else 0


def _tables(database: Database) -> set[str]:
    source = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if database.dialect == "sqlite"
        else "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    )
    return {name for (name,) in database.execute(source)}


def prepare_keys(database: Database) -> None:
    """Make the tables of the key store where they are missing."""
    _prepare(database, 1, lambda: database.script(_adapted(database, _KEYS)), {})


def prepare_audit(database: Database, upgrade: Callable[[], None]) -> None:
    """Make the tables of the audit store, or bring them up to date.

    `upgrade` moves the records of version 1 from `events_v1` to `events`.

    Raises:
        AuditError: the store is of a later version than this program knows.
    """

    def make() -> None:
        database.script(_adapted(database, _CHECKPOINTS + _AUDIT))
        database.script(_audit_triggers(database) + _triggers(database, "checkpoints", "size"))

    def from_1() -> None:
        for name in ("no_update", "no_delete", "no_replace"):
            database.execute(f"DROP TRIGGER IF EXISTS events_{name}")
        for index in ("request", "tenant"):
            database.execute(f"DROP INDEX IF EXISTS events_by_{index}")
        database.execute("ALTER TABLE events RENAME TO events_v1")
        database.script(_adapted(database, _AUDIT))
        upgrade()
        database.execute("DROP TABLE events_v1")
        database.script(_audit_triggers(database))

    _prepare(database, AUDIT_VERSION, make, {1: from_1})


def _audit_triggers(database: Database) -> str:
    unlike = "IS NOT" if database.dialect == "sqlite" else "IS DISTINCT FROM"
    changed = " OR ".join(f"NEW.{name} {unlike} OLD.{name}" for name in _FIXED)
    unless = f"WHEN (NEW.payload IS NOT NULL OR {changed})"
    return _triggers(database, "events", "sequence", unless)


def _prepare(
    database: Database,
    version: int,
    make: Callable[[], None],
    steps: dict[int, Callable[[], None]],
) -> None:
    if version_of(database) == version:
        return
    with database.transaction():
        found = version_of(database)  # another process may have been first
        if found > version:
            raise AuditError(
                f"the store is of version {found}, this program knows {version}: update it"
            )
        if found == version:
            return
        for number in range(found, version) if found else ():
            steps[number]()
        if not found:
            make()
        if "schema_version" not in _tables(database):
            database.execute("CREATE TABLE schema_version (version INT PRIMARY KEY)")
        database.execute("INSERT INTO schema_version VALUES (?)", (version,))
