"""One suite for every database behind the audit store; PostgreSQL is a real one."""

from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.support.audit import KEY, REQUEST, START, Place, files, message, postgres, record
from tests.unit import test_audit_sealing as sealing
from tests.unit import test_audit_store as embedded

from interlock.audit_sink.errors import DatabaseError
from interlock.audit_sink.postgres import PostgresDatabase
from interlock.audit_sink.proofs import check_inclusion, prove_inclusion
from interlock.audit_sink.query import Query
from interlock.audit_sink.store import AuditStore
from interlock.runtime.errors import UserError

# pgserver asks for a folder of the desktop session, which a server does not have.
pytestmark = pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR is not set")

# PostgreSQL's driver comes with an extra, which not everybody installs.
PLACES = ["sqlite", *(["postgres"] if find_spec("asyncpg") else [])]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return postgres() if request.param == "postgres" else files(tmp_path)


store = embedded.store
counting = embedded.counting

test_a_redelivery = embedded.test_a_redelivery_changes_nothing
test_a_conflict = embedded.test_another_record_at_the_same_sequence_is_refused_and_so_is_its_batch
test_out_of_order = embedded.test_records_out_of_order_are_signed_when_the_gap_is_filled
test_lost = embedded.test_a_message_that_the_stream_lost_is_put_on_record
test_restart = embedded.test_a_restart_goes_on_where_it_was
test_two_processes = embedded.test_two_processes_may_append_to_one_store
test_another_key = embedded.test_a_store_signed_by_another_key_is_not_opened
test_unsigned = embedded.test_a_store_with_a_record_that_nobody_signed_is_not_opened
test_timeline = embedded.test_a_request_has_a_timeline
test_no_event = embedded.test_what_is_no_event_is_kept_all_the_same
test_group_commit = embedded.test_concurrent_appends_share_transactions
test_refused_beside = embedded.test_a_refused_record_does_not_harm_those_beside_it
test_without_keys = sealing.test_without_the_keys_everything_but_the_content_is_there
test_principals = sealing.test_everything_of_a_request_is_its_principals
test_facets = sealing.test_facets_that_do_not_fit_are_passed_over
test_index = sealing.test_the_index_is_checked_against_the_records
test_later_version = sealing.test_a_store_of_a_later_version_is_left_alone


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = commitment WHERE sequence = 1",
        "UPDATE events SET payload = NULL, tenant = 'x'",
        "DELETE FROM events",
        "UPDATE checkpoints SET size = 9",
        "DELETE FROM checkpoints",
    ],
)
def test_the_database_refuses_to_change_what_is_written(
    store: AuditStore, place: Place, statement: str
) -> None:
    store.append([record(1)])
    with pytest.raises(DatabaseError, match="append-only"):
        place.run(statement)


def test_nor_to_be_emptied_at_once(place: Place, store: AuditStore) -> None:
    store.append([record(1)])
    with pytest.raises(DatabaseError):
        place.run("TRUNCATE events")
    assert place.verify().events == 1


def test_a_destroyed_key_leaves_nothing_readable_and_a_tree_that_verifies(place: Place) -> None:
    asked = {"principal": {"user": "maria"}, "text": "hello"}
    with closing(place.store()) as store:
        store.append([message(1, f"ev.request.acme.{REQUEST}.0", asked), record(2), record(3)])
    with closing(place.keys()) as keys:
        whose = keys.pseudonym(("acme", "maria"))
        assert whose is not None
        keys.destroy(whose, START)
        assert keys.pseudonym(("acme", "maria")) is None
    assert place.verify().ok
    assert {kept.state for kept in place.select()} == {"sealed"}
    place.run("UPDATE events SET payload = NULL WHERE sequence = 2")
    assert [one.kind for one in place.verify().findings] == ["withheld"]


def test_proofs_and_streams_over_many_records(place: Place) -> None:
    with closing(place.store()) as store:
        store.append([record(number) for number in range(1, 1_201)])
    with place.reader() as reader:
        assert check_inclusion(prove_inclusion(reader, 700), KEY.public_key()) is None
        found = reader.select(Query(tenant="acme", after=100))
        assert [next(found).sequence for _ in range(600)] == list(range(101, 701))
        found.close()  # type: ignore[attr-defined]  # a generator
        assert len(list(reader.select(Query(limit=5)))) == 5
    assert place.verify().ok


def test_a_server_that_is_not_there_is_a_clear_error() -> None:
    # Without the driver that is what is said.
    with pytest.raises((DatabaseError, UserError)) as refused:
        PostgresDatabase("postgresql://me:secret@127.0.0.1:1/audit")
    assert "secret" not in str(refused.value)
