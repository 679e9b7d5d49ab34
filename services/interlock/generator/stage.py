"""The decision of the generator: `context`, `repair` or the last `result` → `proposal`."""

from collections.abc import Sequence
from dataclasses import dataclass

from interlock.bundles.model import Bundle, ModelRoute, OutputContract
from interlock.generator.models.port import Complete, ModelRequest, ModelResponse
from interlock.generator.parse import clean_output, parse
from interlock.generator.prompt import render
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input, Log
from interlock_contracts.actions import Result
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case, Step
from interlock_contracts.failures import FailureCode
from interlock_contracts.ids import event_id
from interlock_contracts.proposal import ModelRecord, Proposal
from interlock_contracts.retrieval import Context
from interlock_contracts.routing import Route
from interlock_contracts.verdict import Decision

_WITH_RESULT = (Decision.APPROVE, Decision.CONFIRM, Decision.REVIEW)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Asking a route of models, and reading the log."""

    models: Complete
    log: Log


async def decide(input: Input, using: Capabilities) -> Sequence[Draft]:
    """Ask for the next proposal; nothing while a result of the step is still missing."""
    event, case, cause = input.event.subject.event, input.case, None
    if event == "result":
        joined = await _join(case, using.log)
        if joined is None:
            return ()
        request = case.request
        place = f"{request.tenant}/{request.request_id}/{case.step}"
        case, cause = joined, event_id("", "join", "result", place)
    elif event not in ("context", "repair"):
        raise NeverRetry(FailureCode.EVENT_INVALID, f"the generator takes no {event} event")
    step = case.step + 1
    proposal = await _propose(input.bundle, case, step, using.models)
    proposed = case.model_copy(
        update={
            "step": step,
            "proposal": proposal,
            "verdict": None,
            "context": _without_record(case.context),
        }
    )
    return (Draft("proposal", str(step), proposed, cause=cause),)


def _without_record(context: Context | None) -> Context | None:
    """How the context was found stands on the log once, in the `context` event.

    Nobody after the generator needs it, and it is most of what a case weighs.
    """
    return None if context is None else context.model_copy(update={"record": None})


async def _join(case: Case, log: Log) -> Case | None:
    """The case with its step closed, once the results of all its actions are on the log.

    Whichever result arrives last sees them all; write-once makes a second trigger harmless.
    """
    if case.proposal is None or case.verdict is None:
        raise NeverRetry(FailureCode.EVENT_INVALID, "a result of a step that has no verdict")
    results: list[Result] = []
    for action in case.verdict.actions:
        if action.decision not in _WITH_RESULT:
            continue
        found = await log.read(
            "result", case.request.tenant, case.request.request_id, action.action, action.tool
        )
        if found is None:
            return None
        if not isinstance(found.data, Result):
            raise NeverRetry(FailureCode.EVENT_INVALID, "a result event that holds no result")
        results.append(found.data)
    step = Step(proposal=case.proposal, verdict=case.verdict, results=tuple(results))
    return case.model_copy(update={"steps": (*case.steps, step), "proposal": None, "verdict": None})


async def _propose(bundle: Bundle, case: Case, step: int, models: Complete) -> Proposal:
    route = case.route
    if route is None:
        raise NeverRetry(FailureCode.EVENT_INVALID, "the case has no route")
    model_route, contract = _specification(bundle, route)
    tools = tuple(bundle.tools[name] for name in route.tools if name in bundle.tools)
    prompt = render(bundle, model_route.prompt, case, tools)
    response = await models(
        ModelRequest(case, model_route.candidates, prompt, tools, contract, step)
    )
    record = _record(route, prompt, response)
    return parse(record.output, record)  # the recorded text, so that a replay parses the same


def _specification(bundle: Bundle, route: Route) -> tuple[ModelRoute, OutputContract]:
    model_route = bundle.models.get(route.model_route)
    contract = bundle.outputs.get(route.output)
    if model_route is None or contract is None:
        kind, name = (
            ("model route", route.model_route)
            if model_route is None
            else ("output contract", route.output)
        )
        raise NeverRetry(FailureCode.STAGE_FAILED, f"the bundle has no {kind} {name!r}")
    return model_route, contract


def _record(route: Route, prompt: str, response: ModelResponse) -> ModelRecord:
    return ModelRecord(
        route=route.model_route,
        provider=response.provider,
        model=response.model,
        prompt=digest_bytes(prompt.encode()),
        output=clean_output(response.output),
        stop_reason=response.stop_reason,
        input_tokens=response.input_tokens,
        output_tokens=response.output_tokens,
        passed_over=response.passed_over,
    )
