"""What the models take and keep: JSON values exactly, times, bytes, subjects, ids."""

import base64
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.contracts.goldens import golden, golden_event, wire
from tests.contracts.test_canonical import VALUES

from interlock_contracts.answer import DeadLetter, FactReply
from interlock_contracts.base import MAX_JSON_DEPTH, MAX_SAFE_INTEGER
from interlock_contracts.event import Event, subject_id
from interlock_contracts.failures import AREA_OF, Failure, FailureArea, FailureCode
from interlock_contracts.ids import event_id, new_request_id
from interlock_contracts.proposal import ToolCall
from interlock_contracts.request import Request
from interlock_contracts.subjects import TOKEN, Subject, as_token, parse_subject
from interlock_contracts.table import EVENT
from interlock_contracts.verdict import violation

TOKENS = st.from_regex(TOKEN, fullmatch=True)


def exact(value: Any) -> str:
    """A text that tells 1 from 1.0 from True, and 0.0 from -0.0."""
    return repr(value)


@given(VALUES)
def test_a_json_value_survives_the_wire_exactly(value: Any) -> None:
    reply = FactReply(value=value)
    assert exact(FactReply.model_validate_json(reply.model_dump_json()).value) == exact(value)


@given(VALUES)
def test_an_event_with_any_json_value_round_trips_both_ways(value: Any) -> None:
    event = golden_event("result")
    data = event.data.model_copy(update={"output": value})
    event = replace(event, data=data, logged_at=None, sequence=None)
    for read in (
        Event.decode(str(event.subject), event.headers(), event.body()),
        Event.from_cloudevent(json.dumps(event.to_cloudevent())),
    ):
        assert read == event
        assert exact(getattr(read.data, "output", ...)) == exact(value)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


NOT_JSON = [
    math.nan, math.inf, -math.inf, MAX_SAFE_INTEGER + 1, -MAX_SAFE_INTEGER - 1, b"bytes", {1, 2},
    (1, 2), object(), datetime(2026, 1, 1, tzinfo=UTC), "\ud800", {"\udc00": 1}, {1: 2},
    {None: 2}, nested(MAX_JSON_DEPTH + 1),
]  # fmt: skip


@pytest.mark.parametrize("value", NOT_JSON, ids=lambda value: type(value).__name__)
def test_what_is_not_json_is_refused(value: Any) -> None:
    for where in (value, [value], {"a": {"b": value}}):
        with pytest.raises(ValidationError):
            FactReply(value=where)
        with pytest.raises(ValidationError):
            ToolCall(tool="t", arguments={"a": where})


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", str(2**53), "[" * 65 + "]" * 65])
def test_json_text_that_cannot_be_kept_exactly_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        FactReply.model_validate_json(f'{{"value":{text}}}')


@pytest.mark.parametrize(
    "value", [MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER, 1e308, -0.0, nested(MAX_JSON_DEPTH), "é😀\x00"]
)
def test_the_edges_of_json_are_accepted(value: Any) -> None:
    reply = FactReply(value=value)
    assert exact(FactReply.model_validate_json(reply.model_dump_json()).value) == exact(value)


@pytest.mark.parametrize(
    "text", ["2026-11-23T09:15:00Z", "2026-11-23T09:15:00.5+02:00", "2026-11-23t09:15:00z"]
)
def test_times_with_an_offset_are_accepted(text: str) -> None:
    body = json.dumps({**golden("request")["data"], "deadline": text})
    request = Request.model_validate_json(body)
    assert request.deadline is not None
    assert request.deadline.utcoffset() is not None
    assert Request.model_validate_json(request.model_dump_json()) == request


def test_in_python_a_time_is_an_aware_datetime() -> None:
    data = golden_event("request").data
    assert isinstance(data, Request)
    fields = {name: getattr(data, name) for name in Request.model_fields}
    summer = datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=2)))
    assert Request(**{**fields, "deadline": summer}).deadline == summer
    for wrong in (datetime(2026, 7, 1), "2026-07-01T00:00:00Z", 1_700_000_000):
        with pytest.raises(ValidationError):
            Request(**{**fields, "deadline": wrong})


@given(st.binary(max_size=300))
def test_a_dead_letter_keeps_its_original_to_the_byte(original: bytes) -> None:
    letter = golden_event("dead").data
    assert isinstance(letter, DeadLetter)
    fields = {name: getattr(letter, name) for name in DeadLetter.model_fields}
    made = DeadLetter(**{**fields, "original": base64.b64encode(original)})
    assert made.original == original
    read = DeadLetter.model_validate_json(made.model_dump_json())
    assert read == made
    assert read.original == original


