"""`review`: actions and answers that wait for somebody's approval."""

import getpass
from dataclasses import replace
from typing import Annotated

import typer
from rich.table import Table

from interlock.cli.common import (
    JsonOption,
    StateOption,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.cli.reviews import Card, Decision, all_cards, decide, one_card
from interlock.runtime.errors import UserError
from interlock_contracts.actions import Review
from interlock_contracts.answer_review import AnswerReview
from interlock_contracts.subjects import TOKEN, as_token

app = typer.Typer(
    help="The review queue: what waits for a person, why, and the decision.",
    no_args_is_help=True,
)

ActionArgument = Annotated[
    str, typer.Argument(metavar="REQUEST_ID/ACTION", help="As `review list` prints it.")
]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides. Default: your login.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why; kept in the audit log.")]

Sections = list[tuple[str, list[str]]]


@app.command("list")
def list_(
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "*",
    all_: Annotated[bool, typer.Option("--all", help="Also what was decided.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """List the actions and answers that wait for a reviewer."""
    if tenant != "*" and not TOKEN.fullmatch(tenant):
        raise UserError(f"{tenant[:64]!r} is no tenant")
    cards = run(all_cards(settings_of(state), tenant))
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
        asked, expires = card.question, f"{card.question.expires_at:%Y-%m-%d %H:%M}"
        who = (card.id, card.at.tenant, asked.review_class, asked.requester)
        table.add_row(*who, card.state, expires, card.summary)
    out.print(table)


@app.command()
def show(id_: ActionArgument, state: StateOption = None, json_: JsonOption = False) -> None:
    """Show the why-card: what shall run or go out, what it rests on, and what judged it."""
    card = run(one_card(settings_of(state), id_))
    if json_:
        print_json(card.as_json())
        return
    asked = card.question
    if isinstance(asked, Review):
        out.print(asked.summary, style="bold", markup=False)
    else:
        out.print(asked.answer.text, style="bold", markup=False)
    for name, text in (
        ("tool", asked.tool if isinstance(asked, Review) else ""),
        ("requester", f"{asked.requester} of {card.at.tenant}"),
        ("asked", asked.request_text),
        ("class", asked.review_class),
        ("may decide", ", ".join(asked.reviewers)),
        ("state", card.state),
        ("expires", f"{asked.expires_at:%Y-%m-%d %H:%M:%S %Z}"),
        ("digest", asked.digest),
    ):
        if text:
            out.print(f"  {name:<12} {text}", markup=False)
    for title, lines in _of_action(asked) if isinstance(asked, Review) else _of_answer(asked):
        out.print(title, style="bold")
        for line in lines or ["none"]:
            out.print(f"  {line}", markup=False)
    for one in card.decisions:
        out.print(f"{one.by}: {one.decision} {one.note}".rstrip(), markup=False)


def _of_action(review: Review) -> Sections:
    """What a reviewer should look at before an action is approved, by heading."""
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


def _of_answer(review: AnswerReview) -> Sections:
    """What a reviewer should look at before an answer goes out, by heading."""
    answer = review.answer
    wrong = [
        line
        for one in review.objections
        for line in (f"{one.code} {one.path}: {one.message}", f"    {one.mend}")
    ]
    before = [
        f"{one.step}: {' '.join(one.text.split()) or 'no text'} "
        f"({', '.join(found.code for found in one.violations)})"
        for one in review.attempts
    ]
    passages = [
        f"{one.handle} {one.document_id} ({one.trust}, version {one.version[7:19]}): "
        f"{' '.join(one.text.split())}"
        for one in review.chunks
    ]
    found = [
        ("wrong with it", wrong),
        ("sources", [f"{one.handle} {one.title}: “{one.quote}”" for one in answer.sources]),
        ("passages", passages),
        ("earlier attempts", before),
    ]
    if answer.data is not None:
        found.insert(0, ("data", [f"{name} = {value!r}" for name, value in answer.data.items()]))
    if review.overrides:
        found.append(("overrides that want it seen", list(review.overrides)))
    return found


@app.command()
def approve(
    id_: ActionArgument,
    by: ByOption = None,
    note: NoteOption = "",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Approve exactly what the why-card shows: the action runs, or the answer goes out."""
    _decide(id_, by, note, state, json_, "approve")


@app.command()
def deny(
    id_: ActionArgument,
    by: ByOption = None,
    note: NoteOption = "",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Deny the action, or the answer; the requester is told."""
    _decide(id_, by, note, state, json_, "deny")


def _decide(
    id_: str, by: str | None, note: str, state: StateOption, json_: bool, decision: Decision
) -> None:
    who = by if by is not None else getpass.getuser()
    card: Card = run(decide(settings_of(state), id_, who, note, decision))
    if json_:
        address = replace(card.at, event="reviewed", tail=as_token(who))
        print_json({"id": id_, "decision": decision, "by": who, "subject": str(address)})
    else:
        done = "approved" if decision == "approve" else "denied"
        out.print(f"{done} by {who}: {card.summary}", markup=False)
