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

    Step 0 is the choice of the intent. `same` says whether this prompt is the one whose digest the
    event has.
    """

    step: int
    prompt: str
    same: bool
    record: ModelRecord
    raw: str | None


def prompt(
    request_id: Annotated[str, typer.Argument(help="The request's id (a ULID).")],
    step: Annotated[
        int | None,
        typer.Option(min=0, help="This proposal only, 0: the choice of the intent; default: all."),
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
            chosen = event.subject.event in ("route", "declined")
            if not chosen and event.subject.event != "proposal":
                continue
            if step not in (None, event.case.step) or (chosen and not _asked(event.case)):
                continue
            try:
                bundle = await bundles.get(event.case.bundle)
            except (BundleRefused, BundleUnknown) as error:
                raise UserError(f"the bundle of proposal {event.case.step}: {error}") from None
            tell = said_of_intent if chosen else said
            found.append(tell(event.case, bundle, recordings))
    return found


def _asked(case: Case) -> bool:
    """Whether a model chose, or should have chosen, the intent of this case."""
    choice = case.route.choice if case.route is not None else None
    return choice is not None and choice.model is not None


def said_of_intent(case: Case, bundle: "Bundle", recordings: "Recordings") -> Said:
    """What was asked and answered when a model chose the intent; raises `UserError` as `said`."""
    from interlock.intent_router.choosing import packed_question

    choice = case.route.choice if case.route is not None else None
    spec = bundle.router.classifier
    if choice is None or choice.model is None or spec is None:
        raise UserError("no model chose the intent of this request")
    try:
        prompt = packed_question(case, bundle, spec).prompt
    except NeverRetry as error:
        raise UserError(f"the choice of the intent: {error.message}") from None
    return _said(0, prompt, choice.model, recordings)


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
    return _said(case.step, prompt, record, recordings)


def _said(step: int, prompt: str, record: ModelRecord, recordings: "Recordings") -> Said:
    raw = None
    if record.recording is not None:
        with suppress(LookupError):  # kept by another machine, or deleted
            raw = recordings.get(record.recording).raw
    same = digest_bytes(prompt.encode()) == record.prompt
    return Said(step, prompt, same, record, raw)


def _show(one: Said) -> None:
    record = one.record
    used = [f"{record.task or 'asked'} by {record.provider}/{record.model}", record.stop_reason]
    if record.input_tokens is not None:
        used.append(f"{record.input_tokens} + {record.output_tokens or 0} tokens")
    if record.cost_micros is not None:
        used.append(f"{record.cost_micros} micros")
    if record.elapsed_ms is not None:
        used.append(f"{record.elapsed_ms} ms")
    what = f"proposal {one.step}" if one.step else "intent"
    out.print(f"{what}: {', '.join(used)}", style="bold", markup=False)
    for why in record.passed_over:
        out.print(f"passed over: {why}", style="dim", markup=False)
    for title, text in (("prompt", one.prompt), ("output", record.output), ("raw", one.raw)):
        if text is not None:
            out.print(f"{title}:", style="bold")
            out.print(text.rstrip("\n"), markup=False)