@pytest.mark.parametrize("raw", [b'{"a":1}', b"ab\ncd", b"a", b"YQ", b"YQ==\n", b"-_-_"])
def test_bytes_that_are_not_base64_are_refused_instead_of_mangled(raw: bytes) -> None:
    letter = golden_event("dead").data
    assert isinstance(letter, DeadLetter)
    fields = {name: getattr(letter, name) for name in DeadLetter.model_fields}
    with pytest.raises(ValidationError):
        DeadLetter(**{**fields, "original": raw})


@given(st.builds(Subject, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS, st.none() | TOKENS))
def test_a_subject_reads_back(subject: Subject) -> None:
    assert parse_subject(str(subject)) == subject


@given(st.text())
def test_any_text_has_a_token(text: str) -> None:
    assert TOKEN.fullmatch(as_token(text))
    assert as_token(as_token(text)) == as_token(text)


@given(st.text(max_size=80))
def test_a_subject_is_five_or_six_tokens_or_refused(text: str) -> None:
    try:
        subject = parse_subject(text)
    except ValueError:
        return
    assert str(subject) == text


def test_ids_are_ulids_and_deterministic() -> None:
    request_ids = {new_request_id() for _ in range(100)}
    assert len(request_ids) == 100
    data = golden("request")["data"]
    for request_id in (*request_ids, event_id("c", "s", "e", "1")):
        assert len(request_id) == 26
    for request_id in request_ids:
        Request.model_validate_json(json.dumps({**data, "request_id": request_id}))
    parts = ["cause", "stage", "event", "step"]
    assert event_id(*parts) == event_id(*parts)
    changed = [[*parts[:place], "other", *parts[place + 1 :]] for place in range(4)]
    others = {event_id(*four) for four in changed}
    assert len(others | {event_id(*parts)}) == 5


def test_a_request_needs_no_headers() -> None:
    golden_request = golden_event("request")
    logged_at = datetime(2026, 11, 23, tzinfo=UTC)
    event = Event.decode(
        str(golden_request.subject), None, wire("request")[1], logged_at=logged_at, sequence=7
    )
    assert event.data == golden_request.data
    assert event.id == golden_request.id
    assert (event.source, event.time, event.cause) == ("/producer", logged_at, None)


@pytest.mark.parametrize("name", ["request", "confirmed", "reviewed", "retry", "discard"])
def test_the_id_of_an_event_from_outside_is_not_for_its_sender_to_choose(name: str) -> None:
    """Two requests with the same id would have their routes dropped as duplicates."""
    event = golden_event(name)
    headers = {**event.headers(), "ce-id": "always-the-same"}
    read = Event.decode(str(event.subject), headers, event.body())
    assert read.id == event.id == subject_id(event.subject)


def test_the_id_of_a_request_is_the_same_in_a_replay_cell_and_another_per_request() -> None:
    subject = golden_event("request").subject
    replayed = replace(subject, cell="rp1")
    assert subject_id(replayed) == subject_id(subject)
    others = {
        subject_id(other)
        for other in (
            replace(subject, tenant="x"),
            replace(subject, request_id="x"),
            replace(subject, step="x"),
        )
    }
    assert len(others | {subject_id(subject)}) == 4


def test_only_events_with_a_case_have_one() -> None:
    for name in EVENT:
        event = golden_event(name)
        if name in ("route", "declined", "context", "proposal", "verdict", "repair"):
            assert event.case is event.data
        else:
            with pytest.raises(TypeError, match="carries no case"):
                _ = event.case


def test_a_failure_has_the_area_of_its_code() -> None:
    made = violation(FailureCode.POLICY_FORBIDS, "/calls/0", "over the limit")
    assert made.area is AREA_OF[made.code] is FailureArea.SAFETY_POLICY
    for area in set(FailureArea) - {made.area}:
        with pytest.raises(ValidationError):
            Failure(area=area, code=made.code, message="over the limit")


def test_models_are_closed_and_frozen() -> None:
    reply = FactReply(value=1)
    with pytest.raises(ValidationError):
        setattr(reply, "value", 2)  # noqa: B010 - the type checker knows already
    with pytest.raises(ValidationError):
        FactReply.model_validate({"value": 1, "more": 2})
