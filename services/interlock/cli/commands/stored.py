"""`bundle list`, `show`, `history`, `status`, `diff`: looking at bundles."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from interlock.cli.commands.activation import ReferenceArgument, sentence
from interlock.cli.commands.bundle import compiled, describe
from interlock.cli.common import JsonOption, StateOption, out, print_json, run, settings_of
from interlock.runtime.errors import UserError
from interlock_contracts.table import BUNDLED

if TYPE_CHECKING:
    from interlock.bundles.errors import BundleRefused
    from interlock.bundles.model import Bundle
    from interlock.runtime.bundles.pointer import Entry
    from interlock.runtime.bundles.store import Pushed
    from interlock.runtime.bundles.words import Word
    from interlock.runtime.settings import Settings
    from interlock_contracts.activation import Activation

app = typer.Typer()
"""Its commands are among those of `bundle`."""


@app.command()
def history(state: StateOption = None, json_: JsonOption = False) -> None:
    """Every activation: when, what, by whom and why; the last one holds."""
    from interlock.cli.operator import desk
    from interlock.runtime.bundles import pointer

    async def work() -> "list[Entry]":
        async with desk(settings_of(state)) as at:
            return await pointer.history(at.log)

    entries = run(work())
    if json_:
        for one in entries:
            print_json({"at": one.at.isoformat(), **one.activation.model_dump(mode="json")})
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("when", "how", "requests start on", "by", "reason"):
        table.add_column(column, overflow="fold")
    for one in entries:
        now = one.activation
        when = one.at.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(when, now.how, sentence(now), now.by, now.reason)
    out.print(table)


@app.command("list")
def list_(state: StateOption = None, json_: JsonOption = False) -> None:
    """Every stored bundle, in the order they were pushed."""
    from interlock.cli.operator import desk
    from interlock.runtime.bundles import pointer

    async def work() -> "tuple[list[Pushed | BundleRefused], Activation | None]":
        async with desk(settings_of(state)) as at:
            return [one async for one in at.store.pushed()], await pointer.last(at.log)

    found, now = run(work())
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("bundle", "version", "digest", "pushed", "by", "state"):
        table.add_column(column)
    for one in found:
        if isinstance(one, Exception):
            print_json({"refused": str(one)}) if json_ else out.print(f"refused: {one}")
            continue
        bundle, use = one.bundle, _use(now, one.bundle.digest)
        if json_:
            shown = {"name": bundle.name, "version": bundle.version, "digest": bundle.digest}
            print_json({**shown, "pushed": one.at.isoformat(), "by": one.author, "state": use})
            continue
        when = one.at.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(bundle.name, bundle.version, bundle.digest[:19], when, one.author, use)
    if not json_:
        out.print(table)


def _use(now: "Activation | None", digest: str) -> str:
    if now is None:
        return ""
    canary = now.canary.bundle if now.canary else None
    uses = {now.bundle: "active", canary: "canary", now.shadow: "shadow"}
    return uses.get(digest, "")


@app.command()
def show(
    reference: ReferenceArgument,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """What is in a stored bundle; with --json all of it, as `bundle build` writes it."""
    from interlock.cli.operator import desk

    async def work() -> "Bundle":
        async with desk(settings_of(state)) as at:
            return await at.read(reference)

    bundle = run(work())
    if json_:
        print_json(bundle.model_dump(mode="json"))
    else:
        describe(bundle)


@app.command()
def status(state: StateOption = None, json_: JsonOption = False) -> None:
    """What requests start on, and which of the live services follow that."""
    from interlock.cli.operator import desk
    from interlock.runtime.bundles import pointer

    async def work() -> "tuple[Activation | None, list[Word]]":
        async with desk(settings_of(state)) as at:
            return await pointer.last(at.log), await at.rollout.status()

    now, words = run(work())
    if now is None:
        raise UserError("no bundle is active: `interlock bundle activate` is the first step")
    behind = [word for word in words if word.number != now.number]
    if json_:
        services = [word.model_dump(mode="json") for word in words]
        print_json({**now.model_dump(mode="json"), "services": services})
    else:
        out.print(f"[bold]{sentence(now)}[/]")
        for word in words:
            follows = "follows" if word.number == now.number else f"is at {word.number}"
            out.print(f"  {word.service:<20} {word.instance} {follows}", markup=False)
    if behind or {word.service for word in words} < set(BUNDLED):
        raise typer.Exit(1)


@app.command()
def outcomes(
    since: Annotated[
        int | None,
        typer.Option(min=1, help="From this activation on; default: the last one."),
    ] = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """How requests ended since an activation, bundle by bundle: how a canary is doing."""
    from interlock.cli.outcomes import outcomes_since

    found = run(outcomes_since(settings_of(state), since))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("bundle", "requests", "answered", "refused", "failed", "most frequent failures"):
        table.add_column(column, overflow="fold")
    for one in found:
        if json_:
            print_json(asdict(one) | {"requests": one.requests})
            continue
        shares = [
            f"{one.endings.get(ending, 0)} ({one.endings.get(ending, 0) / one.requests:.0%})"
            for ending in ("answered", "refused", "failed")
        ]
        codes = ", ".join(f"{count} {code}" for code, count in one.failures.items())
        table.add_row(one.name, str(one.requests), *shares, codes)
    if not json_:
        out.print(table if found else "no request has ended since")


@app.command()
def diff(
    before: Annotated[
        str, typer.Argument(metavar="A", help="A folder or file, or a stored bundle as elsewhere.")
    ],
    after: Annotated[
        str | None,
        typer.Argument(metavar="[B]", help="The same; without it, from the active bundle to A."),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Show the changed lines of texts.")
    ] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """What changes from A to B, in words: who can reach what first. Exit status 1 if anything."""
    from interlock.bundles.difference import differences

    pair = (before, after) if after is not None else (None, before)
    one, other = run(_both(settings_of(state), pair))
    found = differences(one, other)
    if json_:
        print_json({"before": one.digest, "after": other.digest, "changes": len(found)})
        for change in found:
            print_json(asdict(change))
    else:
        names = [f"{b.name} {b.version} ({b.digest[:19]}…)" for b in (one, other)]
        out.print(" → ".join(names), style="bold", markup=False)
        for change in found:
            mark = {"added": "+", "removed": "-", "changed": "~"}[change.kind]
            out.print(f"{mark} {change.text}", markup=False)
            for line in change.lines if lines else ():
                out.print(f"    {line}", style="dim", markup=False)
        if not found:
            out.print("they are the same bundle")
    if found:
        raise typer.Exit(1)


async def _both(settings: "Settings", pair: "tuple[str | None, str]") -> "tuple[Bundle, Bundle]":
    """Two bundles; the broker is asked only for those that are no files. None: the active one."""
    from interlock.cli.operator import desk
    from interlock.runtime.bundles import pointer

    compiled_ = {one: compiled(Path(one), False) for one in pair if one and Path(one).exists()}  # noqa: ASYNC240
    if len(compiled_) == len(set(pair)):
        return compiled_[pair[0] or ""], compiled_[pair[1]]
    async with desk(settings) as at:

        async def read(reference: str | None) -> "Bundle":
            if reference in compiled_:
                return compiled_[reference]
            if reference is not None:
                return await at.read(reference)
            now = await pointer.last(at.log)
            if now is None:
                raise UserError("no bundle is active to compare with; name two")
            return await at.store.get(now.bundle)

        return await read(pair[0]), await read(pair[1])
