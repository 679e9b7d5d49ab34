"""`audit erase`: a person, or a document, made unreadable for ever."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.commands.audit_custody import By, DryRun, Reason, custodian, who
from interlock.cli.common import JsonOption, StateOption, err, out, print_json, run, settings_of
from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings

if TYPE_CHECKING:
    from interlock.audit_sink.custody import Erasure
    from interlock.audit_sink.documents import DocumentErasure


def erase(
    subject: Annotated[
        str | None,
        typer.Option(metavar="TENANT/USER", help="Whose contents; or TENANT/PSEUDONYM."),
    ] = None,
    document: Annotated[
        str | None, typer.Option(metavar="TENANT/SOURCE/NAME", help="Which document instead.")
    ] = None,
    requests: Annotated[
        bool,
        typer.Option("--requests", help="With --document: also what requests made of it."),
    ] = False,
    reason: Reason = "",
    by: By = None,
    dry_run: DryRun = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Make all that a person wrote or was told, or a document, unreadable for ever.

    Here, on the log, in indexes and in sealed exports. It cannot be undone. What happened stays
    provable: who approved what, when, on which document.
    """
    if (subject is None) == (document is None):
        raise UserError("name one of --subject and --document")
    if requests and document is None:
        raise UserError("--requests goes with --document: all of a person's go anyway")
    whose, slash, rest = (subject or document or "").partition("/")
    if not slash or not whose or not rest:
        raise UserError("--subject is TENANT/USER, --document TENANT/SOURCE/NAME")
    settings = settings_of(state)
    if document is None:
        with err.status("erasing"):
            done = run(_erase(settings, (whose, rest), who(by), reason, dry_run=dry_run))
        _tell_person(done, dry_run=dry_run, json_=json_)
        return
    with err.status("erasing"):
        gone = run(_erase_document(settings, document, who(by), reason, requests, dry_run))
    _tell_document(gone, dry_run=dry_run, json_=json_)


def _tell_person(done: "Erasure", *, dry_run: bool, json_: bool) -> None:
    shown = {
        "data_subject": done.data_subject,
        "requests": done.requests,
        "contents": done.contents,
        "messages_overwritten": 0 if dry_run else done.on_log,
        "dry_run": dry_run,
    }
    if json_:
        print_json({**shown, "plain_exports": list(done.plain_exports)})
        return
    _tell_exports(done.plain_exports)
    would = "would be " if dry_run else ""
    out.print(
        f"{done.contents} contents of {done.requests} requests {would}erased "
        f"({done.on_log} messages {would}overwritten on the log); pseudonym {done.data_subject}"
    )


def _tell_document(done: "DocumentErasure", *, dry_run: bool, json_: bool) -> None:
    if json_:
        print_json({**asdict(done), "dry_run": dry_run})
        return
    _tell_exports(done.plain_exports)
    would = "would be " if dry_run else ""
    line = f"{done.document}: {done.versions} versions ({done.messages} messages) {would}erased"
    if done.requests:
        line += f"; {done.contents} contents of {len(done.requests)} requests, too"
    out.print(line, markup=False)
    for request_id in done.held:
        err.print(f"not reached: a hold stands on who asked {request_id}", style="yellow")
    left = [one for one in done.used_by if one not in {*done.requests, *done.held}]
    if left:
        repeat = "repeats" if len(left) == 1 else "repeat"
        err.print(
            f"{len(left)} requests used it, and their own events {repeat} its words; "
            "erase those, too: --requests",
            style="yellow",
        )
        for request_id in left:
            err.print(request_id, style="dim", markup=False)


def _tell_exports(plain: tuple[str, ...]) -> None:
    for one in plain:
        err.print(f"not reached: given away in the clear {one}", style="yellow", markup=False)


async def _erase(
    settings: Settings, person: tuple[str, str], by: str, reason: str, *, dry_run: bool
) -> "Erasure":
    async with custodian(settings) as given:
        return await given.erase(person, by, reason, dry_run=dry_run)


async def _erase_document(
    settings: Settings, document: str, by: str, reason: str, requests: bool, dry_run: bool
) -> "DocumentErasure":
    from interlock.audit_sink.documents import DocumentEraser
    from interlock.runtime.broker.permissions import ingest_user
    from interlock.sdk.documents import Documents

    tenant = document.partition("/")[0]
    credential = settings.credential_of(ingest_user(tenant))
    async with (
        custodian(settings) as given,
        await Documents.connect(
            settings.url, credential, tenant=tenant, cell=settings.cell
        ) as documents,
    ):
        eraser = DocumentEraser(given, documents)
        return await eraser.erase(document, by, reason, requests=requests, dry_run=dry_run)
