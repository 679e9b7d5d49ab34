"""`bundle push`, `activate`, `rollback` and what belongs to them: bundles on the broker."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from interlock.cli.commands.bundle import PathArgument, compiled, folders, say_what_stays
from interlock.cli.common import JsonOption, StateOption, err, out, print_json, run, settings_of
from interlock.runtime.errors import UserError

if TYPE_CHECKING:
    from interlock.runtime.bundles.changes import Change
    from interlock.runtime.bundles.pointer import Entry
    from interlock.runtime.bundles.rollout import Outcome
    from interlock.runtime.settings import Settings
    from interlock_contracts.activation import Activation

app = typer.Typer()
"""Its commands are among those of `bundle`."""

ReferenceArgument = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="A digest or its first digits, NAME@VERSION, NAME.")
]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]
AuthorOption = Annotated[
    str | None, typer.Option("--author", help="Who decides this. Default: who is logged in.")
]
EvalOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--require-eval",
        metavar="GOLD",
        help="Only if `interlock eval run` has passed on this gold set; repeatable.",
    ),
]
WithoutOption = Annotated[
    bool,
    typer.Option("--without-services", help="Also if a service is not live to test the bundle."),
]


@app.command()
def push(
    path: PathArgument = None,
    author: AuthorOption = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Then activate it, if it is not active.")
    ] = False,
    reason: ReasonOption = "",
    without: WithoutOption = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Compile a bundle and store it on the broker: signed, by its digest, for ever."""
    from interlock.cli.operator import author as whoever
    from interlock.cli.operator import desk
    from interlock.runtime.bundles import pointer
    from interlock.runtime.bundles.changes import Activate

    if activate:
        _needs(reason)
    bundle = compiled(path, json_)
    who = author or whoever()

    async def work() -> "tuple[bool, Outcome | None]":
        async with desk(settings_of(state)) as at:
            new = await at.push(bundle, who)
            now = await pointer.last(at.log)
            if not activate or (now is not None and now.bundle == bundle.digest):
                return new, None
            change = Activate(bundle.digest)
            return new, await at.start_on(
                bundle.digest, change, who, reason, without_services=without
            )

    new, made = run(work())
    if json_:
        named = {"digest": bundle.digest, "name": bundle.name, "version": bundle.version}
        print_json({**named, "new": new, "folders": folders(bundle)})
    else:
        said = "stored" if new else "stored before"
        out.print(f"{bundle.digest} {bundle.name} {bundle.version}: {said}", markup=False)
    say_what_stays(bundle)
    if made is not None:
        _show(made, json_)


@app.command()
def activate(
    reference: ReferenceArgument,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="As a canary: for this share of the requests, 0..1."),
    ] = None,
    tenant: Annotated[
        list[str] | None, typer.Option(help="As a canary: for this tenant; repeatable.")
    ] = None,
    require_eval: EvalOption = None,
    without: WithoutOption = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Have new requests start on a stored bundle, once every live service has tested it.

    Requests in flight stay on the bundle they started with. With --share or --tenant only some
    start on it: `bundle promote` makes it all of them, `bundle rollback` none.
    """
    from interlock.runtime.bundles.changes import Activate, StartCanary

    _needs(reason)

    def change(digest: str) -> "Change":
        if share is None and not tenant:
            return Activate(digest)
        return StartCanary(digest, share or 0.0, tuple(tenant or ()))

    made = run(
        _change(settings_of(state), reference, change, author, reason, require_eval, without)
    )
    _show(made, json_)


@app.command()
def promote(
    reason: ReasonOption = "",
    author: AuthorOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Have every request start on the canary's bundle."""
    from interlock.runtime.bundles.changes import Promote

    _needs(reason)
    _show(run(_change(settings_of(state), None, lambda _: Promote(), author, reason)), json_)


