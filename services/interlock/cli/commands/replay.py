"""`replay`: requests run again from the log: verified, asked what-if, or bisected."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from interlock.cli.common import (
    JsonOption,
    StateOption,
    err,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.cli.replays import Candidates, Replays, replayed, selection, with_replays
from interlock.runtime.errors import UserError

IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Requests by id (ULIDs), or one case file."),
]
SinceOption = Annotated[
    str | None,
    typer.Option(help="Every request logged since: a sequence (1200), a time, or 90m, 2h, 7d."),
]
UntilOption = Annotated[str | None, typer.Option(help="… and before; given as --since is.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(help="Only those with tenant=, intent=, outcome=, code= or tool=. Repeatable."),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(min=1, help="Replay processes. Default: one for ids, else one a core."),
]
WithOption = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        help="What if: bundle=DIR|DIGEST, model=PROVIDER:MODEL, stage.NAME=package.module:function "
        "or stage.generator=FILE with scripted outputs. Repeatable.",
    ),
]


class _Verifies(TyperGroup):
    """A group whose command may be left out: then it is the one that takes ids."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in where the first argument names none."""
        if not args or args[0] not in self.commands:
            args = ["requests", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_Verifies, help="Run requests again: verify, ask what-if, bisect.")


@app.command("requests", context_settings={"help_option_names": ["-h", "--help"]})
def replay(
    request_ids: IdsArgument = None,
    since: SinceOption = None,
    until: UntilOption = None,
    where: WhereOption = None,
    with_: WithOption = None,
    search: Annotated[
        bool, typer.Option("--search", help="Ask the index again, too, and compare what it finds.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="What if: also a report to look at, in one HTML file.")
    ] = None,
    to_test: Annotated[
        Path | None, typer.Option(help="Make a regression test of a case file: a Python file.")
    ] = None,
    processes: ProcessesOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Run requests again over what is recorded of them, and compare every output.

    Nothing is asked of a model, an index or a tool, and nothing is published. Exit status 0 if
    all are identical, 1 if one diverged. The command word `requests` can be left out.

    With --search the retriever searches again: the index that a record names if it is kept
    here, else the one that answers now, which is then named as the divergence.

    With --with: what would have come of them. What is replaced runs, the rest is as recorded.
    Exit status 0 if no outcome flips and all can be evaluated, else 1.

    `interlock replay bisect --good BUNDLE --bad BUNDLE ID...` names the part that makes the
    difference.
    """
    settings = settings_of(state)
    wanted = selection(request_ids or (), since, until, where or ())
    if to_test is not None:
        from interlock.replay.regression import write_test

        if wanted.case is None or request_ids is None:
            raise UserError("--to-test makes a test of a case file: interlock events ID --export")
        out.print(f"wrote {write_test(wanted.case, Path(request_ids[0]), to_test, with_)}")
        return
    if search and (with_ or wanted.case is not None):
        raise UserError("--search verifies what is on the log here: no --with, and no case file")
    if with_:
        good = run(
            with_replays(
                settings, wanted, lambda given: _what_if(given, with_, html, processes, json_)
            )
        )
    elif html is not None:
        raise UserError("--html reports a what-if: say what to replace, --with bundle=DIR")
    else:
        good = run(
            with_replays(settings, wanted, lambda given: _verify(given, search, processes, json_))
        )
    if not good:
        raise typer.Exit(1)


async def _verify(given: Replays, search: bool, processes: int | None, json_: bool) -> bool:
    wanted = given.wanted
    if wanted.case is not None and wanted.case.redacted:
        raise UserError(
            "this case is redacted: its digests no longer fit, so it can be asked --with, "
            "but not verified"
        )
    if wanted.case is not None and wanted.case.proofs and not json_:
        err.print("it carries proofs: `interlock audit verify --case` checks them", style="dim")
    count, diverged = 0, 0
    async for found in replayed(given, {"task": "verify", "search": search}, processes):
        count += 1
        diverged += not found["identical"]
        if json_:
            print_json(found)
        elif wanted.span is None or not found["identical"]:
            out.print(_as_text(found), markup=False)
    if wanted.span is not None and not json_:
        out.print(f"{count:,} requests: {count - diverged:,} identical, {diverged:,} diverged")
    _note_none(count)
    return diverged == 0


def _note_none(count: int) -> None:
    if count == 0:
        err.print("no request matches", style="dim")


def _as_text(found: dict[str, Any]) -> str:
    from interlock.replay.difference import as_diff
    from interlock.replay.verify import INDEX

    request_id, divergences = found["request_id"], found["divergences"]
    if divergences:
        first = divergences[0]
        more = f" (and {len(divergences) - 1} more)" if len(divergences) > 1 else ""
        place = f"{first['subject']} {first['pointer']}".strip()
        lines = as_diff(first["recorded"], first["replayed"])
        if first["pointer"] == INDEX:
            lines.append("the index that it was answered from is not kept here any more")
        return "\n".join([f"{request_id} diverged at the {first['stage']}: {place}{more}", *lines])
    if found["erased"] and not found["reproduced"] and not found["erased_documents"]:
        return f"{request_id} erased: `interlock events {request_id}` says by whom"
    notes = [f"{found['events']} events", f"{found['reproduced']} reproduced"]
    if found["erased_documents"]:
        named = ", ".join(found["erased_documents"])
        return f"{request_id} document erased: {named}, and all it led to ({', '.join(notes)})"
    if found["accepted"]:
        notes.append(f"{len(found['accepted'])} accepted as recorded")
    if found["pending"]:
        notes.append(f"{len(found['pending'])} still to be processed")
    return f"{request_id} identical ({', '.join(notes)})"


async def setup_config(given: list[str], candidates: Candidates) -> dict[str, Any]:
    """What `--with` says, as the replay processes are told it; raises `UserError`."""
    from interlock.replay.whatif import stage_named

    config: dict[str, Any] = {"stages": {}}
    for one in given:
        name, _, value = one.partition("=")
        actor = stage_named(name.removeprefix("stage."))
        if name == "bundle" and value:
            config["bundle"] = await candidates.add(value)
        elif name == "model" and value.partition(":")[2]:
            config["model"] = list(value.partition(":")[::2])
        elif name.startswith("stage.") and actor is not None and ":" in value:
            config["stages"][actor.value] = value
        elif name == "stage.generator" and value:
            config["scripted"] = scripted(Path(value))
        else:
            raise UserError(
                f"--with {one!r}: bundle=DIR|DIGEST, model=PROVIDER:MODEL, "
                "stage.NAME=package.module:function, or stage.generator=FILE"
            )
    return config


def scripted(path: Path) -> list[dict[str, Any]]:
    """Outputs for the model's place: a JSON or YAML list of `match`, `output`, `on_step`."""
    import yaml
    from pydantic import TypeAdapter, ValidationError

    from interlock.models.scripted import ScriptedOutput

    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        outputs = TypeAdapter(list[ScriptedOutput]).validate_json(json.dumps(given, default=str))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValidationError, yaml.YAMLError):
        raise UserError(
            f"{path}: a list of {{match: TEXT, output: TEXT or OBJECT, on_step: NUMBER}} is needed"
        ) from None
    return [one.model_dump(mode="json") for one in outputs]


async def _what_if(
    given: Replays,
    with_: list[str],
    html: Path | None,
    processes: int | None,
    json_: bool,
) -> bool:
    from interlock.replay.whatif_report import summary, write_html

    config = {"task": "what-if", **await setup_config(with_, given.candidates)}
    counts: Counter[str] = Counter()
    kept: list[dict[str, Any]] = []
    async for found in replayed(given, config, processes, models="model" in config):
        counts[found["change"]] += 1
        if found["change"] != "same":
            kept.append(found if html is not None else {**found, "sides": None})
        if json_:
            print_json({name: value for name, value in found.items() if name != "sides"})
    if not json_:
        if kept:
            out.print(_table(kept))
        out.print(summary(counts))
    if html is not None:
        write_html(html, ", ".join(with_), counts, kept)
    _note_none(counts.total())
    return not counts["flip"] and not counts["cannot_evaluate"]


def _table(found: list[dict[str, Any]]) -> Table:
    from interlock.replay.whatif_report import WORDS, actions, ordered

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("request", "change", "before → after", "why"):
        table.add_column(column, overflow="fold")
    for one in ordered(found):
        sides = [
            "\n".join(filter(None, (side["result"], actions(side))))
            for side in (one["before"], one["after"])
        ]
        change = WORDS[one["change"]] + (", lets through more" if one["opened"] else "")
        table.add_row(one["request_id"], change, " → ".join(sides), one["why"])
    return table


@app.command()
def bisect(
    good: Annotated[str, typer.Option(help="The bundle it worked with: folder, file or digest.")],
    bad: Annotated[str, typer.Option(help="The bundle it does not work with.")],
    request_ids: IdsArgument = None,
    since: SinceOption = None,
    until: UntilOption = None,
    where: WhereOption = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", help="Of the bad side: stage.NAME=package.module:function."),
    ] = None,
    processes: ProcessesOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Name the one part of a bundle, or the stage, whose swap flips the outcome, and its area.

    Exit status 0 if somebody is to blame for every request whose outcome differs.
    """
    settings = settings_of(state)
    wanted = selection(request_ids or (), since, until, where or ())
    sides = good, bad
    if not run(
        with_replays(
            settings, wanted, lambda given: _bisect(given, sides, with_ or [], processes, json_)
        )
    ):
        raise typer.Exit(1)


async def _bisect(
    given: Replays,
    sides: tuple[str, str],
    with_: list[str],
    processes: int | None,
    json_: bool,
) -> bool:
    config = await setup_config(with_, given.candidates)
    if set(config) != {"stages"}:
        raise UserError("a bisection replaces stages beside the bundles: --with stage.NAME=…")
    good, bad = [await given.candidates.add(one) for one in sides]
    config |= {"task": "bisect", "good": good, "bad": bad}
    blamed: Counter[str] = Counter()
    count, unsolved = 0, 0
    async for found in replayed(given, config, processes):
        count += 1
        unsolved += found["verdict"] not in ("found", "no_difference")
        blamed.update(one["part"] for one in found["blamed"])
        if json_:
            print_json(found)
        else:
            out.print(_blame(found), markup=False)
    if not json_ and count > 1:
        told = ", ".join(f"{part} ({number})" for part, number in blamed.most_common())
        out.print(f"{count:,} requests; to blame: {told or 'nobody'}")
    _note_none(count)
    return unsolved == 0 and count > 0


def _blame(found: dict[str, Any]) -> str:
    sides = f"{found['request_id']} good: {found['good']}, bad: {found['bad']}"
    if found["verdict"] == "cannot_evaluate":
        return f"{sides}: cannot be evaluated: {found['missing']}"
    if found["verdict"] != "found":
        return f"{sides}: {found['verdict'].replace('_', ' ')}"
    parts = " and ".join(
        f"{one['part']} ({', '.join(one['differs'])})" if one["differs"] else one["part"]
        for one in found["blamed"]
    )
    code = f", {found['code']}" if found["code"] else ""
    return f"{sides}\n  to blame: {parts}; stage {found['stage']}; area {found['area']}{code}"
