"""Which candidates of a route may be asked, and why the others may not; pure: it replays."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from interlock.bundles.model import Bundle
from interlock.bundles.routes import ModelCandidate, ModelRoute, Price, Task
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.routing import Budget, Route
from interlock_contracts.verdict import Decision

DEFAULT_MAX_TOKENS = 2_048
"""The longest output of a hosted model whose options say nothing else."""

TELLER = ModelCandidate(provider="extractive", model="extractive-1")
"""Says what was done when nobody else may: a budget must not silence a landed effect."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is about to be asked: the task, the size of its prompt, and how long it may take.

    `fits` is False where the prompt is longer than the route allows with nothing left to leave out.
    `data_classes` are those of the data in it, as far as they are known.
    """

    task: Task
    prompt_tokens: int
    left_s: float | None
    fits: bool = True
    data_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidates that may be asked, in order, and the others with why; `code` if none may."""

    candidates: tuple[ModelCandidate, ...]
    passed: tuple[str, ...]
    code: FailureCode | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What the models of a request have used in its earlier steps, as far as they said."""

    tokens: int
    cost_micros: int


def task_of(case: Case, route: Route, *, tools: bool) -> Task:
    """What is asked of the model at this point of the case."""
    last = case.steps[-1] if case.steps else None
    if last is not None and last.verdict.decision is Decision.REPAIR:
        return "repair"
    if last is not None and last.results:
        return "conclude"
    if route.plans:
        return "plan"
    return "act" if tools else "answer"


def choose(case: Case, budget: Budget, models: ModelRoute, bundle: Bundle, asked: Asked) -> Choice:
    """Hold every candidate against the request's constraints and what is left of its budget."""
    spent = spent_on(case)
    may: list[ModelCandidate] = []
    passed: list[str] = []
    over_budget = False
    for one in models.candidates:
        why = next(_not_allowed(one, case, bundle, asked), None)
        if why is None:
            why = next(_not_affordable(one, budget, bundle, asked, spent), None)
            over_budget = over_budget or why is not None
        if why is None:
            may.append(one)
        else:
            passed.append(f"{one.provider}/{one.model}: {why}")
    if may:
        return Choice(tuple(may), tuple(passed))
    if any(step.results for step in case.steps):
        return Choice((TELLER,), tuple(passed))
    code = FailureCode.BUDGET_EXCEEDED if over_budget else FailureCode.MODEL_NOT_ALLOWED
    return Choice((), tuple(passed), code)


def spent_on(case: Case) -> Spent:
    """The tokens and the money that the earlier steps record, and the choice of the intent."""
    records = [step.proposal.model for step in case.steps]
    if case.route is not None and case.route.choice is not None and case.route.choice.model:
        records.append(case.route.choice.model)
    return Spent(
        sum((one.input_tokens or 0) + (one.output_tokens or 0) for one in records),
        sum(one.cost_micros or 0 for one in records),
    )


def price_of(bundle: Bundle, provider: str, model: str) -> Price | None:
    """What the bundle says a model costs."""
    return bundle.prices.get(f"{provider}/{model}")


def cost_micros(price: Price, input_tokens: int, output_tokens: int) -> int:
    """The cost in millionths of the prices' unit, rounded up.

    A price per million tokens is a price per token in millionths.
    """
    return math.ceil(input_tokens * price.input + output_tokens * price.output)


def max_output(candidate: ModelCandidate) -> int:
    """The longest output of a candidate, in tokens."""
    stated = candidate.options.get("max_tokens")
    return stated if isinstance(stated, int) else DEFAULT_MAX_TOKENS


def _not_allowed(one: ModelCandidate, case: Case, bundle: Bundle, asked: Asked) -> Iterator[str]:
    if one.tasks and asked.task not in one.tasks:
        yield f"it is not for the task {asked.task}"
    if one.embedded:
        return
    for data_class in asked.data_classes:
        if data_class not in one.data_classes:
            yield f"it may not have data of class {data_class}"
    regions = bundle.residency.get(case.request.tenant)
    if regions is not None and one.region not in regions:
        yield f"the tenant's data may not go to {one.region or 'an unknown region'}"


def _not_affordable(
    one: ModelCandidate, budget: Budget, bundle: Bundle, asked: Asked, spent: Spent
) -> Iterator[str]:
    if one.needs_s is not None and asked.left_s is not None and asked.left_s < one.needs_s:
        yield f"it needs {one.needs_s:g} s, and {max(0.0, asked.left_s):.1f} s are left"
    if one.embedded:
        return
    if not asked.fits:
        yield f"its prompt has {asked.prompt_tokens} tokens with nothing left to leave out"
    output = max_output(one)
    tokens = asked.prompt_tokens + output
    if budget.max_tokens is not None and spent.tokens + tokens > budget.max_tokens:
        yield (
            f"{spent.tokens} of {budget.max_tokens} tokens are used, and it may use {tokens} more"
        )
    if one.max_cost_micros is None and budget.max_cost_micros is None:
        return
    price = price_of(bundle, one.asked, one.model)
    if price is None:
        yield "the bundle has no price for it, and the cost is limited"
        return
    cost = cost_micros(price, asked.prompt_tokens, output)
    if one.max_cost_micros is not None and cost > one.max_cost_micros:
        yield f"it may cost {cost} micros, and {one.max_cost_micros} are allowed for one call"
    if budget.max_cost_micros is not None and spent.cost_micros + cost > budget.max_cost_micros:
        yield (
            f"{spent.cost_micros} of {budget.max_cost_micros} micros are spent, "
            f"and it may cost {cost} more"
        )
