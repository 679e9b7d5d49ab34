"""`audit`: the audit log, checked."""

from pathlib import Path
from typing import Annotated

import typer

from interlock.cli.common import JsonOption, StateOption, out, print_json, settings_of
from interlock.runtime.errors import UserError

app = typer.Typer(help="The audit log: append-only, signed, checkable.", no_args_is_help=True)


@app.callback()
def _group() -> None: ...


@app.command()
def verify(
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A checkpoint kept elsewhere; shows also that no tail was cut off."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="The public key: key.pub of the installation, or PEM. Default: its own."),
    ] = None,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="Do not open contents; needs no secret at all.")
    ] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Compute every hash and signature of the audit store again. Exit status 1 on findings."""
    from interlock.audit_sink.places import open_reader, public_key
    from interlock.audit_sink.verify import verify as verify_store

    settings = settings_of(state)
    with open_reader(settings, sealed=sealed) as store:
        public = public_key(settings.state, key)
        report = verify_store(store.database, public, store.keys, witness=_witness(checkpoint))
    if json_:
        print_json({"ok": report.ok, **report.model_dump(mode="json")})
    elif report.ok:
        out.print(
            f"[green]verified[/]: {report.covered} of {report.events} records under "
            f"{report.checkpoints} signed checkpoints"
        )
        out.print(f"root {report.root}", style="dim")
    else:
        for finding in report.findings:
            out.print(f"{finding.kind}: {finding.message}", style="red", markup=False)
    if not report.ok:
        raise typer.Exit(1)


def _witness(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the checkpoint {path} cannot be read ({type(error).__name__})") from None
