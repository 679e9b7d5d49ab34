"""`events`: the timeline of one request."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from interlock.cli.common import (
    JsonOption,
    StateOption,
    operator_log,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.errors import UserError
from interlock.runtime.log import StoredMessage
from interlock.runtime.settings import Settings
from interlock_contracts.actions import Grant, Result
from interlock_contracts.activation import ShadowVerdict
from interlock_contracts.answer import Answer, DeadLetter
from interlock_contracts.answer_review import AnswerReview
from interlock_contracts.case import Case
from interlock_contracts.custody import Custody
from interlock_contracts.event import Event, InvalidEvent

if TYPE_CHECKING:
    from interlock.replay.message import LogMessage


def events(
    request_id: Annotated[str, typer.Argument(help="The request's id (a ULID).")],
    export: Annotated[
        Path | None,
        typer.Option(help="Write a case file (.tar.gz) that replays anywhere: see `replay`."),
    ] = None,
    redact: Annotated[
        bool,
        typer.Option(help="Personal data out of the case; it can no longer be verified then."),
    ] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """The timeline of one request, as it stands on the log.

    With --json: CloudEvents, one a line, in the form that `interlock stage` reads.
    """
    if redact and export is None:
        raise UserError("--redact is about what is exported: name a file with --export")
    settings = settings_of(state)
    if export is not None:
        out.print(run(_export(settings, request_id, export, redact)), markup=False)
        return
    found = run(_read(settings, request_id))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("seq", "ms", "event", "step", "by", "what"):
        table.add_column(column, justify="right" if column in ("seq", "ms") else "left")
    start = found[0].logged_at
    for message in found:
        try:
            event = message.event()
        except InvalidEvent as error:
            row = ("?", "", "", f"{error.code}: {error.message}")
        else:
            if json_:
                print_json(event.to_cloudevent())
            row = (event.subject.event, event.subject.step, event.source[1:], what(event))
        elapsed = (message.logged_at - start).total_seconds() * 1000
        table.add_row(str(message.sequence), f"{elapsed:.1f}", *row)
    if not json_:
        out.print(table)


async def _read(settings: Settings, request_id: str) -> list[StoredMessage]:
    async with operator_log(settings) as (_, log):
        found = await log.of_request(request_id)
    if not found:
        raise UserError(f"nothing is logged of a request {request_id!r}")
    return found


async def _export(settings: Settings, request_id: str, path: Path, redact: bool) -> str:
    """Write the case of a request; what was written, for people. Raises `UserError`."""
    from interlock.bundles.errors import BundleError, BundleRefused, BundleUnknown
    from interlock.replay.case import write_case
    from interlock.replay.message import LogMessage
    from interlock.replay.outcome import outcome_of
    from interlock.runtime.wiring import stored_bundles

    if not path.name.endswith((".tar.gz", ".tgz")):
        raise UserError(f"{path}: a case is a .tar.gz")
    found = await _read(settings, request_id)
    messages = [
        LogMessage(one.subject, one.sequence, one.logged_at, one.headers, one.body) for one in found
    ]
    digest = outcome_of(message.entry() for message in messages).bundle
    bundles, note = [], ""
    if digest is not None:
        try:
            async with operator_log(settings) as (client, _):
                bundles = [await (await stored_bundles(client, settings)).get(digest)]
        except (BundleUnknown, BundleError, BundleRefused):
            note = f"; without its bundle {digest}, which is not at hand"
    proofs, unproven = (b"", "") if redact else _proofs(settings, messages)
    try:
        write_case(path, messages, bundles, redact=redact, proofs=proofs)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    kind = "redacted case (not verifiable)" if redact else "proven case" if proofs else "case"
    return f"wrote {path}: a {kind} of {len(messages)} messages{note}{unproven}"


def _proofs(settings: Settings, messages: "Sequence[LogMessage]") -> tuple[bytes, str]:
    """Proofs that the audit log has all of it; none, and a note why, where it does not."""
    from interlock.audit_sink.errors import DatabaseError
    from interlock.audit_sink.places import open_reader
    from interlock.replay.proven import prove, written

    try:
        with open_reader(settings) as reader:
            return written(prove(reader, messages)), ""
    except UserError as error:
        return b"", f"; not proven: {error}"
    except DatabaseError as error:
        return b"", f"; not proven: the audit store cannot be read ({type(error).__name__})"


def what(event: Event) -> str:
    """What an event says, in one line."""
    data = event.data
    if isinstance(data, Custody):
        what = f"what {data.document} led to, " if data.document else ""
        return f"{what}{data.act} by {data.by}" + (f": {data.reason}" if data.reason else "")
    if isinstance(data, Answer | Grant | Result | DeadLetter):
        return _of_outcome(data)
    if isinstance(data, ShadowVerdict):
        codes = ", ".join(data.candidate_codes)
        would = f"would have been {data.candidate_decision or 'undecided'}"
        return f"{would} under {data.candidate[:19]}…" + (f" ({codes})" if codes else "")
    if isinstance(data, AnswerReview):
        codes = ", ".join(one.code for one in data.objections)
        return f"{data.answer.text.splitlines()[0]}{f' ({codes})' if codes else ''}"
    if not isinstance(data, Case):
        return str(getattr(data, "text", getattr(data, "summary", getattr(data, "decision", ""))))
    if event.subject.event in ("route", "declined") and data.route:
        tools = f", tools {', '.join(data.route.tools)}" if data.route.tools else ""
        held = f", overrides {', '.join(data.route.overrides)}" if data.route.overrides else ""
        return f"{data.route.intent} ({data.route.confidence:.2f}), {data.route.risk}{tools}{held}"
    if event.subject.event == "context" and data.context:
        found = ", ".join(chunk.chunk_id for chunk in data.context.chunks)
        return f"{data.context.outcome}: {found}" if found else str(data.context.outcome)
    if event.subject.event == "verdict" and data.verdict:
        violations = ", ".join(v.code for v in data.verdict.violations)
        return f"{data.verdict.decision}" + (f": {violations}" if violations else "")
    if event.subject.event == "proposal" and data.proposal:
        calls = ", ".join(call.tool for call in data.proposal.calls)
        return f"calls {calls}" if calls else data.proposal.text.split("\n")[0]
    return ""


def _of_outcome(data: Answer | Grant | Result | DeadLetter) -> str:
    if isinstance(data, Answer):
        codes = ", ".join(failure.code for failure in data.failures)
        return f"{data.status}{f' ({codes})' if codes else ''}: {data.text.splitlines()[0]}"
    if isinstance(data, DeadLetter):
        return f"{data.failure.code}: {data.failure.message}"
    if isinstance(data, Grant):
        return f"{data.tool}({', '.join(f'{k}={v!r}' for k, v in data.arguments.items())})"
    return f"{data.tool}: {data.effect}" + (f" ({data.failure.code})" if data.failure else "")
