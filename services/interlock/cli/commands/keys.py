"""`keys`: the keys that grants are signed with, and the epoch below which grants are revoked."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from interlock.cli.common import JsonOption, StateOption, out, print_json, run, settings_of
from interlock.runtime.errors import UserError

if TYPE_CHECKING:
    from interlock.cli.keyrings import Entry, Holding
    from interlock_contracts.actions import Grant
    from interlock_contracts.keyring import Keyring

app = typer.Typer(
    help="The keys that grants are signed with: rotate, retire, and revoke what was granted.",
    no_args_is_help=True,
)

ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]
AuthorOption = Annotated[
    str | None, typer.Option("--author", help="Who decides this. Default: who is logged in.")
]


@app.command("list")
def list_(state: StateOption = None, json_: JsonOption = False) -> None:
    """List the keys that are or were trusted, and since when; the epoch."""
    from interlock.cli.keyrings import id_of, key_desk

    async def work() -> "tuple[Holding, list[Entry]]":
        async with key_desk(settings_of(state)) as at:
            return await at.now(), await at.history()

    now, history = run(work())
    since: dict[str, Any] = {}
    for one in history:
        for key_id in map(id_of, one.keyring.keys):
            since.setdefault(key_id, None if one.keyring.signing != key_id else one.at)
        for key_id in one.keyring.retired:
            since[f"{key_id} retired"] = since.get(f"{key_id} retired", one.at)
    rows = []
    for key_id in (*map(id_of, now.keys), *now.retired):
        is_ = "signs" if key_id == now.signing else "trusted"
        is_ = "retired" if key_id in now.retired else is_
        at = since.get(f"{key_id} retired") or since.get(key_id)
        rows.append({"key": key_id, "is": is_, "since": at})
    if json_:
        print_json({"number": now.number, "epoch": now.epoch, "keys": rows})
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("key", "is", "since"):
        table.add_column(column)
    for row in rows:
        when = "the installation" if row["since"] is None else f"{row['since']:%Y-%m-%d %H:%M:%S}"
        table.add_row(row["key"], row["is"], when)
    out.print(table)
    out.print(f"epoch {now.epoch}; keyring {now.number}", markup=False)
    if history:
        last = history[-1].keyring
        out.print(f"last change: {last.how} by {last.by}: {last.reason}", markup=False)


@app.command()
def rotate(
    reason: ReasonOption = "",
    author: AuthorOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Sign grants with a new key from now on. What the old one has signed still counts.

    The private key is put below the state folder; the gate takes it from there without a
    restart. Where parts run apart, use the vault's folder and hand out again with `deploy init`:
    until then the gate goes on with the old key.
    """
    from interlock.cli.keyrings import key_desk
    from interlock.cli.operator import author as whoever

    _needs(reason)

    async def work() -> "Keyring":
        async with key_desk(settings_of(state)) as at:
            return await at.rotate(author or whoever(), reason)

    made = run(work())
    _show(made, json_, f"grants are signed with {made.signing}; the keys before are still trusted")


@app.command()
def retire(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id, as `keys list` says it.")],
    reason: ReasonOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also if grants that it has signed have not run yet.")
    ] = False,
    author: AuthorOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Trust a key no longer: executors refuse what it has signed, from this moment on."""
    from interlock.cli.keyrings import key_desk
    from interlock.cli.operator import author as whoever

    _needs(reason)

    async def work() -> "Keyring":
        async with key_desk(settings_of(state)) as at:
            return await at.retire(key_id, author or whoever(), reason, force=force)

    _show(run(work()), json_, f"{key_id} is not trusted any more")


@app.command()
def revoke(
    reason: ReasonOption = "",
    author: AuthorOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Void every grant there is. Executors refuse them; what is approved from now on runs.

    A tool call that has begun is not taken back.
    """
    from interlock.cli.keyrings import key_desk
    from interlock.cli.operator import author as whoever

    _needs(reason)

    async def work() -> "tuple[Keyring, list[Grant]]":
        async with key_desk(settings_of(state)) as at:
            return await at.revoke(author or whoever(), reason)

    made, waiting = run(work())
    actions = [f"{grant.request_id}/{grant.action}" for grant in waiting]
    told = f"epoch {made.epoch}: {len(actions)} grants that had not run are revoked"
    _show(made, json_, "\n  ".join([told, *actions]), revoked=actions)


def _needs(reason: str) -> None:
    if not reason.strip():
        raise UserError('why? give --reason "…": it is kept in the audit log')


def _show(made: "Keyring", json_: bool, sentence: str, **more: Any) -> None:
    if json_:
        print_json({**made.model_dump(mode="json"), **more})
    else:
        out.print(f"{made.number}: {sentence}", markup=False)
