"""`audit query`, `lineage`, `export`, `open`: what is on record, and what followed from what."""

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import Progress

from interlock.cli.commands.audit_custody import put_export_on_record
from interlock.cli.common import JsonOption, StateOption, err, out, print_json, settings_of
from interlock.runtime.errors import UserError

if TYPE_CHECKING:
    from interlock.audit_sink.lineage import Touched
    from interlock.audit_sink.query import AuditReader, Kept

Request = Annotated[str | None, typer.Option("--request", help="A request's id.")]
Tenant = Annotated[str | None, typer.Option(help="A tenant.")]
Principal = Annotated[str | None, typer.Option(help="A user, with --tenant.")]
Subject = Annotated[str | None, typer.Option("--subject", help="A person, by pseudonym.")]
EventName = Annotated[str | None, typer.Option("--event", help="request, verdict, answer, …")]
Tool = Annotated[str | None, typer.Option(help="A tool.")]
Document = Annotated[
    str | None, typer.Option(help="A document's id, a version's digest or a passage's.")
]
Policy = Annotated[str | None, typer.Option(help="A policy that had a say.")]
Outcome = Annotated[str | None, typer.Option(help="answered, refuse, landed, in_doubt, …")]
Code = Annotated[str | None, typer.Option(help="A failure code.")]
Since = Annotated[datetime | None, typer.Option(help="Logged then or later (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Logged before (UTC).")]


