"""Events of older versions are read as today's; newer ones are refused, and say the mend."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.contracts.goldens import golden_event

from interlock_contracts.answer import Answer
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Request
from interlock_contracts.table import EVENT, EVENTS
from interlock_contracts.upcast import UPCASTERS

REQUEST = golden_event("request")


def _second(data: dict[str, Any]) -> dict[str, Any]:
    """Of a synthetic first version, in which the text was called `question`."""
    data["text"] = data.pop("question")
    return data


def _third(data: dict[str, Any]) -> dict[str, Any]:
    """Of a synthetic second version, in which a user stood beside the request."""
    data["principal"] = {"user": data.pop("user"), "role": "customer"}
    return data


@pytest.fixture
def third_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A future in which the request is at version 3: today's model is its third form."""
    monkeypatch.setitem(EVENT, "request", replace(EVENT["request"], version=3))
    monkeypatch.setitem(UPCASTERS, ("request", 1), _second)
    monkeypatch.setitem(UPCASTERS, ("request", 2), _third)


def _body(**fields: Any) -> bytes:
    at = REQUEST.subject
    return json.dumps({"request_id": at.request_id, "tenant": at.tenant, **fields}).encode()


FIRST = _body(question="Where is it?", user="maria")
SECOND = _body(text="Where is it?", user="maria")
THIRD = _body(text="Where is it?", principal={"user": "maria", "role": "customer"})


def _read(version: int | None, body: bytes) -> Event:
    headers = {} if version is None else {"ce-type": f"interlock.request.v{version}"}
    return Event.decode(str(REQUEST.subject), headers, body)


@pytest.mark.usefixtures("third_version")
@pytest.mark.parametrize(("version", "body"), [(1, FIRST), (None, FIRST), (2, SECOND), (3, THIRD)])
def test_every_version_is_read_as_the_last(version: int | None, body: bytes) -> None:
    event = _read(version, body)
    assert isinstance(event.data, Request)
    assert (event.data.text, event.data.principal.user) == ("Where is it?", "maria")
    assert event.headers()["ce-type"] == "interlock.request.v3"
    assert Event.decode(str(event.subject), event.headers(), event.body()).data == event.data


@pytest.mark.usefixtures("third_version")
def test_an_old_event_in_a_file_is_read_too() -> None:
    line = REQUEST.to_cloudevent()
    line |= {"type": "interlock.request.v1", "data": json.loads(FIRST)}
    found = Event.from_cloudevent(json.dumps(line)).data
    assert isinstance(found, Request)
    assert found.text == "Where is it?"


@pytest.mark.usefixtures("third_version")
@pytest.mark.parametrize(
    ("version", "body", "code"),
    [
        (1, SECOND, FailureCode.EVENT_INVALID),
        (2, THIRD, FailureCode.EVENT_INVALID),
        (3, FIRST, FailureCode.EVENT_INVALID),
        (1, b'{"question": ', FailureCode.MALFORMED_JSON),
        (1, b"[" * 100_000, FailureCode.MALFORMED_JSON),
        (1, b"[]", FailureCode.EVENT_INVALID),
        (1, b'{"question": "%s"}' % (b"x" * 3_000_000), FailureCode.OVERSIZE),
        (2, FIRST.replace(b"question", b"text").replace(b"Where", rb"\ud800"), None),
        (4, THIRD, FailureCode.VERSION_UNSUPPORTED),
        (0, THIRD, FailureCode.VERSION_UNSUPPORTED),
    ],
)
def test_what_its_version_never_held_is_refused(
    version: int, body: bytes, code: FailureCode | None
) -> None:
    with pytest.raises(InvalidEvent) as caught:
        _read(version, body)
    assert code in (None, caught.value.code)
    assert "maria" not in caught.value.message


def test_a_newer_version_says_the_mend() -> None:
    with pytest.raises(InvalidEvent) as caught:
        _read(2, THIRD)
    assert caught.value.code is FailureCode.VERSION_UNSUPPORTED
    assert "newer interlock" in caught.value.message
    assert "upgrade" in caught.value.message


@pytest.mark.parametrize("stated", ["interlock.request.v01", "interlock.request.v١", "request.v1"])
def test_what_is_no_version_is_refused(stated: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        Event.decode(str(REQUEST.subject), {"ce-type": stated}, THIRD)
    assert caught.value.code is FailureCode.VERSION_UNSUPPORTED
    assert "upgrade" not in caught.value.message


def test_there_is_a_step_from_every_version_and_no_other() -> None:
    wanted = {(spec.name, version) for spec in EVENTS for version in range(1, spec.version)}
    assert set(UPCASTERS) == wanted


def test_todays_version_is_not_touched() -> None:
    event = golden_event("answer")
    assert isinstance(event.data, Answer)
    assert Event.decode(str(event.subject), event.headers(), event.body()).body() == event.body()
