"""`bundle`: the specification of a feature, checked and built."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from interlock.cli.common import JsonOption, StateOption, err, out, print_json, settings_of

if TYPE_CHECKING:
    from interlock.bundles.model import Bundle
    from interlock.bundles.source import Source

app = typer.Typer(help="Bundles: all that must hold of a feature, as data.", no_args_is_help=True)

PathArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[BUNDLE]", help="Folder or file. [env: INTERLOCK_BUNDLE]"),
]


@app.command()
def check(
    path: PathArgument = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings, too.")] = False,
    json_: JsonOption = False,
) -> None:
    """Compile a bundle and explain its gate, or say all that is wrong, with file and line.

    Told is which tools are reachable from which intent, for whom and under which obligations;
    then, as warnings, what is probably not meant.
    """
    from interlock.bundles.advice import advise
    from interlock.bundles.reach import ways
    from interlock.cli.gate_table import gate_json, print_gate

    bundle, source = _compiled_from(path, json_)
    found = ways(bundle)
    warnings = advise(bundle, source, found)
    if json_:
        told = {"ok": True, "problems": [], "warnings": [asdict(one) for one in warnings]}
        print_json({**told, **_summary(bundle), **gate_json(bundle, found)})
    else:
        describe(bundle)
        print_gate(bundle, found)
        for one in warnings:
            err.print(f"warning: {one.place}: {one.message}", markup=False)
    if strict and warnings:
        raise typer.Exit(1)


def describe(bundle: "Bundle") -> None:
    """Print what is in a bundle."""
    out.print(f"[bold]{bundle.name}[/] {bundle.version}")
    out.print(bundle.digest, style="dim")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("intent", "risk", "tools", "roles", "sources"):
        table.add_column(column, overflow="fold")
    for name, intent in bundle.intents.items():
        roles = ", ".join(intent.roles) or "everybody"
        refused = "(refused)" if intent.refusal is not None else ""
        tools = ", ".join(intent.tools) or refused
        table.add_row(name, str(intent.risk), tools, roles, ", ".join(intent.sources))
    out.print(table)
    counts = {
        "tools": len(bundle.tools),
        "sources": len(bundle.sources),
        "policy files": len(bundle.policies),
        "prompts": len(bundle.prompts),
        "model routes": len(bundle.models),
    }
    out.print(", ".join(f"{count} {what}" for what, count in counts.items()), style="dim")
    out.print(f"personal data: {_redacted(bundle)}", style="dim", markup=False)


def _redacted(bundle: "Bundle") -> str:
    """Which personal data is kept from models, in one line."""
    if bundle.privacy is None:
        return "not redacted; add a privacy section to keep it from models"
    kinds = [*bundle.privacy.kinds, *(own.kind for own in bundle.privacy.recognisers)]
    return f"redacted ({', '.join(kinds) or 'no kind'})"


@app.command()
def build(
    path: PathArgument = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file. Default: <state>/bundles/<digest>.json."),
    ] = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Compile a bundle into one file, named by its digest: what services and replays load."""
    from interlock.bundles.compile import write_bundle
    from interlock.bundles.store import bundle_file
    from interlock.runtime.errors import UserError

    bundle = compiled(path, json_)
    file = output or bundle_file(settings_of(state).state / "bundles", bundle.digest)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bundle(bundle, file)
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror})") from None
    if json_:
        print_json({"file": str(file), "digest": bundle.digest, "folders": folders(bundle)})
    else:
        out.print(str(file), markup=False)
    say_what_stays(bundle)


def folders(bundle: "Bundle") -> dict[str, str]:
    """The folders of documents that a bundle names, by source: they do not travel with it."""
    return {name: one.path for name, one in bundle.sources.items() if one.path is not None}


def say_what_stays(bundle: "Bundle") -> None:
    """Say of a bundle that is sent off what it leaves behind, if it does, and the mend."""
    named = ", ".join(f"{name} ({path})" for name, path in folders(bundle).items())
    if named:
        err.print(
            f"the documents of {named} do not travel with it: the retriever wants these folders "
            "beside its own bundle; what `interlock ingest` puts on the log needs no path",
            style="yellow",
            markup=False,
        )


def compiled(path: Path | None, json_: bool) -> "Bundle":
    """The bundle at `path`, or that of the settings; with all its problems said, exit status 1."""
    return _compiled_from(path, json_)[0]


def _compiled_from(path: Path | None, json_: bool) -> "tuple[Bundle, Source]":
    from interlock.bundles.compile import compile_from
    from interlock.bundles.errors import BundleError

    path = path or settings_of().bundle
    try:
        return compile_from(path)
    except BundleError as error:
        if json_:
            print_json({"ok": False, "problems": error.problems})
        else:
            for problem in error.problems:
                err.print(problem, markup=False)
        raise typer.Exit(1) from None


def _summary(bundle: "Bundle") -> dict[str, Any]:
    return {
        "name": bundle.name,
        "version": bundle.version,
        "digest": bundle.digest,
        "intents": {
            name: {
                "risk": intent.risk.value,
                "tools": intent.tools,
                "roles": intent.roles,
                "sources": intent.sources,
                "refused": intent.refusal is not None,
            }
            for name, intent in bundle.intents.items()
        },
        "tools": sorted(bundle.tools),
        "sources": sorted(bundle.sources),
        "policies": sorted(bundle.policies),
    }
