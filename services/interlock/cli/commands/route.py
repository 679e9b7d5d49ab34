"""`route`: what the router makes of a request, and why, without sending it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.common import (
    BundleOption,
    JsonOption,
    StateOption,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.errors import UserError

if TYPE_CHECKING:
    from interlock.runtime.settings import Settings
    from interlock_contracts.answer import Answer
    from interlock_contracts.case import Case
    from interlock_contracts.request import Request
    from interlock_contracts.routing import Reason, Route


def route(
    text: Annotated[str, typer.Argument(help="What a user would write.")],
    tenant: Annotated[str, typer.Option(help="Whose request.")] = "acme",
    user: Annotated[str, typer.Option(help="Who asks.")] = "somebody",
    role: Annotated[str, typer.Option(help="Their role.")] = "customer",
    scope: Annotated[list[str] | None, typer.Option(help="A scope they hold; repeatable.")] = None,
    channel: Annotated[str, typer.Option(help="Where it comes from.")] = "api",
    bundle: BundleOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Show the decision of the intent-router about one request. Nothing is submitted or logged.

    With the bundle's own rules, examples, overrides and privacy section, as the service decides.
    Where the bundle has a model choose the intent, that model is asked, with this process's keys.
    Of a request that was sent, `interlock events ID` shows the same from the log. Exit status 1
    if the router ends the request: then there is an `answer`, too.
    """
    from pydantic import ValidationError

    from interlock.sdk.rejected import reasons
    from interlock_contracts.request import Principal, Request

    try:
        request = Request(
            request_id="0" * 26,
            tenant=tenant,
            principal=Principal(user=user, role=role, scopes=tuple(scope or ())),
            text=text,
            channel=channel,
        )
    except ValidationError as error:
        raise UserError(reasons(error, "request")) from None
    case, answer = run(_decide(settings_of(state, bundle), request))
    if json_:
        told = {} if case is None else case.model_dump(mode="json")
        print_json(told if answer is None else told | {"answer": answer.model_dump(mode="json")})
    else:
        _show(case, answer)
    if answer is not None:
        raise typer.Exit(1)


async def _decide(settings: "Settings", request: "Request") -> "tuple[Case | None, Answer | None]":
    """What was decided, if it came to that, and the answer of a request that ends."""
    from interlock.intent_router.stage import Capabilities, decide
    from interlock.models.recording import FileRecordings
    from interlock.models.routes import ModelRoutes, known_models
    from interlock.runtime.stage import Input
    from interlock.runtime.wiring import bundles_of
    from interlock_contracts.answer import Answer
    from interlock_contracts.case import Case
    from interlock_contracts.event import Event
    from interlock_contracts.subjects import Subject

    active = bundles_of(settings).active(request)
    now = datetime.now(UTC)
    subject = Subject(settings.cell, "request", request.tenant, request.request_id, "0")
    event = Event(subject, request, "preview", "/cli", now)
    case = Case(request=request, bundle=active.digest)
    models = ModelRoutes(known_models(FileRecordings(settings.state / "recordings")))
    try:
        using = Capabilities(models=models.complete)
        made = [one.data for one in await decide(Input(event, active, now, case), using)]
    finally:
        await models.aclose()
    cases = [one for one in made if isinstance(one, Case)]
    answers = [one for one in made if isinstance(one, Answer)]
    return next(iter(cases), None), next(iter(answers), None)


def _show(decided: "Case | None", answer: "Answer | None") -> None:
    if answer is not None:
        out.print(f"[bold]{answer.status}[/]", end=" ")
        out.print(answer.text, markup=False)
        for one in answer.failures:
            _line("because", f"{one.code}: {one.message}")
    if decided is None:
        return
    found = decided.route
    assert found is not None
    if answer is None:
        out.print(f"[bold]{found.intent}[/], {found.risk} risk")
    else:
        _line("taken for", f"{found.intent}, {found.risk} risk")
    _show_sureness(found)
    if not found.parts:
        _why(found.why)
    for part in found.parts:
        said = decided.request.text[part.start : part.end]
        _line("part", f"{part.intent} ({part.risk} risk, {part.confidence:.2f}): {said}")
        _why(part.why)
    if found.choice is not None:
        _line("model", found.choice.told)
    if decided.personal:
        _line("read as", decided.request.text)
    for signal in found.signals:
        said = decided.request.text if signal.turn is None else ""
        _line("signal", f"{signal.kind} {said[signal.start : signal.end]!r}")
    _line("overrides", ", ".join(found.overrides) or "none")
    if answer is not None:
        return
    _line("sources", f"{', '.join(found.sources) or 'none'}, as {_reader(decided)}")
    _line("tools", ", ".join(found.tools) or "none")
    if found.plans:
        _line("plans", ", ".join(found.plans))
    _line("model route", found.model_route + (f", {found.data_class}" if found.data_class else ""))
    _line("output", found.output)
    _line("review class", found.review_class or "none")
    given = found.budget.model_dump(exclude_none=True)
    _line("budget", ", ".join(f"{name} {value}" for name, value in given.items()))


def _reader(case: "Case") -> str:
    scopes = ", ".join(case.request.principal.scopes)
    return f"{case.request.tenant} with {f'scopes {scopes}' if scopes else 'no scopes'}"


def _show_sureness(found: "Route") -> None:
    least = found.thresholds
    for name, value in (
        ("similarity", found.similarity),
        ("confidence", found.confidence),
        ("margin", found.margin),
    ):
        if value is not None and least is not None:
            _line(name, f"{value:.3f} (at least {getattr(least, name):g})")


def _why(reasons: "tuple[Reason, ...]") -> None:
    for one in reasons:
        score = "" if one.score is None else f" ({one.score:.3f})"
        _line(f"  {one.kind}", f"{one.reference}{score}")


def _line(name: str, value: str) -> None:
    out.print(f"  {name:<14}", style="dim", end="")
    out.print(value, markup=False)
