"""`interlock stage`: what a pipe makes of an event is what the live service made of it."""

import asyncio
import base64
import contextlib
import io
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.integration.test_replay import LANDED, QUESTIONS, World, running_world

from interlock.audit_sink.places import open_reader
from interlock.cli import main
from interlock_contracts.event import Event
from interlock_contracts.table import STAGES, Actor

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One system for the module."""
    async with running_world(tmp_path_factory.mktemp("world")) as running:
        yield running


class Piped:
    """What a command did: exit status, and its two outputs."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def call(arguments: Sequence[str], lines: Sequence[str | bytes] = ()) -> Piped:
    """`interlock ARGUMENTS < LINES` in this process."""
    given = b"".join((one.encode() if isinstance(one, str) else one) + b"\n" for one in lines)
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["interlock", *arguments])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as stop:
                status = stop.code
    if isinstance(status, str):
        return Piped(1, out.getvalue(), f"{err.getvalue()}{status}\n")
    return Piped(int(str(status or 0)), out.getvalue(), err.getvalue())


async def filtered(world: World, stage: str, lines: Sequence[str | bytes], *more: str) -> Piped:
    """The filter on the world's bundle, beside the running system."""
    where = ("--bundle", str(world.settings.bundle), "--state", str(world.settings.state))
    return await asyncio.to_thread(call, ("stage", stage, *where, *more), lines)


def recorded(world: World, *names: str) -> list[Event]:
    """The readable events of these requests, one after the other."""
    return [one for name in names for one in world.events(name) if isinstance(one, Event)]


def as_lines(events: Sequence[Event]) -> list[str]:
    return [json.dumps(one.to_cloudevent()) for one in events]


def made_by(stage: str, events: Sequence[Event]) -> list[dict[str, Any]]:
    """What a stage decided: neither the runtime's dead letters nor what is part of a call."""
    made = [one for one in events if one.source == f"/{stage}"]
    return [
        comparable(one.to_cloudevent())
        for one in made
        if one.subject.event not in ("dead", "reserved")
    ]


def comparable(cloudevent: dict[str, Any]) -> dict[str, Any]:
    """All but the time, how long things took, and what only the log can know."""
    left_out = ("time", "loggedat", "sequence")
    found = json.loads(json.dumps({k: v for k, v in cloudevent.items() if k not in left_out}))
    if cloudevent["type"] == "interlock.context.v1":
        (found["data"]["context"]["record"] or {}).pop("timings", None)
    return found  # type: ignore[no-any-return]  # what was a dictionary is one again


@pytest.mark.parametrize("stage", STAGES)
async def test_with_recorded_effects_the_filter_equals_the_service(
    world: World, stage: Actor
) -> None:
    events = recorded(world, *QUESTIONS, "late")
    found = await filtered(world, stage, as_lines(events), "--recorded")
    expected = made_by(stage, events)
    assert expected
    lines = [comparable(line) for line in found.lines]
    entries = [line for line in lines if line["type"] == "interlock.spent.v1"]
    assert [line for line in lines if line not in entries] == expected
    for entry in entries:  # they are logged with their ledger, not with the request
        ledger = [one for one in world.of(entry["data"]["ledger"]) if isinstance(one, Event)]
        assert entry in made_by(stage, ledger)
    # The requester's own decision about a review died live, and dies here.
    died = stage is Actor.CONTRACT_VALIDATOR
    assert found.status == int(died)
    assert ("requester_is_approver" in found.err) is died


@pytest.mark.parametrize("stage", STAGES)
async def test_with_live_capabilities_the_filter_equals_the_service(
    world: World, stage: Actor
) -> None:
    names = [name for name in QUESTIONS if name not in {*LANDED, "denied"}]
    events = recorded(world, *names)
    found = await filtered(world, stage, as_lines(events))
    assert found.status == 0, found.err
    expected = made_by(stage, events)
    assert expected
    assert [comparable(line) for line in found.lines] == expected


async def test_the_audit_filter_prints_the_record_of_every_event(world: World) -> None:
    events = recorded(world, "refund")
    found = await filtered(world, "audit_sink", as_lines(events))
    with open_reader(world.settings) as store:
        kept = store.by_request(world.requests["refund"])
    assert found.status == 0
    assert len(found.lines) == len(kept)
    for line, record in zip(found.lines, kept, strict=True):
        # The broker's own headers are part of the stored record, but of no event.
        assert (line["subject"], line["id"], line["type"]) == (
            record.subject,
            record.id,
            record.type,
        )
        assert base64.b64decode(line["data"]) == record.data


async def test_a_name_may_be_written_as_the_package_is(world: World) -> None:
    events = as_lines(recorded(world, "cited"))
    one = await filtered(world, "contract_validator", events)
    other = await filtered(world, "contract-validator", events)
    assert one.out == other.out != ""


async def test_bad_lines_are_named_and_the_others_go_on(world: World) -> None:
    good = as_lines(recorded(world, "cited")[:1])[0]
    unknown = json.dumps({"subject": "ev.nothing.acme.x.0", "data": {}})
    found = await filtered(
        world, "intent-router", ["{", "", good, '"a string"', unknown, b"\xff\xfe"]
    )
    assert found.status == 1
    assert [line["type"] for line in found.lines] == ["interlock.route.v1"]
    complaints = found.err.splitlines()
    assert [line.split(": ")[:2] for line in complaints] == [
        ["line 1", "malformed_json"],
        ["line 4", "event_invalid"],
        ["line 5", "event_unknown"],
        ["line 6", "malformed_json"],
    ]
    assert "Traceback" not in found.err


async def test_events_of_other_stages_are_passed_over(world: World) -> None:
    found = await filtered(world, "retriever", as_lines(recorded(world, "cited")))
    assert found.status == 0
    assert [line["type"] for line in found.lines] == ["interlock.context.v1"]
    assert "5 events passed over" in found.err


async def test_a_grant_without_a_recorded_outcome_is_an_error(world: World) -> None:
    events = [one for one in recorded(world, "refund") if one.subject.event == "approved"]
    found = await filtered(world, "tool-executor", as_lines(events))
    assert (found.status, found.out) == (1, "")
    assert "no tool is run here" in found.err


async def test_without_a_key_the_gate_signs_with_its_own_and_says_so(
    world: World, tmp_path: Path
) -> None:
    lines = as_lines(recorded(world, "status"))
    where = ("--bundle", str(world.settings.bundle), "--state", str(tmp_path / "none"))
    found = await asyncio.to_thread(call, ("stage", "contract-validator", *where), lines)
    assert found.status == 0
    assert "signed with one nobody trusts" in found.err
    grants = [line for line in found.lines if line["type"] == "interlock.approved.v1"]
    assert grants and grants[0]["data"]["signature"] != ""


async def test_a_pinned_bundle_that_is_not_at_hand_is_said(world: World, tmp_path: Path) -> None:
    lines = as_lines(recorded(world, "cited"))
    where = ("--bundle", "examples/support", "--state", str(tmp_path))
    found = await asyncio.to_thread(call, ("stage", "retriever", *where), lines)
    assert (found.status, found.out) == (1, "")
    assert "line 2: bundle_unknown" in found.err
