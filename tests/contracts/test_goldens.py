"""Every event of the table has a golden example, and the code writes exactly its bytes."""

import base64
import json

import jsonschema_rs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.contracts.goldens import EXAMPLES, golden, golden_event, wire

from interlock_contracts.actions import Confirm, Grant, Review, effect_key
from interlock_contracts.activation import NO_TENANT
from interlock_contracts.answer import FactReply, FactRequest
from interlock_contracts.canonical import digest
from interlock_contracts.event import Event
from interlock_contracts.schema import schemas
from interlock_contracts.table import EVENT, EVENTS

NAMES = [spec.name for spec in EVENTS]


def test_every_event_has_a_golden_and_nothing_else_has() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.json")} == set(NAMES)
    assert {path.stem for path in (EXAMPLES / "wire").glob("*.nats")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_decodes_from_the_file_and_from_the_wire_to_the_same(name: str) -> None:
    event = golden_event(name)
    headers, body = wire(name)
    read = Event.decode(
        str(event.subject), headers, body, logged_at=event.logged_at, sequence=event.sequence
    )
    assert read == event
    assert event.spec is EVENT[name]


@pytest.mark.parametrize("name", NAMES)
def test_encoding_gives_the_golden_bytes(name: str) -> None:
    event = golden_event(name)
    lines = "".join(f"{key}: {value}\r\n" for key, value in event.headers().items())
    encoded = f"NATS/1.0\r\n{lines}\r\n".encode() + event.body()
    assert encoded == (EXAMPLES / "wire" / f"{name}.nats").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_cloudevent_round_trips(name: str) -> None:
    event = golden_event(name)
    assert event.to_cloudevent() == json.loads(event.to_line()) == golden(name)
    assert Event.from_cloudevent(json.dumps(event.to_cloudevent())) == event


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_fits_its_json_schema(name: str) -> None:
    schema = schemas()[name]
    jsonschema_rs.meta.validate(schema)
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    data = golden(name)["data"]
    validator.validate(data)
    assert not validator.is_valid({**data, "surprise": 1})
    for field in schema["required"]:
        assert not validator.is_valid({key: data[key] for key in data if key != field}), field


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_the_event_is_filled_in_some_golden(name: str) -> None:
    """A field that is null or empty in its golden has never been on the wire in a test."""
    empty = {key for key, value in golden(name)["data"].items() if value in (None, [], {}, "")}
    absent_for_a_reason = {
        "route": {"context", "steps", "proposal", "verdict"},
        "declined": {"context", "steps", "proposal", "verdict"},
        "context": {"steps", "proposal", "verdict"},
        "proposal": {"steps", "verdict"},
        "verdict": {"steps"},
        "repair": {"proposal", "verdict"},
        "confirmed": {"note"},
        "result": {"failure"},
        "answer": {"failures"},
        "custody": {"events", "until", "count"},
    }
    assert empty == absent_for_a_reason.get(name, set())


def test_the_goldens_tell_one_story() -> None:
    events = {name: golden_event(name) for name in NAMES}
    ids = {event.id: name for name, event in events.items()}
    assert len(ids) == len(NAMES)
    told = {name: event for name, event in events.items() if event.subject.tenant != NO_TENANT}
    assert set(NAMES) - set(told) == {"activated", "evaluated", "keyring"}
    assert {event.subject.tenant for event in told.values()} == {"acme"}
    document = told["document"]
    own = [one for one in told.values() if not one.spec.shared and one != document]
    assert len({event.subject.request_id for event in own}) == 1
    for name, event in told.items():
        assert (event.cause is None) == (name in ("request", "document"))
        assert event.cause is None or event.cause in ids
    confirm, review, grant = (events[n].data for n in ("confirm", "review", "approved"))
    assert isinstance(confirm, Confirm)
    assert isinstance(review, Review)
    assert isinstance(grant, Grant)
    assert confirm.digest == review.digest == grant.action_digest
    assert grant.arguments_digest == digest(grant.arguments)
    assert grant.effect_key == effect_key("acme", grant.request_id, grant.tool, grant.arguments)


def test_the_golden_grant_is_signed_over_its_signed_bytes() -> None:
    grant = golden_event("approved").data
    assert isinstance(grant, Grant)
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    assert base64.b64encode(key.sign(grant.signed_bytes())).decode() == grant.signature
    changed = grant.model_copy(update={"arguments": {**grant.arguments, "amount_cents": 1}})
    assert changed.signed_bytes() != grant.signed_bytes()


def test_a_fact_question_and_its_answer_round_trip_and_fit_their_schemas() -> None:
    request_id = golden_event("request").subject.request_id
    question = FactRequest(
        tenant="acme", request_id=request_id, tool="get_order", arguments={"order_id": "A-1042"}
    )
    answers = [FactReply(value={"paid_cents": 12990, "weight_kg": 2.0}), FactReply(error="down")]
    validator = jsonschema_rs.validator_for(schemas()["fact-request"])
    validator.validate(json.loads(question.model_dump_json()))
    assert FactRequest.model_validate_json(question.model_dump_json()) == question
    validator = jsonschema_rs.validator_for(schemas()["fact-reply"])
    for answer in answers:
        validator.validate(json.loads(answer.model_dump_json()))
        assert FactReply.model_validate_json(answer.model_dump_json()) == answer
