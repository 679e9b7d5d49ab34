"""The decision of the generator: `context`, `repair` or the last `result` → `proposal`.

Or → `answer`, when no model may be asked: the budget is used up, or its data may go to none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interlock.bundles.model import Bundle
from interlock.generator.asking import ask
from interlock.generator.plans import without_plans
from interlock.generator.private import told
from interlock.models.parse import parse
from interlock.models.port import Complete
from interlock.models.records import record_of
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input, Log
from interlock_contracts.actions import Result
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.case import Case, Step
from interlock_contracts.failures import Failure, FailureCode
from interlock_contracts.ids import event_id
from interlock_contracts.retrieval import Context
from interlock_contracts.verdict import Decision

DEFAULT_REPLIES = {
    FailureCode.BUDGET_EXCEEDED: "This took more than it may. Nothing more was done.",
    FailureCode.MODEL_NOT_ALLOWED: "This cannot be answered automatically here.",
}
"""What is said when the bundle has no words of its own in `replies`, by failure code."""

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
    asking = ask(input.bundle, case, step, input.now)
    if isinstance(asking, Failure):
        return (_ended(case, input.bundle, asking),)
    response = await using.models(asking.request)
    prompt, name = asking.request.prompt, asking.route.model_route
    record = record_of(input.bundle, name, asking.task, prompt, asking.packing, response)
    # The recorded text is parsed, so that a replay parses the same.
    said = told(parse(record.output, record), asking.hidden)
    proposal = without_plans(said, asking.route, input.bundle)
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


def _ended(case: Case, bundle: Bundle, why: Failure) -> Draft:
    """The closing answer of a request that no model may be asked about any more."""
    answer = Answer(
        request_id=case.request.request_id,
        status=AnswerStatus.FAILED,
        text=bundle.replies.get(why.code.value) or DEFAULT_REPLIES[why.code],
        failures=(why,),
        bundle=case.bundle,
    )
    return Draft("answer", str(case.attempt), answer)
