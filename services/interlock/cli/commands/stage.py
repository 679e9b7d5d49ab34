"""`stage`: one stage as a filter, from recorded events to the events that follow."""

import gc
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.common import BundleOption, StateOption, err, run, settings_of
from interlock.runtime.errors import RetryLater, UserError
from interlock.runtime.garbage import settle_garbage_collection
from interlock.runtime.settings import Settings
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.table import SERVICES, Actor, consumed_by

if TYPE_CHECKING:
    from interlock.replay.log import MemoryLog

Follow = Callable[[Event], Awaitable[list[str]]]
"""From an event to the lines that follow from it."""


def stage(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.")],
    bundle: BundleOption = None,
    state: StateOption = None,
    recorded: Annotated[
        bool,
        typer.Option(
            "--recorded",
            help="Hand back the effects that the input records (searches, model outputs, facts, "
            "signatures, times) instead of asking the world again.",
        ),
    ] = False,
) -> None:
    """Run one stage over CloudEvents from standard input; what follows goes to standard output.

    One event a line, as `interlock events ID --json` prints them. All lines together are the log
    that the stage may read; events that it does not consume are passed over. Nothing is published
    and no tool is run. Exit status 1 if a line could not be read or processed.
    """
    actor = _actor(name)
    settings = settings_of(state, bundle)
    # What is read stays until the end: a collector that keeps looking at it costs a third of the
    # time.
    gc.disable()
    entries, bad = _read(sys.stdin.buffer)
    with ExitStack() as stack:
        stack.callback(gc.unfreeze)
        stack.callback(gc.set_threshold, *gc.get_threshold())
        settle_garbage_collection()
        gc.enable()
        # Without --state there is nothing to keep an index in.
        scratch = state or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        failed, passed = run(_run(actor, settings, entries, recorded, scratch / "index"))
    if passed:
        err.print(f"{passed} events passed over: the {actor} does not consume them", style="dim")
    if bad or failed:
        raise typer.Exit(1)


def _actor(name: str) -> Actor:
    try:
        actor = Actor(name.replace("_", "-"))
    except ValueError:
        actor = Actor.PRODUCER
    if actor not in SERVICES:
        raise UserError(f"no stage is called {name!r}; there are {', '.join(SERVICES)}")
    return actor


def _read(lines: Iterable[bytes]) -> tuple[list[tuple[int, Event]], int]:
    """The events by line number, and how many lines hold none."""
    entries: list[tuple[int, Event]] = []
    bad = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entries.append((number, Event.from_cloudevent(line)))
        except InvalidEvent as error:
            bad += 1
            _complain(number, error.code, error.message)
    return entries, bad


async def _run(
    actor: Actor,
    settings: Settings,
    entries: list[tuple[int, Event]],
    recorded: bool,
    index: Path,
) -> tuple[int, int]:
    """Process in order; how many events failed, and how many were passed over."""
    from interlock.replay.log import MemoryLog

    log = MemoryLog(event for _, event in entries)
    follow = await _follower(actor, settings, log, recorded, index)
    failed = passed = 0
    for number, event in entries:
        if not _consumes(actor, event):
            passed += 1
            continue
        try:
            for line in await follow(event):
                sys.stdout.write(line)
        except (InvalidEvent, RetryLater) as error:
            failed += 1
            _complain(number, error.code, error.message)
        except Exception as error:
            failed += 1
            _complain(number, "stage_failed", f"{type(error).__name__} in the {actor}")
    sys.stdout.flush()
    return failed, passed


async def _follower(
    actor: Actor, settings: Settings, log: "MemoryLog", recorded: bool, index: Path
) -> Follow:
    if actor is Actor.AUDIT_SINK:
        return _audit
    from interlock.replay.live import live_stage
    from interlock.replay.log import decided_at
    from interlock.replay.recorded import recorded_stage
    from interlock.runtime.decision import Decider
    from interlock.runtime.wiring import bundles_of

    if recorded:
        decide = recorded_stage(actor, log)
    else:
        decide, notes = await live_stage(actor, log, settings, index)
        for note in notes:
            err.print(note, style="dim", markup=False)
    bundles = None if actor is Actor.TOOL_EXECUTOR else bundles_of(settings)
    decider = Decider(actor.value, decide, cell=settings.cell, bundles=bundles, log=log)

    async def follow(event: Event) -> list[str]:
        now = decided_at(log, actor, event) if recorded else event.logged_at or event.time
        return [made.to_line() for made in await decider.follow(event, now)]

    return follow


async def _audit(event: Event) -> list[str]:
    """The record of one event; of its headers those that an event has, not the transport's."""
    from interlock.audit_sink.stage import Message, decide
    from interlock_contracts.failures import FailureCode

    try:
        message = Message.of(event)
    except ValueError as error:
        raise InvalidEvent(FailureCode.EVENT_INVALID, str(error)) from None
    return [json.dumps(decide(message).as_json(), ensure_ascii=False) + "\n"]


def _consumes(actor: Actor, event: Event) -> bool:
    if event.subject.event == "retry" and actor is not Actor.AUDIT_SINK:
        return event.subject.tail == actor.value
    return event.spec in consumed_by(actor)


def _complain(number: int, code: str, message: str) -> None:
    err.print(f"line {number}: {code}: {message}", markup=False)
