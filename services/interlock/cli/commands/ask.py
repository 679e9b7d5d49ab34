"""`ask`: submit a request and follow it to its answer."""

from typing import Annotated

import typer

from interlock.cli.common import JsonOption, StateOption, err, out, print_json, run, settings_of
from interlock.runtime.settings import Settings
from interlock_contracts.actions import Confirm, Notice
from interlock_contracts.answer import Answer, AnswerStatus

_STYLE = {
    AnswerStatus.ANSWERED: "green",
    AnswerStatus.REFUSED: "yellow",
    AnswerStatus.FAILED: "red",
}


def ask(
    text: Annotated[str, typer.Argument(help="What you would ask.")],
    tenant: Annotated[str, typer.Option(help="Whose feature it is.")] = "acme",
    user: Annotated[str, typer.Option(help="Who asks.")] = "ana",
    role: Annotated[str, typer.Option(help="In which role.")] = "customer",
    scope: Annotated[
        list[str] | None, typer.Option(help="A scope the user holds; repeatable.")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(help="A ULID; the same one again gives the same answer.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 30.0,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm an action that asks for it.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Submit a request and follow it: notices, questions, and the one answer.

    Exit status 0 if it was answered, 1 if it was refused or failed.
    """
    settings = settings_of(state)
    answer = run(
        _ask(
            settings,
            text,
            tenant,
            (user, role, tuple(scope or ())),
            request_id,
            timeout,
            yes,
            json_,
        )
    )
    if answer.status is not AnswerStatus.ANSWERED:
        raise typer.Exit(1)


async def _ask(
    settings: Settings,
    text: str,
    tenant: str,
    who: tuple[str, str, tuple[str, ...]],
    request_id: str | None,
    timeout: float,  # noqa: ASYNC109  # it is the request's own deadline
    yes: bool,
    json_: bool,
) -> Answer:
    import asyncio

    from interlock.sdk.producer import NoAnswer, Producer

    user, role, scopes = who
    credential = settings.credential or settings.state / "credentials" / f"producer-{tenant}.nk"
    async with await Producer.connect(settings.url, credential, cell=settings.cell) as producer:
        request = producer.request(
            text, user=user, role=role, scopes=scopes, request_id=request_id, timeout=timeout
        )
        await producer.submit(request)
        if not json_:
            err.print(f"request {request.request_id}", style="dim")
        try:
            async with asyncio.timeout(timeout):
                async for event in producer.follow(request.request_id):
                    if json_:
                        print_json(event.to_cloudevent())
                    if isinstance(event.data, Answer):
                        if not json_:
                            show_answer(event.data)
                        return event.data
                    if isinstance(event.data, Notice) and not json_:
                        err.print(event.data.message, style="yellow", markup=False)
                    if isinstance(event.data, Confirm) and not json_:
                        _show_why(event.data)
                    if isinstance(event.data, Confirm) and _agreed(event.data, yes, json_):
                        await producer.decide(
                            event.data, request.request_id, approve=True, user=user
                        )
        except TimeoutError:
            pass
    raise NoAnswer(
        f"no answer to request {request.request_id} within {timeout:g} s; "
        f"see `interlock events {request.request_id}`"
    )


def _show_why(question: Confirm) -> None:
    """Why somebody is asked: which policies want it, and what the gate found."""
    for name in question.policies:
        err.print(f"  asked because the policy {name} wants it confirmed", markup=False)
    for one in question.concerns:
        where = one.path.partition("/arguments/")[2] or "this action"
        err.print(f"  asked because of {where}: {one.message}", markup=False)


def _agreed(question: Confirm, yes: bool, json_: bool) -> bool:
    if yes:
        return True
    if json_ or not err.is_terminal:
        return False
    return typer.confirm(f"{question.summary}: shall this run?", err=True)


def show_answer(answer: Answer) -> None:
    """An answer for people."""
    out.print(f"[{_STYLE[answer.status]}]{answer.status}[/]")
    out.print(answer.text, markup=False)
    for source in answer.sources:
        line = f"  {source.handle} {source.title} — “{source.quote}”"
        out.print(line, style="dim", markup=False)
    if answer.approval is not None:
        past = f", past {', '.join(answer.approval.accepted)}" if answer.approval.accepted else ""
        out.print(f"  let out by {', '.join(answer.approval.by)}{past}", markup=False)
    for action in answer.actions:
        why = f" ({action.failure.code}: {action.failure.message})" if action.failure else ""
        out.print(f"  {action.tool}: {action.effect}{why}", markup=False)
    for failure in answer.failures:
        out.print(f"  {failure.area}/{failure.code}: {failure.message}", style="dim", markup=False)