def query(
    request: Request = None,
    tenant: Tenant = None,
    principal: Principal = None,
    subject: Subject = None,
    event: EventName = None,
    tool: Tool = None,
    document: Document = None,
    policy: Policy = None,
    outcome: Outcome = None,
    code: Code = None,
    since: Since = None,
    until: Until = None,
    after: Annotated[int, typer.Option(help="Go on after this sequence.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many; 0: all.", min=0)] = 100,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """The records that fit, in the order of the log. All that is given must hold."""
    from interlock.audit_sink.places import open_reader
    from interlock.audit_sink.query import Query

    asked = Query(
        request=request, tenant=tenant, principal=principal, data_subject=subject, event=event,
        tool=tool, document=document, policy=policy, outcome=outcome, code=code,
        since=_utc(since), until=_utc(until), after=after, limit=limit or None,
    )  # fmt: skip
    count = last = 0
    with open_reader(settings_of(state)) as reader:
        for record in reader.select(asked):
            count, last = count + 1, record.sequence
            if json_:
                print_json(record.as_json())
            else:
                out.print(_line(record), markup=False)
    if count and count == limit and not json_:
        err.print(f"there may be more: --after {last}", style="dim")


def lineage(
    document: Document = None,
    request: Request = None,
    action: Annotated[
        str | None,
        typer.Option(help="A grant, a result or any other event: its subject, sequence or id."),
    ] = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """What a document influenced; or why something was said or done, from its beginning."""
    from interlock.audit_sink.places import open_reader

    if sum(one is not None for one in (document, request, action)) != 1:
        raise UserError("name one of --document, --request and --action")
    with open_reader(settings_of(state)) as reader:
        if document is not None:
            _influence(reader, document, json_=json_)
        else:
            _story(_leading(reader, request, action), json_=json_)


def export(
    to: Annotated[Path, typer.Argument(help="The file to write; .parquet or JSON lines.")],
    request: Request = None,
    tenant: Tenant = None,
    principal: Principal = None,
    event: EventName = None,
    tool: Tool = None,
    document: Document = None,
    policy: Policy = None,
    since: Since = None,
    until: Until = None,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Readable by who has the file; put on record, with --tenant."),
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, with --plain; kept in the audit log.")] = "",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Write records with the proofs that let others check them. Contents stay sealed.

    `audit open` reads such a file with the installation's keys, `audit verify --export` checks it
    with the public key. No erasure reaches an export that is --plain.
    """
    from interlock.audit_sink.export import export as write
    from interlock.audit_sink.places import open_reader
    from interlock.audit_sink.query import Query

    asked = Query(
        request=request, tenant=tenant, principal=principal, event=event, tool=tool,
        document=document, policy=policy, since=_utc(since), until=_utc(until),
    )  # fmt: skip
    settings = settings_of(state)
    if plain:
        if tenant is None or not reason:
            raise UserError("--plain needs --tenant and --reason: it is put on record")
        put_export_on_record(settings, tenant, f"{reason} ({to.name})")
    form: Literal["parquet", "jsonl"] = "parquet" if to.suffix == ".parquet" else "jsonl"
    with open_reader(settings) as reader, Progress(console=err, transient=True) as bar:
        task = bar.add_task("exporting", total=None)
        count = write(
            reader,
            asked,
            to,
            form,
            plain=plain,
            progress=lambda done: bar.update(task, completed=done),
        )
    if json_:
        print_json({"records": count, "file": os.fspath(to)})
    else:
        out.print(f"{count} records in {to}", markup=False)


def open_(
    file: Annotated[Path, typer.Argument(help="An export.")],
    state: StateOption = None,
) -> None:
    """Print an export's records with their contents, as JSON lines; what was erased says so."""
    from interlock.audit_sink.export import open_export
    from interlock.audit_sink.places import open_keys

    keys = open_keys(settings_of(state))
    if keys is None:
        raise UserError("the keys are not here: --state names the installation that has them")
    for line in open_export(file, keys):
        print_json(line)


def _influence(reader: "AuditReader", document: str, *, json_: bool) -> None:
    from interlock.audit_sink.lineage import executed, influenced

    counted: Counter[str] = Counter()
    requests: set[str] = set()
    for touched in influenced(reader, document):
        record = touched.record
        if record.request_id not in requests and not json_:
            whose = _whose(reader, record)
            out.print(f"\n{record.request_id}  {whose}", style="bold", markup=False)
        requests.add(record.request_id)
        counted[record.event] += 1
        counted["executed"] += executed(touched)
        if json_:
            print_json(_touched_json(touched))
        else:
            out.print(f"  {_line(record)}  ({touched.how})", markup=False)
    if json_:
        return
    if not requests:
        raise UserError(f"no context ever held {document!r}")
    out.print(
        f"\n{len(requests)} requests, {counted['context']} contexts, {counted['answer']} answers, "
        f"{counted['approved']} approvals, {counted['executed']} actions executed"
    )


def _touched_json(touched: "Touched") -> dict[str, Any]:
    record = touched.record
    return {
        "sequence": record.sequence,
        "subject": record.subject,
        "event": record.event,
        "tenant": record.tenant,
        "request_id": record.request_id,
        "data_subject": record.data_subject,
        "logged_at": record.logged_at.isoformat(),
        "how": touched.how,
        "facets": record.facets,
    }


def _leading(reader: "AuditReader", request: str | None, action: str | None) -> "list[Kept]":
    from interlock.audit_sink.lineage import leading_to

    if request is not None:
        found = reader.by_request(request)
        if not found:
            raise UserError(f"nothing is on record of a request {request!r}")
        return found
    assert action is not None
    record = reader.find(action)
    if record is None:
        raise UserError(f"nothing is on record under {action!r}")
    return leading_to(reader, record)


def _story(records: "list[Kept]", *, json_: bool) -> None:
    from interlock.audit_sink.story import tell

    for record in records:
        if json_:
            print_json({**record.as_json(), "told": tell(record)})
            continue
        first, *reasons = tell(record)
        moment = record.logged_at.isoformat(sep=" ", timespec="milliseconds")
        out.print(f"{moment}  {first}", style="bold", markup=False)
        for reason in reasons:
            out.print(f"{'':<33}{reason}", markup=False)


def _whose(reader: "AuditReader", record: "Kept") -> str:
    name = None if reader.keys is None else reader.keys.name(record.data_subject)
    return f"{record.tenant}/{name or record.data_subject}"


def _line(record: "Kept") -> str:
    moment = record.logged_at.isoformat(sep=" ", timespec="milliseconds")
    shown = {kind: record.facets[kind] for kind in _SHOWN if kind in record.facets}
    facets = "  ".join(f"{kind} {', '.join(values)}" for kind, values in shown.items())
    gone = "" if record.state == "readable" else f"  [{record.state}]"
    return f"{record.sequence:>8}  {moment}  {record.subject}  {facets}{gone}".rstrip()


_SHOWN = ("tool", "outcome", "policy", "code", "document", "act")


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC)