@app.command()
def rollback(
    reference: Annotated[
        str | None,
        typer.Argument(metavar="[BUNDLE]", help="Where to; default: what was active before."),
    ] = None,
    reason: ReasonOption = "rollback",
    author: AuthorOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Go back: end the canary if one runs, else to the bundle before, or to a named one.

    It is still loaded in every service, so this takes effect at once. Requests in flight stay
    on the bundle they started with.
    """
    from interlock.runtime.bundles.changes import Rollback

    settings = settings_of(state)
    _show(run(_change(settings, reference, Rollback, author, reason, back=True)), json_)


@app.command()
def shadow(
    reference: Annotated[
        str | None, typer.Argument(metavar="[BUNDLE]", help="Without one: what it has found.")
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Judge no bundle beside any more.")] = False,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Judge every proposal by a second bundle too, and decide nothing by it.

    Without BUNDLE: the verdicts that came out differently, of the shadow that runs.
    """
    from interlock.cli.shadows import report
    from interlock.runtime.bundles.changes import Shadow

    settings = settings_of(state)
    if reference is None and not stop:
        run(report(settings, json_))
        return
    _needs(reason)
    change = (lambda _: Shadow(None)) if stop else Shadow
    _show(run(_change(settings, None if stop else reference, change, author, reason)), json_)


def _needs(reason: str) -> None:
    if not reason.strip():
        raise UserError('why? give --reason "…": it is kept in the audit log')


async def _change(
    settings: "Settings",
    reference: str | None,
    change: Any,
    author: str | None,
    reason: str,
    require_eval: Sequence[Path] | None = None,
    without: bool = False,
    back: bool = False,
) -> "Outcome":
    from interlock.cli.operator import author as whoever
    from interlock.cli.operator import desk
    from interlock.runtime.bundles import pointer

    async with desk(settings) as at:
        if reference is not None:
            digest = await at.find(reference)
        elif back:
            digest = _back(await pointer.history(at.log))
        else:
            digest = ""
        wanted, by = change(digest), author or whoever()
        with err.status("every live service loads and tests it …"):
            if back or not digest:  # neither a way back nor an end is asked for an evaluation
                return await at.rollout.make(wanted, by=by, reason=reason, urgent=back)
            gold = require_eval or ()
            return await at.start_on(digest, wanted, by, reason, gold, without_services=without)


def _back(history: "list[Entry]") -> str:
    from interlock.runtime.bundles import pointer

    if history and history[-1].activation.canary is not None:
        return history[-1].activation.bundle
    before = pointer.before(history)
    if before is None:
        raise UserError("there is nothing to go back to; `interlock bundle history` says what was")
    return before


def _show(made: "Outcome", json_: bool) -> None:
    follows = {word.who: word for word in made.following}
    tested = {word.who: word for word in made.prepared}
    rows: list[dict[str, Any]] = [
        {
            "service": who[0],
            "instance": who[1],
            "tested_ms": tested[who].milliseconds if who in tested else None,
            "active_ms": follows[who].milliseconds if who in follows else None,
            "problem": follows[who].problem if who in follows else "no word yet",
        }
        for who in made.live
    ]
    if json_:
        print_json({**made.activation.model_dump(mode="json"), "services": rows})
        return
    out.print(f"[bold]{sentence(made.activation)}[/]")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("service", "instance", "tested in", "active after"):
        table.add_column(column)
    for row in rows:
        after = row["problem"] or f"{row['active_ms']} ms"
        before = "–" if row["tested_ms"] is None else f"{row['tested_ms']} ms"
        table.add_row(row["service"], row["instance"], before, after)
    if rows:
        out.print(table)
    else:
        out.print("no service is live; those that start follow it", style="dim")


def sentence(now: "Activation") -> str:
    """What requests start on from here on."""
    said = f"{now.number}: {now.name} {now.version} ({now.bundle[:19]}…)"
    if now.canary is not None:
        tenants = ", ".join(now.canary.tenants)
        who = [f"{now.canary.share:.1%} of the requests"] if now.canary.share else []
        who += [f"tenant {tenants}"] if tenants else []
        said += f"; {now.canary.bundle[:19]}… for {' and '.join(who)}"
    if now.shadow is not None:
        said += f"; {now.shadow[:19]}… is judged beside"
    return said
