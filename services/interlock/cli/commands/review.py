"""`review`: actions that wait for somebody's approval."""

import getpass
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from interlock.cli.common import (
    JsonOption,
    StateOption,
    connected,
    operator_log,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.commit import EXPECT_NEW, Committed, Committer
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog, StoredMessage
from interlock.runtime.settings import Settings
from interlock_contracts.actions import Decided, Grant, Result, Review
from interlock_contracts.base import Model
from interlock_contracts.event import Event, parse_data
from interlock_contracts.subjects import TOKEN, Subject, as_token
from interlock_contracts.table import EVENT

app = typer.Typer(
    help="The review queue: what waits for a person, why, and the decision.",
    no_args_is_help=True,
)

ActionArgument = Annotated[
    str, typer.Argument(metavar="REQUEST_ID/ACTION", help="As `review list` prints it.")
]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides. Default: your login.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why; kept in the audit log.")]


@dataclass(frozen=True, slots=True)
class Card:
    """A why-card, what was decided about it so far, and what came of it."""

    at: Subject
    review: Review
    decisions: tuple[Decided, ...]
    outcome: Model | None

    @property
    def id(self) -> str:
        """As the commands take it."""
        return f"{self.at.request_id}/{self.at.step}"

    @property
    def state(self) -> str:
        """`waiting` while a decision still counts."""
        if isinstance(self.outcome, Grant):
            return "approved"
        if isinstance(self.outcome, Result):
            return str(self.outcome.failure.code) if self.outcome.failure else "done"
        return "expired" if self.review.expires_at <= datetime.now(UTC) else "waiting"

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        decisions = [one.model_dump(mode="json") for one in self.decisions]
        return {
            "id": self.id,
            "tenant": self.at.tenant,
            "state": self.state,
            "decisions": decisions,
            **self.review.model_dump(mode="json"),
        }


@app.command("list")
def list_(
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "*",
    all_: Annotated[bool, typer.Option("--all", help="Also what was decided.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """List the actions that wait for a reviewer."""
    if tenant != "*" and not TOKEN.fullmatch(tenant):
        raise UserError(f"{tenant[:64]!r} is no tenant")
    cards = run(_cards(settings_of(state), tenant))
    cards = [card for card in cards if all_ or card.state == "waiting"]
    if json_:
        for card in cards:
            print_json(card.as_json())
        return
    if not cards:
        out.print("nothing waits for a review")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("id", "tenant", "class", "requester", "state", "expires", "what"):
        table.add_column(column, overflow="fold")
    for card in cards:
        review, expires = card.review, f"{card.review.expires_at:%Y-%m-%d %H:%M}"
        who = (card.id, card.at.tenant, review.review_class, review.requester)
        table.add_row(*who, card.state, expires, review.summary)
    out.print(table)


@app.command()
def show(id_: ActionArgument, state: StateOption = None, json_: JsonOption = False) -> None:
    """Show the why-card: the action, where every argument comes from, and what judged it."""
    card = run(_card(settings_of(state), id_))
    if json_:
        print_json(card.as_json())
        return
    review = card.review
    out.print(review.summary, style="bold", markup=False)
    for name, text in (
        ("tool", review.tool),
        ("requester", f"{review.requester} of {card.at.tenant}"),
        ("asked", review.request_text),
        ("class", review.review_class),
        ("state", card.state),
        ("expires", f"{review.expires_at:%Y-%m-%d %H:%M:%S %Z}"),
        ("digest", review.digest),
    ):
        out.print(f"  {name:<12} {text}", markup=False)
    for title, lines in _evidence(review):
        out.print(title, style="bold")
        for line in lines or ["none"]:
            out.print(f"  {line}", markup=False)
    for one in card.decisions:
        out.print(f"{one.by}: {one.decision} {one.note}".rstrip(), markup=False)


def _evidence(review: Review) -> list[tuple[str, list[str]]]:
    """What a reviewer should look at before deciding, by heading."""
    origins: dict[str, list[str]] = {}
    for one in review.provenance:
        name = one.path.split("/")[1] if "/" in one.path else one.path
        where = f"{one.origin}: {one.evidence}" if one.evidence else str(one.origin)
        origins.setdefault(name, []).append(where)
    policy = review.policy
    return [
        (
            "arguments",
            [
                f"{name} = {value!r}  from {'; '.join(origins.get(name, ['nowhere known']))}"
                for name, value in review.arguments.items()
            ],
        ),
        ("facts", [f"{one.name} ({one.tool}): {one.error or one.value}" for one in review.facts]),
        ("policies", list(policy.policies) if policy else []),
        ("obligations", list(policy.obligations) if policy else []),
        ("concerns", [f"{one.code} {one.path}: {one.message}" for one in review.concerns]),
    ]


@app.command()
def approve(
    id_: ActionArgument,
    by: ByOption = None,
    note: NoteOption = "",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Approve exactly what the why-card shows."""
    run(_decide(settings_of(state), id_, by, note, "approve", json_))


@app.command()
def deny(
    id_: ActionArgument,
    by: ByOption = None,
    note: NoteOption = "",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Deny the action; the requester is told."""
    run(_decide(settings_of(state), id_, by, note, "deny", json_))


async def _cards(settings: Settings, tenant: str) -> list[Card]:
    async with operator_log(settings) as (_, log):
        found = [m async for m in log.matching(f"{settings.cell}.review.{tenant}.>")]
        return [await _judged(log, message) for message in found]


async def _card(settings: Settings, id_: str) -> Card:
    request_id, slash, action = id_.partition("/")
    if not slash or not TOKEN.fullmatch(request_id) or not TOKEN.fullmatch(action):
        raise UserError(f"{id_[:140]!r} is not of the form REQUEST_ID/ACTION")
    async with operator_log(settings) as (_, log):
        pattern = f"{settings.cell}.review.*.{request_id}.{action}"
        found = await log.fetch({"seq": 1, "next_by_subj": pattern})
        if found is None:
            raise UserError(f"no review {id_!r}; `interlock review list` names them")
        return await _judged(log, found)


async def _judged(log: JetStreamLog, message: StoredMessage) -> Card:
    event = message.event()
    at, review = event.subject, event.data
    assert isinstance(review, Review)
    address = (at.tenant, at.request_id, at.step)
    pattern = f"{at.cell}.reviewed.{'.'.join(address)}.*"
    events: list[Event] = [found.event() async for found in log.matching(pattern)]
    outcome = await log.read("approved", *address, review.tool)
    outcome = outcome or await log.read("result", *address, review.tool)
    decisions = tuple(one.data for one in events if isinstance(one.data, Decided))
    return Card(at, review, decisions, None if outcome is None else outcome.data)


async def _decide(
    settings: Settings,
    id_: str,
    by: str | None,
    note: str,
    decision: Literal["approve", "deny"],
    json_: bool,
) -> None:
    who = by if by is not None else getpass.getuser()
    card = await _card(settings, id_)
    at = card.at
    if card.state != "waiting":
        raise UserError(f"{id_} is not waiting any more: {card.state}")
    if as_token(who) == as_token(card.review.requester):
        raise UserError(f"{who} asked for this action, and somebody else has to decide about it")
    body = _body(card, who, note, decision)
    address = Subject(at.cell, "reviewed", at.tenant, at.request_id, at.step, as_token(who))
    async with connected(settings, f"reviewer-{at.tenant}") as client:
        committer = Committer(client)
        outcome = await committer.commit_wire([(str(address), body, EXPECT_NEW)])
        await committer.close()
    if outcome is not Committed.NEW:
        raise UserError(f"{who} has decided about {id_} before")
    if json_:
        print_json({"id": id_, "decision": decision, "by": who, "subject": str(address)})
    else:
        done = "approved" if decision == "approve" else "denied"
        out.print(f"{done} by {who}: {card.review.summary}", markup=False)


def _body(card: Card, who: str, note: str, decision: Literal["approve", "deny"]) -> bytes:
    """The decision as it is published; raises `UserError` for a name or note that is none."""
    try:
        decided = Decided(
            action=card.at.step,
            decision=decision,
            digest=card.review.digest,
            by=who,
            note=note,
        )
        body = decided.model_dump_json().encode()
        parse_data(EVENT["reviewed"], body)
    except ValueError:
        raise UserError("--by or --note holds what is not allowed in text, or is empty") from None
    return body
