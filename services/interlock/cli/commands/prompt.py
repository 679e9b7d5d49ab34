"""`prompt`: what a model was asked and what it said, step by step: the reading of an incident."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.bundles.errors import BundleRefused, BundleUnknown
from interlock.cli.common import (
    JsonOption,
    StateOption,
    connected,
    err,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.errors import NeverRetry, UserError
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case
from interlock_contracts.event import InvalidEvent
from interlock_contracts.proposal import ModelRecord

if TYPE_CHECKING:
    from interlock.bundles.model import Bundle
    from interlock.models.recording import Recordings


USER = "replay"
"""Whose credential is used: it reads the log and the stored bundles, and publishes nothing live."""


@dataclass(frozen=True, slots=True)
class Said:
    """One step: the prompt as it is rendered again, the record, and the provider's own response.

    `same` says whether this prompt is the one whose digest the proposal has.
    """

    step: int
    prompt: str
    same: bool
    record: ModelRecord
    raw: str | None


def prompt(
    request_id: Annotated[str, typer.Argument(help="The request's id (a ULID).")],
    step: Annotated[
        int | None, typer.Option(min=1, help="This proposal only; default: every one.")
    ] = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """The prompts of one request and what the models answered.

    A prompt is rendered again from the log and the request's own bundle, and compared with the
    digest of the one that was sent. The provider's own response is shown where the bundle had it
    recorded. Exit status 1 if a prompt is not the one that was sent.
    """
    found = run(_read(settings_of(state), request_id, step))
    if not found:
        what = "nothing is" if step is None else f"no proposal {step} is"
        raise UserError(f"{what} logged of a request {request_id!r}")
    for one in found:
        if json_:
            record = one.record.model_dump(mode="json")
            print_json(
                {"step": one.step, "prompt": one.prompt, "same": one.same, "model": record}
                | ({} if one.raw is None else {"raw": one.raw})
            )
        else:
            _show(one)
    if not all(one.same for one in found):
        err.print("a prompt rendered now is not the one that was sent", style="red")
        raise typer.Exit(1)


async def _read(settings: Settings, request_id: str, step: int | None) -> list[Said]:
    from interlock.models.recording import FileRecordings
    from interlock.runtime.wiring import stored_bundles

    recordings = FileRecordings(settings.state / "recordings")
    found: list[Said] = []
    async with connected(settings, USER) as client:
        bundles = await stored_bundles(client, settings)
        for message in await JetStreamLog(client, settings.cell).of_request(request_id):
            try:
                event = message.event()
            except InvalidEvent:
                continue
            if event.subject.event != "proposal" or step not in (None, event.case.step):
                continue
            try:
                bundle = await bundles.get(event.case.bundle)
            except (BundleRefused, BundleUnknown) as error:
                raise UserError(f"the bundle of proposal {event.case.step}: {error}") from None
            found.append(said(event.case, bundle, recordings))
    return found


def said(case: Case, bundle: "Bundle", recordings: "Recordings") -> Said:
    """What was asked and answered in the step whose proposal `case` carries.

    Raises:
        UserError: the case has no route, or the bundle cannot render its prompt.
    """
    from interlock.generator.asking import packed_prompt

    if case.route is None or case.proposal is None:
        raise UserError(f"proposal {case.step} is incomplete")
    record = case.proposal.model
    before = case.model_copy(update={"proposal": None, "step": case.step - 1})
    try:
        prompt = packed_prompt(bundle, before, case.route, case.step).prompt
    except NeverRetry as error:
        raise UserError(f"proposal {case.step}: {error.message}") from None
    raw = None
    if record.recording is not None:
        with suppress(LookupError):  # kept by another machine, or deleted
            raw = recordings.get(record.recording).raw
    same = digest_bytes(prompt.encode()) == record.prompt
    return Said(case.step, prompt, same, record, raw)


def _show(one: Said) -> None:
    record = one.record
    used = [f"{record.task or 'asked'} by {record.provider}/{record.model}", record.stop_reason]
    if record.input_tokens is not None:
        used.append(f"{record.input_tokens} + {record.output_tokens or 0} tokens")
    if record.cost_micros is not None:
        used.append(f"{record.cost_micros} micros")
    if record.elapsed_ms is not None:
        used.append(f"{record.elapsed_ms} ms")
    out.print(f"proposal {one.step}: {', '.join(used)}", style="bold", markup=False)
    for why in record.passed_over:
        out.print(f"passed over: {why}", style="dim", markup=False)
    for title, text in (("prompt", one.prompt), ("output", record.output), ("raw", one.raw)):
        if text is not None:
            out.print(f"{title}:", style="bold")
            out.print(text.rstrip("\n"), markup=False)
