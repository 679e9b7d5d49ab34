"""Is the case that came with a proposal what the log says of the request?

A case travels through the generator, which reads what anybody wrote and may be taken in. What the
gate judges by (who asks, what for, which tools, what was retrieved, what was done before) is
therefore compared with the log, where the generator can only write proposals: at the first step
with the `context` event, later with the gate's own last verdict and the results since then.
"""

from collections.abc import Iterator

from interlock.contract_validator.ledger import LedgerLog
from interlock.runtime.errors import NeverRetry
from interlock_contracts.actions import Result
from interlock_contracts.answer import Retry
from interlock_contracts.case import Case, Step
from interlock_contracts.failures import FailureCode
from interlock_contracts.verdict import Decision

_GOES_ON = (Decision.REPAIR, Decision.APPROVE, Decision.CONFIRM, Decision.REVIEW)
"""Decisions after which another proposal may come, unless it is an answer that is held."""

_THE_SAME = sorted(
    set(Case.model_fields)
    - {"context", "deadline", "attempt", "step", "steps", "proposal", "verdict"}
)
"""What never changes after the context was found; a field that is new in a case is among them."""


async def check_record(case: Case, log: LedgerLog, *, believe: bool = False) -> None:
    """Return if the case is what the log says; `believe` it where the log says nothing.

    One read for the first proposal of a request; for a later one also each result of the step.

    Raises:
        NeverRetry: case_altered, with the part that differs.
    """
    request = case.request
    first = case.step == 1
    event, step = ("context", "0") if first else ("verdict", str(case.step - 1))
    origin = await log.read(event, request.tenant, request.request_id, step)
    if origin is None:
        if believe:
            return
        raise _altered(f"there is no {event} event for step {case.step}")
    known = origin.case
    for part, same in _compared(case, known):
        if not same:
            raise _altered(f"its {part} is not that of the {event} event")
    if case.attempt != known.attempt:
        await _check_attempt(case, known, log)
    if case.steps != (() if first else await _steps(known, log)):
        raise _altered("its steps are not those on the log")


def _compared(case: Case, known: Case) -> Iterator[tuple[str, bool]]:
    found = known.context
    if found is not None and found.record is not None:  # the generator leaves it out
        found = found.model_copy(update={"record": None})
    yield "context", case.context == found
    yield "deadline", case.deadline == known.deadline or case.attempt > known.attempt
    for part in _THE_SAME:
        yield part, getattr(case, part) == getattr(known, part)


async def _check_attempt(case: Case, known: Case, log: LedgerLog) -> None:
    """A later attempt is an operator's order, and without a deadline."""
    order = await log.latest("retry", case.request.tenant, case.request.request_id)
    ordered = order.data.attempt if order is not None and isinstance(order.data, Retry) else 0
    if not known.attempt < case.attempt <= ordered or case.deadline is not None:
        raise _altered("nobody ordered this attempt")


async def _steps(known: Case, log: LedgerLog) -> tuple[Step, ...]:
    """The steps of a case whose last verdict is `known`'s: its own, and what came of it."""
    proposal, verdict = known.proposal, known.verdict
    ended = verdict is None or verdict.held or verdict.decision not in _GOES_ON
    if proposal is None or verdict is None or ended:
        raise _altered("the request was answered at the step before")
    results = []
    for action in () if verdict.decision is Decision.REPAIR else verdict.actions:
        found = await log.read(
            "result",
            known.request.tenant,
            known.request.request_id,
            action.action,
            action.tool,
        )
        if found is None or not isinstance(found.data, Result):
            raise _altered(f"action {action.action} has no result")
        results.append(found.data)
    return (*known.steps, Step(proposal=proposal, verdict=verdict, results=tuple(results)))


def _altered(what: str) -> NeverRetry:
    return NeverRetry(FailureCode.CASE_ALTERED, f"the case is not what the log says: {what}")
