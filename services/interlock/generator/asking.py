"""What a model is asked at this point of a case: pure, so that a replay asks the same."""

from dataclasses import dataclass
from datetime import datetime

from interlock.bundles.model import Bundle, OutputContract
from interlock.bundles.routes import ModelRoute, Task
from interlock.generator.private import shown_case
from interlock.generator.prompt import render
from interlock.models.choice import Asked, choose, task_of
from interlock.models.packing import Packed, pack
from interlock.models.port import ModelRequest
from interlock.models.tokens import counter_of
from interlock.runtime.errors import NeverRetry
from interlock_contracts.case import Case
from interlock_contracts.failures import Failure, FailureCode, failure
from interlock_contracts.privacy import Values
from interlock_contracts.proposal import Packing
from interlock_contracts.routing import Route
from interlock_contracts.tools import ToolSpec


@dataclass(frozen=True, slots=True)
class Asking:
    """A request to the models of a route, and what the proposal records of how it came about."""

    request: ModelRequest
    route: Route
    task: Task
    packing: Packing | None
    hidden: Values
    """What the placeholders stand for that only the prompt has."""


def ask(bundle: Bundle, case: Case, step: int, now: datetime) -> Asking | Failure:
    """What to ask, or why no model may be asked.

    Raises:
        NeverRetry: the case has no route, or the bundle lacks what it names.
    """
    route = case.route
    if route is None:
        raise NeverRetry(FailureCode.EVENT_INVALID, "the case has no route")
    models, contract = _specification(bundle, route)
    known = _known(bundle, route)
    offered = _offered(known, route, step)
    task = task_of(case, route, tools=bool(offered))
    packed, hidden = _packed(bundle, case, route, step)
    hosted = any(not one.embedded for one in models.candidates)
    tokens = packed.packing.tokens if packed.packing else 0
    if hosted and not packed.packing:
        tokens = counter_of(models.candidates).count(packed.prompt)
    left_s = _left_s(case, now)
    classes = (route.data_class,) if route.data_class is not None else ()
    asked = Asked(task, tokens, left_s, packed.fits, classes)
    choice = choose(case, route.budget, models, bundle, asked)
    if choice.code is not None:
        return failure(choice.code, f"no model may be asked: {'; '.join(choice.passed)}")
    request = ModelRequest(
        case=case,
        candidates=choice.candidates,
        prompt=packed.prompt,
        tools=offered,
        contract=contract,
        step=step,
        known=known,
        passed=choice.passed,
        prompt_tokens=tokens,
        left_s=left_s,
        hedge_after_s=models.hedge_after_s,
        accounts=bundle.accounts,
    )
    return Asking(request, route, task, packed.packing, hidden)


def packed_prompt(bundle: Bundle, case: Case, route: Route, step: int) -> Packed:
    """The prompt of this step, and what was left out of it; raises `NeverRetry` as `ask`."""
    return _packed(bundle, case, route, step)[0]


def _packed(bundle: Bundle, case: Case, route: Route, step: int) -> tuple[Packed, Values]:
    models, contract = _specification(bundle, route)
    tools = _offered(_known(bundle, route), route, step)
    counter = counter_of(models.candidates)
    shown, hidden = shown_case(bundle, case, models)
    packed = pack(
        shown, models, counter, lambda fit: render(bundle, models.prompt, fit, tools, contract)
    )
    return packed, hidden


def _known(bundle: Bundle, route: Route) -> tuple[ToolSpec, ...]:
    names = (*route.tools, *route.plans)
    return tuple(bundle.tools[name] for name in names if name in bundle.tools)


def _offered(known: tuple[ToolSpec, ...], route: Route, step: int) -> tuple[ToolSpec, ...]:
    """The gate takes no call of the last turn: then none is offered, and an answer asked for."""
    return known if step < route.budget.max_turns else ()


def _left_s(case: Case, now: datetime) -> float | None:
    """How long the request may still take; once something was done, as long as it needs."""
    if case.deadline is None or any(step.results for step in case.steps):
        return None
    return max(0.0, (case.deadline - now).total_seconds())


def _specification(bundle: Bundle, route: Route) -> tuple[ModelRoute, OutputContract]:
    model_route = bundle.models.get(route.model_route)
    contract = bundle.output_of(route)
    if model_route is None or contract is None:
        kind, name = (
            ("model route", route.model_route)
            if model_route is None
            else ("output contract", route.output)
        )
        raise NeverRetry(FailureCode.STAGE_FAILED, f"the bundle has no {kind} {name!r}")
    return model_route, contract
