"""`dlq`: dead letters, looked at and dealt with."""

import asyncio
import getpass
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.table import Table

from interlock.cli.common import (
    JsonOption,
    StateOption,
    operator_log,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.commit import EXPECT_NEW, Committed, Committer
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings
from interlock_contracts.answer import DeadLetter, Discard, Retry
from interlock_contracts.base import Model
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.failures import FailureArea
from interlock_contracts.subjects import Subject

app = typer.Typer(
    help="Dead letters: what could not be processed, and what is done about it.",
    no_args_is_help=True,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A dead letter with what has been decided about it."""

    event: Event
    letter: DeadLetter
    state: str
    retries: int

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "id": str(self.event.subject),
            "state": self.state,
            "retries": self.retries,
            "logged_at": self.event.logged_at,
            **self.letter.model_dump(mode="json"),
        }


@app.command("list")
def list_(
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "*",
    area: Annotated[FailureArea | None, typer.Option(help="Only failures of this area.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Also the retried and discarded.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """List dead letters that wait for somebody."""
    entries = run(_entries(settings_of(state), tenant))
    entries = [
        entry
        for entry in entries
        if (all_ or entry.state == "open") and (area is None or entry.letter.failure.area is area)
    ]
    if json_:
        for entry in entries:
            print_json(entry.as_json())
        return
    if not entries:
        out.print("no dead letters")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("logged at", "stage", "code", "state", "id"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        when = f"{entry.event.logged_at:%Y-%m-%d %H:%M:%S}"
        row = (when, entry.letter.stage, entry.letter.failure.code, entry.state)
        table.add_row(*row, str(entry.event.subject))
    out.print(table)


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `dlq list` prints it.")],
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Show one dead letter with its reason and the original."""
    entry = run(_entry(settings_of(state), id_))
    if json_:
        print_json(entry.as_json())
        return
    letter = entry.letter
    out.print(f"[bold]{letter.failure.area}/{letter.failure.code}[/] in the {letter.stage}")
    for line in (
        letter.failure.message,
        f"subject     {letter.subject}",
        f"sequence    {letter.sequence}",
        f"deliveries  {letter.deliveries}",
        f"state       {entry.state}",
        f"original    {letter.original_digest}",
    ):
        out.print(line, markup=False)
    if letter.original is not None:
        out.print(letter.original[:4_000].decode(errors="replace"), markup=False)


@app.command()
def retry(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `dlq list` prints it.")],
    note: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Have the stage process the original again. What was done before is not done twice."""
    run(_decide(settings_of(state), id_, note, again=True, json_=json_))


@app.command()
def discard(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `dlq list` prints it.")],
    note: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Note that nothing more is needed. The letter stays on the log."""
    run(_decide(settings_of(state), id_, note, again=False, json_=json_))


async def _entries(settings: Settings, tenant: str) -> list[Entry]:
    async with operator_log(settings) as (_, log):
        letters = [m async for m in log.matching(f"{settings.cell}.dead.{tenant}.>")]
        return await asyncio.gather(*(_judged(log, message.event()) for message in letters))


async def _judged(log: JetStreamLog, event: Event) -> Entry:
    """A dead letter with the orders that were given about it."""
    letter = event.data
    assert isinstance(letter, DeadLetter)
    about = [
        order
        for order in await _orders(log, event.subject)
        if order.dead_letter == str(event.subject)
    ]
    retries = sum(isinstance(order, Retry) for order in about)
    discarded = any(isinstance(order, Discard) for order in about)
    state = "discarded" if discarded else "retried" if retries else "open"
    return Entry(event, letter, state, retries)


async def _orders(log: JetStreamLog, at: Subject) -> list[Retry | Discard]:
    """What operators have ordered for a request."""
    found: list[Retry | Discard] = []
    for name in ("retry", "discard"):
        pattern = f"{at.cell}.{name}.{at.tenant}.{at.request_id}.>"
        async for message in log.matching(pattern):
            order = message.event().data
            assert isinstance(order, Retry | Discard)
            found.append(order)
    return found


async def _entry(settings: Settings, id_: str) -> Entry:
    async with operator_log(settings) as (_, log):
        return await _find(log, id_)


async def _find(log: JetStreamLog, id_: str) -> Entry:
    message = await log.fetch({"last_by_subj": id_}) if ".dead." in id_ else None
    if message is None:
        raise UserError(f"no dead letter {id_!r}; `interlock dlq list` names them")
    try:
        return await _judged(log, message.event())
    except InvalidEvent as error:
        raise UserError(f"{id_}: {error.message}") from None


async def _decide(settings: Settings, id_: str, note: str, *, again: bool, json_: bool) -> None:
    async with operator_log(settings) as (client, log):
        entry = await _find(log, id_)
        if entry.state == "discarded":
            raise UserError(f"{id_} was discarded")
        at, who = entry.event.subject, getpass.getuser()
        order: Model
        if again:
            orders = await _orders(log, at)
            attempt = 1 + sum(isinstance(order, Retry) for order in orders)
            order = Retry(
                dead_letter=id_, stage=entry.letter.stage, attempt=attempt, by=who, note=note
            )
            address = Subject(
                at.cell, "retry", at.tenant, at.request_id, str(attempt), entry.letter.stage
            )
        else:
            order = Discard(dead_letter=id_, by=who, note=note)
            address = Subject(at.cell, "discard", at.tenant, at.request_id, at.step, at.tail)
        committer = Committer(client)
        body = order.model_dump_json().encode()
        outcome = await committer.commit_wire([(str(address), body, EXPECT_NEW)])
        await committer.close()
        if outcome is not Committed.NEW:
            raise UserError(f"somebody else has just decided about {id_}")
    if json_:
        print_json({"id": id_, "ordered": str(address)})
    else:
        out.print(f"{'retry' if again else 'discard'} ordered: {address}", markup=False)
