"""`audit`: the audit log, checked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.commands import audit_custody, audit_erase, audit_read
from interlock.cli.common import JsonOption, StateOption, err, out, print_json, settings_of
from interlock.runtime.errors import UserError
from interlock_contracts.base import Model

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from interlock.audit_sink.verify import Report

app = typer.Typer(help="The audit log: append-only, signed, checkable.", no_args_is_help=True)


app.command()(audit_read.query)
app.command()(audit_read.lineage)
app.command()(audit_read.export)
app.command(name="open")(audit_read.open_)
app.command()(audit_erase.erase)
app.command()(audit_custody.expire)
app.command()(audit_custody.hold)
app.command()(audit_custody.release)
app.command()(audit_custody.holds)


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
    export: Annotated[
        Path | None, typer.Option(help="Check this export instead of the store.")
    ] = None,
    proof: Annotated[
        Path | None, typer.Option(help="Check this proof (of `audit prove`) instead of the store.")
    ] = None,
    case: Annotated[
        Path | None,
        typer.Option(help="Check this case file (of `events --export`) instead of the store."),
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

    if sum(one is not None for one in (export, proof, case)) > 1:
        raise UserError("--export, --proof and --case are checked one at a time")
    settings = settings_of(state)
    public = public_key(settings.state, key)
    if proof is not None:
        _say_proof(proof, public, json_=json_)
        return
    if export is not None:
        _say_export(export, public, json_=json_)
        return
    if case is not None:
        _say_case(case, public, json_=json_)
        return
    with open_reader(settings, sealed=sealed) as store, err.status("verifying"):
        report = verify_store(store.database, public, store.keys, witness=_witness(checkpoint))
    if json_:
        print_json({"ok": report.ok, **report.model_dump(mode="json")})
    else:
        _say_report(report)
    if not report.ok:
        raise typer.Exit(1)


def _say_report(report: "Report") -> None:
    for finding in report.findings:
        out.print(f"{finding.kind}: {finding.message}", style="red", markup=False)
    if not report.ok:
        return
    out.print(
        f"[green]verified[/]: {report.covered} of {report.events} records under "
        f"{report.checkpoints} signed checkpoints"
    )
    for number, what in (
        (report.gone, "contents were erased or have expired, by orders that are on record"),
        (len(report.lost), "events were lost before they could be recorded; so it is recorded"),
        (report.unopened, "old records can be checked only with their keys"),
    ):
        if number:
            out.print(f"{number} {what}")
    out.print(f"root {report.root}", style="dim")


@app.command()
def checkpoint(state: StateOption = None) -> None:
    """Print the latest signed checkpoint. Keep it elsewhere: it shows if ever a tail is cut off."""
    from interlock.audit_sink.places import open_reader

    with open_reader(settings_of(state), sealed=True) as store:
        typer.echo(store.checkpoint(), nl=False)


@app.command()
def prove(
    event: Annotated[
        str | None, typer.Option(help="An event: its sequence, subject or id; proves it is there.")
    ] = None,
    since: Annotated[
        Path | None, typer.Option(help="An older checkpoint; proves the log only grew since.")
    ] = None,
    under: Annotated[
        Path | None, typer.Option("--checkpoint", help="Prove under this checkpoint, not the last.")
    ] = None,
    content: Annotated[
        bool, typer.Option("--content", help="With the event's content, readable by who has this.")
    ] = False,
    state: StateOption = None,
) -> None:
    """Print a proof as JSON. `audit verify --proof FILE --key key.pub` checks it anywhere."""
    from interlock.audit_sink.places import open_reader
    from interlock.audit_sink.proofs import prove_consistency, prove_inclusion

    if (event is None) == (since is None):
        raise UserError("name one of --event and --since")
    with open_reader(settings_of(state)) as store:
        note = _witness(under)
        found: Model
        if event is None:
            found = prove_consistency(store, _witness(since) or "", note)
        else:
            record = store.find(event)
            if record is None:
                raise UserError(f"nothing is on record under {event!r}")
            found = prove_inclusion(store, record.sequence, note, opened=content)
    typer.echo(found.model_dump_json())


def _say_proof(path: Path, key: "Ed25519PublicKey", *, json_: bool) -> None:
    from interlock.audit_sink.proofs import (
        Inclusion,
        check_consistency,
        check_inclusion,
        read_proof,
    )

    proof = read_proof(_witness(path) or "")
    if isinstance(proof, Inclusion):
        wrong, what = check_inclusion(proof, key), proof.columns.get("subject", "")
        holds = f"record {proof.sequence} ({what}) is in the log"
    else:
        wrong, holds = check_consistency(proof, key), "the log only grew between the checkpoints"
    if json_:
        print_json({"ok": wrong is None, "wrong": wrong})
    elif wrong is None:
        out.print(f"proven: {holds}", markup=False)
    else:
        out.print(f"not proven: {wrong}", style="red", markup=False)
    if wrong is not None:
        raise typer.Exit(1)


def _say_export(path: Path, key: "Ed25519PublicKey", *, json_: bool) -> None:
    from interlock.audit_sink.export import check_export

    count, found = 0, []
    with err.status("verifying"):
        for sequence, wrong in check_export(path, key):
            count += 1
            if wrong is not None:
                found.append({"sequence": sequence, "wrong": wrong})
    if json_:
        print_json({"ok": not found, "records": count, "findings": found})
    else:
        for one in found:
            out.print(f"record {one['sequence']}: {one['wrong']}", style="red", markup=False)
        if not found:
            out.print(f"[green]verified[/]: each of {count} records is in the log as signed")
    if found:
        raise typer.Exit(1)


def _say_case(path: Path, key: "Ed25519PublicKey", *, json_: bool) -> None:
    from interlock.replay.case import read_case
    from interlock.replay.proven import check, covered, read_proofs

    case = read_case(path)
    if not case.proofs:
        raise UserError(f"{path} carries no proofs: {_UNPROVEN[case.redacted]}")
    proofs = read_proofs(case.proofs)
    found = check(case.messages, proofs, key)
    if json_:
        print_json({"ok": not found, "messages": len(case.messages), "findings": found})
    else:
        for one in found:
            out.print(one, style="red", markup=False)
        if not found:
            out.print(
                f"[green]proven[/]: each of {len(case.messages)} messages is in the log as signed, "
                f"under a checkpoint of {covered(proofs)} records"
            )
    if found:
        raise typer.Exit(1)


_UNPROVEN = {
    True: "it is redacted, and no longer what is on record",
    False: "when it was exported, the audit log did not have all of it; export it again",
}


def _witness(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the checkpoint {path} cannot be read ({type(error).__name__})") from None
