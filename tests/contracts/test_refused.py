"""Bad input: each kind is refused with its code, and no reason repeats the content."""

import json
from typing import Any

import pytest
from tests.contracts.goldens import golden, golden_event, wire

from interlock_contracts.base import MAX_EVENT_BYTES, MAX_REQUEST_BYTES, MAX_TEXT_CHARS
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.failures import FailureCode, failure
from interlock_contracts.table import EVENT

Code = FailureCode
SECRET = "hunter2-4929-secret"
REQUEST_ID = golden_event("request").subject.request_id
SUBJECT = f"ev.request.acme.{REQUEST_ID}.0"


def refused(subject: str, headers: dict[str, str] | None, body: bytes) -> InvalidEvent:
    """Decode, and give the refusal back after checking that it may be shown to anybody."""
    with pytest.raises(InvalidEvent) as caught:
        Event.decode(subject, headers, body)
    error = caught.value
    assert SECRET not in error.message
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert len(error.message) < 2_000
    assert failure(error.code, error.message).message, "it must fit into a dead letter"
    return error


def request(**changes: Any) -> bytes:
    """A request with a secret in its text, changed."""
    data = {**golden("request")["data"], "text": f"My password is {SECRET}.", **changes}
    return json.dumps({k: v for k, v in data.items() if v is not ...}).encode()


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": "user", "text": text} for text in texts]


def test_the_request_these_cases_change_is_itself_accepted() -> None:
    event = Event.decode(SUBJECT, None, request())
    assert SECRET in event.body().decode()
    Event.decode(SUBJECT, None, request(text="x" * MAX_TEXT_CHARS, history=turns("a\tb\r\nc", "é")))


