"""`replay`: requests run again from the log, and compared with what stands there."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlock.cli.common import (
    BundleOption,
    JsonOption,
    StateOption,
    connected,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings
from interlock_contracts.event import InvalidEvent
from interlock_contracts.subjects import TOKEN

if TYPE_CHECKING:
    from interlock.replay.log import Entry
    from interlock.replay.report import Verification

USER = "replay"
"""Its credential reads the live log and cannot publish into it."""


def replay(
    request_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Requests by id (ULIDs).")
    ] = None,
    since: Annotated[
        int | None, typer.Option(min=1, help="Also every request logged at or after this sequence.")
    ] = None,
    state: StateOption = None,
    bundle: BundleOption = None,
    json_: JsonOption = False,
) -> None:
    """Run requests again over what is recorded of them, and compare every output.

    Nothing is asked of a model, an index or a tool, and nothing is published. Exit status 0 if
    all are identical, 1 if one diverged.
    """
    if not request_ids and since is None:
        raise UserError("which requests? name their ids, or --since SEQUENCE")
    for request_id in request_ids or ():
        if not TOKEN.fullmatch(request_id):
            raise UserError(f"{request_id[:64]!r} is no request id")
    identical = run(_replay(settings_of(state, bundle), request_ids or [], since, json_))
    if not identical:
        raise typer.Exit(1)


async def _replay(
    settings: Settings, request_ids: list[str], since: int | None, json_: bool
) -> bool:
    from interlock.replay.verify import verify_request
    from interlock.runtime.wiring import stored_bundles

    identical = True
    async with connected(settings, USER) as client:
        bundles = await stored_bundles(client, settings)
        log = JetStreamLog(client, settings.cell)
        async for request_id in _wanted(log, request_ids, since):
            found = await verify_request(await _entries(log, request_id), bundles)
            identical = identical and found.identical
            if json_:
                print_json(_as_json(request_id, found))
            else:
                out.print(_as_text(request_id, found), markup=False)
    return identical


async def _wanted(
    log: JetStreamLog, request_ids: list[str], since: int | None
) -> AsyncIterator[str]:
    """The requests that are named, then those found on the log."""
    for request_id in request_ids:
        yield request_id
    sequence = since
    while sequence is not None:
        query = {"seq": sequence, "next_by_subj": f"{log.cell}.request.>"}
        message = await log.fetch(query)
        if message is None:
            return
        request_id = message.subject.split(".")[3]
        if request_id not in request_ids:
            yield request_id
        sequence = message.sequence + 1


async def _entries(log: JetStreamLog, request_id: str) -> "list[Entry]":
    from interlock.replay.log import Unreadable

    entries: list[Entry] = []
    for message in await log.of_request(request_id):
        try:
            entries.append(message.event())
        except InvalidEvent as error:
            entries.append(Unreadable(message.subject, error))
    if not entries:
        raise UserError(f"nothing is logged of a request {request_id!r}")
    return entries


def _as_text(request_id: str, found: "Verification") -> str:
    if found.first is not None:
        more = f" (and {len(found.divergences) - 1} more)" if len(found.divergences) > 1 else ""
        return f"{request_id} diverged: {found.first}{more}"
    if found.erased and not found.reproduced:
        return f"{request_id} erased: `interlock events {request_id}` says by whom"
    notes = [f"{found.events} events", f"{found.reproduced} reproduced"]
    if found.accepted:
        notes.append(f"{len(found.accepted)} accepted as recorded")
    if found.pending:
        notes.append(f"{len(found.pending)} still to be processed")
    return f"{request_id} identical ({', '.join(notes)})"


def _as_json(request_id: str, found: "Verification") -> dict[str, Any]:
    return {
        "request_id": request_id,
        "identical": found.identical,
        "events": found.events,
        "reproduced": found.reproduced,
        "accepted": found.accepted,
        "pending": found.pending,
        "erased": found.erased,
        "divergences": [
            {
                "stage": one.stage,
                "subject": one.subject,
                "pointer": one.pointer,
                "recorded": one.recorded,
                "replayed": one.replayed,
            }
            for one in found.divergences
        ],
    }
