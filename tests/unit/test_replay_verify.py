"""The parts of a replay that need no system: differences, the log in memory, dead letters."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from interlock.bundles.compile import compile_bundle
from interlock.bundles.store import FileBundles
from interlock.replay.difference import ABSENT, first_difference
from interlock.replay.log import Entry, MemoryLog, Unreadable
from interlock.replay.recorded import NotRecorded, recorded_stage
from interlock.replay.verify import verify_request
from interlock.runtime.dead_letters import refusal
from interlock.runtime.decision import Decider
from interlock.runtime.stage import Draft
from interlock_contracts.actions import Effect, Grant, Reservation, Result, effect_key
from interlock_contracts.answer import DeadLetter, Retry
from interlock_contracts.canonical import digest, digest_bytes
from interlock_contracts.event import Event, InvalidEvent, subject_id
from interlock_contracts.failures import FailureCode, failure
from interlock_contracts.request import Principal, Request
from interlock_contracts.subjects import Subject, as_token
from interlock_contracts.table import Actor

ID = "01JD0000000000000000000000"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BUNDLES = FileBundles(compile_bundle(Path("examples/support")))


@pytest.mark.parametrize(
    ("recorded", "replayed", "found"),
    [
        ({"a": 1}, {"a": 1.0}, None),
        ({"a": [1, 2]}, {"a": [1, 2]}, None),
        ({"a": 1}, {"a": True}, ("/a", 1, True)),
        ({"a": None}, {}, ("/a", None, ABSENT)),
        ({}, {"a/b~": 1}, ("/a~1b~0", ABSENT, 1)),
        ({"a": [1]}, {"a": [1, 2]}, ("/a/1", ABSENT, 2)),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ("/b", 1, 2)),
        ({"a": {"b": [{"c": "x"}]}}, {"a": {"b": [{"c": "y"}]}}, ("/a/b/0/c", "x", "y")),
        ([], {}, ("", [], {})),
    ],
)
def test_the_first_difference(recorded: object, replayed: object, found: object) -> None:
    assert first_difference(recorded, replayed) == found


def request(text: str = "How long can I return a spade?", number: int = 1) -> Event:
    data = Request(
        request_id=ID,
        tenant="acme",
        principal=Principal(user="maria", role="customer"),
        text=text,
    )
    at = Subject("ev", "request", "acme", ID, "0")
    return Event(at, data, subject_id(at), "/producer", NOW, logged_at=NOW, sequence=number)


def letter_about(event: Event, code: FailureCode, number: int, stage: str) -> list[Event]:
    """The dead letter of an event and the answer that tells of it, as the runtime writes them."""
    body, at = event.body(), event.subject
    attempt = int(at.step) if at.event == "retry" else 0
    why = failure(code, "no luck")
    letter = Draft(
        "dead",
        as_token(f"{at.event}-{at.step}-{attempt}"),
        DeadLetter(
            stage=stage,
            subject=str(at),
            sequence=event.sequence or 0,
            original=base64.b64encode(body),
            original_digest=digest_bytes(body),
            failure=why,
        ),
        tail=stage,
    )
    answer = refusal(at, attempt, why, None)
    finisher = Decider(
        stage,
        recorded_stage(Actor.INTENT_ROUTER, MemoryLog([])),
        cell="ev",
        bundles=None,
        log=MemoryLog([]),
    )
    return [
        logged(finisher.finish(draft, at, event.id, NOW), number + offset)
        for offset, draft in enumerate(one for one in (letter, answer) if one is not None)
    ]


def logged(event: Event, number: int) -> Event:
    return replace(event, sequence=number, logged_at=NOW + timedelta(milliseconds=number))


async def test_the_first_of_two_on_a_subject_counts() -> None:
    log = MemoryLog([request("One?"), request("Two?")])
    found = await log.read("request", "acme", ID, "0")
    assert found is not None and found.data == request("One?").data
    assert len(log.entries) == 1
    assert await log.read("request", "globex", ID, "0") is None


async def test_what_cannot_be_read_says_so_when_it_is_read() -> None:
    error = InvalidEvent(FailureCode.MALFORMED_JSON, "not JSON")
    log = MemoryLog([Unreadable(f"ev.request.acme.{ID}.0", error), Unreadable("nowhere", error)])
    with pytest.raises(InvalidEvent, match="not JSON"):
        await log.read("request", "acme", ID, "0")
    assert log.get(Subject("ev", "request", "acme", ID, "0")) is None
    assert len(log.entries) == 2


@pytest.mark.parametrize("code", [FailureCode.RETRIES_EXHAUSTED, FailureCode.STAGE_FAILED])
async def test_a_dead_letter_of_the_world_is_accepted_as_recorded(code: FailureCode) -> None:
    asked = request()
    dead = letter_about(asked, code, 2, "intent-router")
    found = await verify_request([asked, *dead], BUNDLES)
    assert found.identical
    assert found.accepted == (str(dead[0].subject),)
    assert found.reproduced == 1  # the answer that tells of it


@pytest.mark.parametrize("code", [FailureCode.EVENT_INVALID, FailureCode.TENANT_BOUNDARY])
async def test_a_dead_letter_that_nothing_brings_about_again_is_a_divergence(
    code: FailureCode,
) -> None:
    asked = request()
    found = await verify_request([asked, *letter_about(asked, code, 2, "intent-router")], BUNDLES)
    assert found.first is not None
    assert (found.first.stage, found.first.pointer) == ("intent-router", "/failure/code")
    assert (found.first.recorded, found.first.replayed) == (code.value, "no failure")


async def test_what_an_operators_retry_brought_about_is_reproduced() -> None:
    """The first attempt died of the world; the second one made the route."""
    asked = request()
    dead = letter_about(asked, FailureCode.STAGE_FAILED, 2, "intent-router")
    order = Retry(dead_letter=str(dead[0].subject), stage="intent-router", attempt=1, by="olga")
    at = Subject("ev", "retry", "acme", ID, "1", "intent-router")
    retry = logged(Event(at, order, subject_id(at), "/operator", NOW), 4)
    entries: list[Entry] = [asked, *dead, retry]
    log = MemoryLog(entries)
    decide = recorded_stage(Actor.INTENT_ROUTER, log)
    decider = Decider("intent-router", decide, cell="ev", bundles=BUNDLES, log=log)
    (route,) = await decider.follow(retry, NOW)
    found = await verify_request([*entries, logged(route, 5)], BUNDLES)
    assert [str(one) for one in found.divergences] == []
    assert route.case.attempt == 1
    assert found.reproduced == 2
    assert found.pending == (str(route.subject),)


def granted(stage: str) -> list[Event]:
    """A grant, its reservation and its result, as an executor of that name writes them."""
    arguments = {"to": "maria"}
    key = effect_key("acme", ID, "send_mail", arguments)
    grant = Grant(
        action="1-0",
        tenant="acme",
        request_id=ID,
        tool="send_mail",
        arguments=arguments,
        arguments_digest=digest(arguments),
        action_digest=digest("shown"),
        effect_key=key,
        bundle=BUNDLES.active().digest,
        requester="maria",
        issued_at=NOW,
        expires_at=NOW + timedelta(minutes=5),
        key_id="k",
        signature="s",
    )
    at = Subject("ev", "approved", "acme", ID, "1-0", "send_mail")
    approved = Event(at, grant, "G" * 26, "/contract-validator", NOW, cause="P" * 26)
    claim = Reservation(action="1-0", tool="send_mail", effect_key=key, executor="mailer-1")
    reserved = Event(
        replace(at, event="reserved", step=key), claim, "R" * 26, f"/{stage}", NOW, cause=None
    )
    result = Result(action="1-0", tool="send_mail", effect=Effect.LANDED, effect_key=key)
    draft = Draft("result", "1-0", result, tail="send_mail")
    log = MemoryLog([])
    decide = recorded_stage(Actor.TOOL_EXECUTOR, log)
    finisher = Decider(stage, decide, cell="ev", bundles=None, log=log)
    made = finisher.finish(draft, at, approved.id, NOW)
    return [logged(one, number) for number, one in enumerate((approved, reserved, made), 1)]


@pytest.mark.parametrize("stage", ["tool-executor", "executor-mailer"])
async def test_results_are_reproduced_under_the_executors_own_name(stage: str) -> None:
    events = granted(stage)
    found = await verify_request(events, BUNDLES)
    assert found.accepted == (str(events[1].subject),)
    assert found.reproduced == 1
    # Nothing here makes the grant itself: its proposal is not among the events.
    assert [one.subject for one in found.divergences] == [str(events[0].subject)]


async def test_a_reservation_without_its_grant_is_a_divergence() -> None:
    _, reserved, _ = granted("tool-executor")
    found = await verify_request([reserved], BUNDLES)
    assert [one.subject for one in found.divergences] == [str(reserved.subject)]


@pytest.mark.parametrize("actor", [Actor.TOOL_EXECUTOR])
async def test_an_effect_that_is_not_recorded_is_asked_of_nobody(actor: Actor) -> None:
    approved = granted("tool-executor")[0]
    log = MemoryLog([approved])
    decider = Decider(actor, recorded_stage(actor, log), cell="ev", bundles=None, log=log)
    with pytest.raises(NotRecorded, match="no tool is run here"):
        await decider.follow(approved, NOW)


def test_only_deciding_stages_have_recorded_capabilities() -> None:
    with pytest.raises(ValueError, match="audit-sink"):
        recorded_stage(Actor.AUDIT_SINK, MemoryLog([]))