BODIES = {
    "not JSON": (b"{" + SECRET.encode(), Code.MALFORMED_JSON),
    "empty body": (b"", Code.MALFORMED_JSON),
    "two values": (request() + b"{}", Code.MALFORMED_JSON),
    "no UTF-8": (request().replace(b"password", b"\xff\xfe"), Code.MALFORMED_JSON),
    "lone surrogate": (request().replace(b"password", rb"\ud800"), Code.MALFORMED_JSON),
    "a BOM": (b"\xef\xbb\xbf" + request(), Code.MALFORMED_JSON),
    "too deep": (b'{"text":' + b"[" * 5000, Code.MALFORMED_JSON),
    "a list": (b'["' + SECRET.encode() + b'"]', Code.EVENT_INVALID),
    "null": (b"null", Code.EVENT_INVALID),
    "unknown field": (request(**{SECRET: 1}), Code.EVENT_INVALID),
    "many unknown fields": (request(**{f"{SECRET}{n}": n for n in range(99)}), Code.EVENT_INVALID),
    "unknown inner field": (
        request(principal={"user": "u", "role": "r", SECRET: 1}),
        Code.EVENT_INVALID,
    ),
    "missing field": (request(principal=...), Code.EVENT_INVALID),
    "number for text": (request(text=5), Code.EVENT_INVALID),
    "text for boolean": (request(consent="true"), Code.EVENT_INVALID),
    "unknown role": (request(history=[{"role": SECRET, "text": "a"}]), Code.EVENT_INVALID),
    "bad tenant": (request(tenant=f"{SECRET} *"), Code.EVENT_INVALID),
    "tenant with a line break": (request(tenant="acme\n"), Code.EVENT_INVALID),
    "bad request id": (request(request_id=SECRET), Code.EVENT_INVALID),
    "bad scope": (
        request(principal={"user": "u", "role": "r", "scopes": ["a.b"]}),
        Code.EVENT_INVALID,
    ),
    "deadline without offset": (request(deadline="2026-11-23T09:15:00"), Code.EVENT_INVALID),
    "deadline as a number": (request(deadline=1_700_000_000), Code.EVENT_INVALID),
    "deadline as digits": (request(deadline="1700000000"), Code.EVENT_INVALID),
    "deadline as a secret": (request(deadline=SECRET), Code.EVENT_INVALID),
    "another tenant": (request(tenant="umbra"), Code.TENANT_BOUNDARY),
    "another request": (request(request_id="01KAQZ4XG8M3T7V9B2C5D6E8FB"), Code.EVENT_INVALID),
    "empty text": (request(text=""), Code.TEXT_INVALID),
    "blank text": (request(text=" \n\t\u2003"), Code.TEXT_INVALID),
    "control character": (request(text=f"{SECRET}\x00"), Code.TEXT_INVALID),
    "C1 control": (request(text=f"{SECRET}\x9b"), Code.TEXT_INVALID),
    "noncharacter": (request(text=f"{SECRET}\uffff"), Code.TEXT_INVALID),
    "control in the user": (
        request(principal={"user": f"{SECRET}\x1b", "role": "r"}),
        Code.TEXT_INVALID,
    ),
    "blank history": (request(history=turns("fine", " ")), Code.TEXT_INVALID),
    "control in history": (request(history=turns(f"{SECRET}\x07")), Code.TEXT_INVALID),
    "blank after other errors": (
        request(request_id="?", tenant="?", consent=1, channel=0, locale=1, principal=1, text=" "),
        Code.TEXT_INVALID,
    ),
    "text too long": (request(text=SECRET * 1_000), Code.OVERSIZE),
    "history too long": (request(history=turns("fine", SECRET * 1_000)), Code.OVERSIZE),
    "too many turns": (request(history=turns(*["a"] * 65)), Code.OVERSIZE),
    "too long after other errors": (
        request(
            request_id="?", tenant="?", consent=1, channel=0, locale=1, history=turns(" "),
            text="\x00" + SECRET * 1_000,
        ),
        Code.OVERSIZE,
    ),
    "a megabyte of text": (request(text=SECRET * 55_000), Code.OVERSIZE),
    "one byte too many": (request().ljust(MAX_REQUEST_BYTES + 1), Code.OVERSIZE),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_bad_bodies(case: str) -> None:
    body, code = BODIES[case]
    assert refused(SUBJECT, None, body).code is code


def test_a_reason_names_the_place_and_counts_the_rest() -> None:
    error = refused(SUBJECT, None, request(**{f"{SECRET}{n}": n for n in range(9)}, text=""))
    assert error.message.startswith("text: the text is empty; *: Extra inputs are not permitted")
    assert error.message.endswith("(and 5 more)")
    wrong = {"user": 1, "role": 1, "scopes": 1, SECRET: 1}
    error = refused(SUBJECT, None, request(request_id="?", tenant="?", principal=wrong, text=""))
    assert error.message.startswith("text: the text is empty; "), "what gave the code is shown"
    error = refused(SUBJECT, None, request(history=turns("fine", f"{SECRET}\x07")))
    assert error.message == (
        f"history.1.text: U+0007 (control character) at offset {len(SECRET)} is not allowed in text"
    )


def test_exactly_the_limit_of_bytes_is_accepted() -> None:
    Event.decode(SUBJECT, None, request().ljust(MAX_REQUEST_BYTES))
    answer = wire("answer")[1].ljust(MAX_EVENT_BYTES)
    subject = str(golden_event("answer").subject)
    Event.decode(subject, None, answer)
    assert refused(subject, None, answer + b" ").code is Code.OVERSIZE


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        ("", Code.SUBJECT_INVALID),
        ("ev.request.acme", Code.SUBJECT_INVALID),
        (f"{SUBJECT}.a.b", Code.SUBJECT_INVALID),
        (f"{SUBJECT}.extra", Code.SUBJECT_INVALID),
        (f"ev.approved.acme.{REQUEST_ID}.1-0", Code.SUBJECT_INVALID),
        (f"ev.request.ac me.{REQUEST_ID}.0", Code.SUBJECT_INVALID),
        (f"ev.request.*.{REQUEST_ID}.0", Code.SUBJECT_INVALID),
        (f"ev.request..{REQUEST_ID}.0", Code.SUBJECT_INVALID),
        (f"ev.request.{'a' * 65}.{REQUEST_ID}.0", Code.SUBJECT_INVALID),
        (f"ev.request.acmé.{REQUEST_ID}.0", Code.SUBJECT_INVALID),
        (f"ev.request.acme.{REQUEST_ID}.0\n", Code.SUBJECT_INVALID),
        (f"ev.request.\x00.{REQUEST_ID}.0", Code.SUBJECT_INVALID),
        (f"ev.wish.acme.{REQUEST_ID}.0", Code.EVENT_UNKNOWN),
        (f"ev.request.umbra.{REQUEST_ID}.0", Code.TENANT_BOUNDARY),
    ],
)
def test_bad_subjects(subject: str, code: FailureCode) -> None:
    body = wire("approved")[1] if ".approved." in subject else request()
    assert refused(subject, None, body).code is code


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"ce-type": "interlock.request.v2"}, Code.VERSION_UNSUPPORTED),
        ({"ce-type": "interlock.route.v1"}, Code.VERSION_UNSUPPORTED),
        ({"ce-type": f"x\x00{'y' * 9_000}"}, Code.VERSION_UNSUPPORTED),
        ({"ce-specversion": "0.3"}, Code.VERSION_UNSUPPORTED),
        ({"ce-time": SECRET}, Code.EVENT_INVALID),
        ({"ce-time": "2026-11-23T09:15:00"}, Code.EVENT_INVALID),
        ({"ce-time": "12"}, Code.EVENT_INVALID),
    ],
)
def test_bad_headers(headers: dict[str, str], code: FailureCode) -> None:
    assert refused(SUBJECT, headers, request()).code is code


