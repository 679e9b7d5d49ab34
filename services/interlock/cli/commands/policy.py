"""`policy`: the gate's rules against what was really asked of it."""

import json
from collections import Counter
from typing import Annotated, Any

import typer
from rich.table import Table

from interlock.cli.commands.replay import (
    IdsArgument,
    ProcessesOption,
    SinceOption,
    UntilOption,
    WhereOption,
)
from interlock.cli.common import JsonOption, StateOption, out, print_json, run, settings_of
from interlock.cli.replays import Replays, replayed, selection, with_replays

app = typer.Typer(no_args_is_help=True, help="Try policies on what was really proposed.")

DIRECTIONS = ("deny→allow", "looser", "tighter")
"""In the order of the list: what would be let through first."""


@app.callback()
def _group() -> None: ...


@app.command()
def backtest(
    bundle: Annotated[str, typer.Option(help="The candidate: folder, file or digest.")],
    request_ids: IdsArgument = None,
    since: SinceOption = None,
    until: UntilOption = None,
    where: WhereOption = None,
    allow_tighter: Annotated[
        bool, typer.Option(help="Flips that only tighten are no failure.")
    ] = False,
    processes: ProcessesOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Judge every recorded proposal again under a candidate's gate; list every flip.

    Intent, context, proposal and facts are as recorded. A fact that is not on the record makes a
    proposal one that cannot be evaluated, which never passes. Exit status 0 if nothing flips and
    everything can be evaluated, else 1.
    """
    settings = settings_of(state)
    wanted = selection(
        request_ids or (), since or (None if request_ids else "1"), until, where or ()
    )
    if not run(
        with_replays(
            settings,
            wanted,
            lambda given: _backtest(given, bundle, allow_tighter, processes, json_),
        )
    ):
        raise typer.Exit(1)


async def _backtest(
    given: Replays,
    bundle: str,
    allow_tighter: bool,
    processes: int | None,
    json_: bool,
) -> bool:
    config = {"task": "backtest", "bundle": await given.candidates.add(bundle)}
    counts: Counter[str] = Counter()
    flips: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    async for found in replayed(given, config, processes):
        for row in found["rows"]:
            kind = row["direction"] if row["change"] == "flip" else row["change"]
            kind = "same" if row["change"] == "flip" and kind == "same" else kind
            counts[kind] += 1
            if kind in DIRECTIONS:
                flips.append(row)
            elif row["missing"]:
                missing.append(row)
    flips.sort(key=lambda row: DIRECTIONS.index(row["direction"]))
    if json_:
        for row in [*flips, *missing]:
            print_json(row)
    else:
        _show(flips, missing, counts)
    bad = [row for row in flips if not (allow_tighter and row["direction"] == "tighter")]
    return not bad and not missing


def _show(flips: list[dict[str, Any]], missing: list[dict[str, Any]], counts: Counter[str]) -> None:
    if flips:
        out.print(_table(flips))
    if missing:
        out.print("cannot be evaluated:")
        for row in missing:
            out.print(f"  {row['request_id']} step {row['step']}: {row['missing']}", markup=False)
    told = ", ".join(f"{counts[name]:,} {name}" for name in DIRECTIONS)
    out.print(
        f"{counts.total():,} proposals judged again: {told}, {counts['same']:,} the same, "
        f"{counts['cannot_evaluate']:,} cannot be evaluated"
    )


def _table(flips: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("", "request", "proposed", "before → after", "decided by"):
        table.add_column(column, overflow="fold")
    for row in flips:
        proposed = "an answer"
        if row["tool"] is not None:
            proposed = f"{row['tool']} {json.dumps(row['arguments'], ensure_ascii=False)}"
        before, after = row["before"], row["after"]
        by = ", ".join([*after["policies"], *after["codes"]])
        if not by:
            by = ", ".join(f"no more {one}" for one in (*before["policies"], *before["codes"]))
        table.add_row(
            row["direction"],
            f"{row['request_id']}/{row['step']}",
            proposed,
            f"{before['decision']} → {after['decision']}",
            by,
        )
    return table