@pytest.mark.parametrize("name", [name for name in EVENT if name not in ("retry", "discard")])
def test_no_event_is_accepted_on_a_subject_it_does_not_belong_to(name: str) -> None:
    """Each golden on its own subject with one token changed; a body that repeats it, differs."""
    event = golden_event(name)
    tokens = str(event.subject).split(".")
    said_again = {
        "request": {2, 3}, "route": {2, 3}, "declined": {2, 3}, "context": {2, 3},
        "proposal": {2, 3}, "verdict": {2, 3}, "repair": {2, 3}, "confirm": {4},
        "confirmed": {4}, "review": {4}, "answer_review": {3, 4},
        "reviewed": {4, 5}, "notice": {4}, "approved": {2, 3, 4, 5}, "reserved": {4, 5},
        "result": {4, 5}, "answer": {3}, "dead": {5}, "activated": {4}, "evaluated": {3},
        "keyring": {4},
        "shadow": {3}, "custody": set(), "spent": {3, 4}, "document": {2, 3, 4},
    }[name]  # fmt: skip
    for place in range(2, len(tokens)):
        other = ".".join([*tokens[:place], "other", *tokens[place + 1 :]])
        if place in said_again:
            wanted = Code.TENANT_BOUNDARY if place == 2 else Code.EVENT_INVALID
            assert refused(other, event.headers(), event.body()).code is wanted
        else:
            Event.decode(other, event.headers(), event.body())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda line: b"{" + line, Code.MALFORMED_JSON),
        (lambda line: b"[" * 100_000, Code.MALFORMED_JSON),
        (lambda line: b"\xff", Code.MALFORMED_JSON),
        (lambda line: b"[]", Code.EVENT_INVALID),
        (lambda line: b"{}", Code.EVENT_INVALID),
        (lambda line: line.replace(b'"subject":', b'"object":'), Code.EVENT_INVALID),
        (lambda line: line.replace(b'"sequence": "4111"', b'"sequence": 4111'), Code.EVENT_INVALID),
        (lambda line: line.replace(b'"sequence": "4111"', b'"sequence": "4k"'), Code.EVENT_INVALID),
        (lambda line: line.replace(b'"loggedat": "', b'"loggedat": "x'), Code.EVENT_INVALID),
        (lambda line: line.replace(b'"id": "', b'"id": ["a"], "x": "'), Code.EVENT_INVALID),
        (lambda line: line.replace(b'"data":', b'"date":'), Code.EVENT_INVALID),
        (lambda line: line.replace(b'"damaged"', b"NaN"), Code.EVENT_INVALID),
        (lambda line: line.replace(b'"damaged"', rb'"\ud800"'), Code.MALFORMED_JSON),
        (lambda line: line.replace(b"approved.v1", b"approved.v9"), Code.VERSION_UNSUPPORTED),
        (lambda line: line.replace(b'"tenant": "acme"', b'"tenant": "x"'), Code.TENANT_BOUNDARY),
    ],
)
def test_bad_cloudevent_lines(change: Any, code: FailureCode) -> None:
    line = json.dumps(golden("approved")).encode()
    Event.from_cloudevent(line)
    with pytest.raises(InvalidEvent) as caught:
        Event.from_cloudevent(change(line))
    assert caught.value.code is code
    assert "A-1042" not in caught.value.message
