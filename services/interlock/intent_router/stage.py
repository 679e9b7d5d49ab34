"""The decision of the intent-router: `request` → `route`.

Or → `declined` and `answer`, when the request ends here: the first is the whole decision, for
the log; the second says why in a line, to the producer, who is shown no examples and no signals.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from interlock.bundles.classes import Override
from interlock.bundles.model import Bundle, Intent, Prepared
from interlock.bundles.overrides import features_of_case, overrides_of
from interlock.bundles.patterns import PatternTimeout
from interlock.intent_router.choosing import ask_model, riskier, taken, wanted
from interlock.intent_router.classification import Classification
from interlock.intent_router.classifier import Classifier
from interlock.intent_router.parts import Clause
from interlock.intent_router.several import unite
from interlock.models.port import Complete, ModelRequest, ModelResponse
from interlock.runtime.errors import NeverRetry, RetryLater
from interlock.runtime.privacy import TooLong, redact_request
from interlock.runtime.signals import signals_of_request
from interlock.runtime.stage import Draft, Input
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode, failure
from interlock_contracts.request import Principal
from interlock_contracts.routing import ModelChoice, Reason, Route, Thresholds
from interlock_contracts.signals import Signal

DEFAULT_REPLIES = {
    FailureCode.OUT_OF_SCOPE: "I cannot help with that here.",
    FailureCode.INTENT_AMBIGUOUS: "I am not sure what you need. Could you say it differently?",
    FailureCode.ROLE_NOT_ALLOWED: "Your account may not ask for this.",
    FailureCode.REQUEST_BLOCKED: "This cannot be asked for here.",
    FailureCode.SEVERAL_INTENTS: "That is more than one thing. Could you ask for one at a time?",
    FailureCode.OVERSIZE: "Your request is too long. Could you say it in fewer words?",
}
"""What is said when the bundle has no words of its own in `replies`, by failure code."""


async def no_models(_: ModelRequest) -> ModelResponse:
    """For who has none: bundles with a classifier are decided by their examples."""
    raise RetryLater(FailureCode.MODEL_UNAVAILABLE, "no model can be asked here")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The classifier of a bundle, a pure function of it, made once and kept by digest; and models
    to ask, where a bundle says so."""

    classifier: Callable[[Bundle], Classifier] = field(default_factory=lambda: Prepared(Classifier))
    models: Complete = no_models


async def decide(input: Input, using: Capabilities) -> Sequence[Draft]:
    """Classify the request and hold the stages after this one to its intent.

    Where the bundle asks for a model's choice and gets none, the examples decide.

    Raises:
        NeverRetry: another event than a request, or a pattern of the bundle took too long.
    """
    if input.event.subject.event != "request":
        raise NeverRetry(
            FailureCode.EVENT_INVALID,
            f"the intent-router takes no {input.event.subject.event} event",
        )
    try:
        case = await _redacted(input.case, input.bundle)
        return await _decide(case, input.bundle, using, input.now)
    except TooLong:
        return (_refuse(input.case, input.bundle, FailureCode.OVERSIZE),)
    except PatternTimeout as error:
        raise NeverRetry(FailureCode.STAGE_FAILED, f"a pattern of the bundle: {error}") from None


LONG_CHARS = 8_000
"""Of a longer conversation personal data is looked for in a thread: it can take a second."""


async def _redacted(case: Case, bundle: Bundle) -> Case:
    """The case as it may go on: with placeholders for personal data."""
    spec, request = bundle.privacy, case.request
    if spec is None:
        return case
    if len(request.text) + sum(len(turn.text) for turn in request.history) > LONG_CHARS:
        done = await asyncio.to_thread(redact_request, request, spec)
    else:
        done = redact_request(request, spec)
    return case.model_copy(update={"request": done.request, "personal": done.findings})


async def _decide(
    case: Case, bundle: Bundle, using: Capabilities, now: datetime
) -> Sequence[Draft]:
    signals = signals_of_request(case.request)
    features = features_of_case(bundle, case, signals)
    classifier, said = using.classifier(bundle), case.request

    def decided(*found: Classification, clauses: Sequence[Clause] = ()) -> _Decided:
        return _decided(case, bundle, signals, found, clauses)

    clauses = classifier.parts(said.text, features) if bundle.router.several else ()
    if clauses:
        return decided(*(one.found for one in clauses), clauses=clauses).drafts(bundle)
    first = classifier.first(said.text, said.history, features)
    alone = decided(classifier.corrected(first, said.text, features))
    spec = bundle.router.classifier
    if spec is None or alone.blocked or not wanted(spec, first, bundle.router.fallback):
        return alone.drafts(bundle)
    choice = await ask_model(case, bundle, spec, alone.route.intent, now, using.models)
    if choice.came_to != "taken":
        return alone.noting(choice).drafts(bundle)
    other = decided(classifier.corrected(taken(first, choice), said.text, features))
    ours, theirs = alone.route.intent, other.route.intent
    if theirs == ours:
        return alone.noting(choice.model_copy(update={"came_to": "agreed"})).drafts(bundle)
    if theirs not in spec.upwards and riskier(bundle, theirs, than=ours):
        return alone.noting(choice.model_copy(update={"came_to": "riskier"})).drafts(bundle)
    return other.noting(choice).drafts(bundle)


@dataclass(frozen=True, slots=True)
class _Decided:
    """A case with its route, and what that is made of: classifications, routes and overrides."""

    case: Case
    route: Route
    found: Sequence[Classification]
    routes: Sequence[Route]
    overrides: Sequence[Override]

    @property
    def blocked(self) -> bool:
        """Whether an override ends it."""
        return any(one.effect == "block" for one in self.overrides)

    def noting(self, choice: ModelChoice) -> "_Decided":
        """With what came of asking a model."""
        return replace(self, route=self.route.model_copy(update={"choice": choice}))

    def drafts(self, bundle: Bundle) -> Sequence[Draft]:
        """What goes on, or ends."""
        case = self.case.model_copy(update={"route": self.route})
        ended = _ending(case, bundle, self.overrides, self.found, self.routes)
        if ended is not None:
            return (Draft("declined", "0", case), ended)
        return (Draft("route", "0", case),)


def _decided(
    case: Case,
    bundle: Bundle,
    signals: tuple[Signal, ...],
    found: Sequence[Classification],
    clauses: Sequence[Clause],
) -> _Decided:
    principal = case.request.principal
    routes = [
        _route(bundle, bundle.intents.get(one.intent) or Intent(), one, principal) for one in found
    ]
    route = unite(clauses, routes).model_copy(update={"signals": signals})
    overrides = overrides_of(bundle, case, route)
    route = route.model_copy(update={"overrides": tuple(one.id for one in overrides)})
    return _Decided(case, route, found, routes, overrides)


def _ending(
    case: Case,
    bundle: Bundle,
    overrides: Sequence[Override],
    found: Sequence[Classification],
    routes: Sequence[Route],
) -> Draft | None:
    """The answer of a request that goes no further; `found` and `routes` are of its parts."""
    for override in overrides:
        if override.effect == "block":
            code, why = FailureCode.REQUEST_BLOCKED, f"blocked by the override {override.id}"
            return _refuse(case, bundle, code, override.reply, why)
    for one in found:
        intent = bundle.intents.get(one.intent)
        if intent is None or intent.refusal is not None:
            code = one.failure or FailureCode.OUT_OF_SCOPE
            return _refuse(case, bundle, code, intent.refusal if intent else None)
        if intent.roles and case.request.principal.role not in intent.roles:
            return _refuse(case, bundle, FailureCode.ROLE_NOT_ALLOWED)
    if len(found) > 1:
        classes = {one.data_class for one in routes} - {None}
        together = len(classes) < 2 and case.route and bundle.output_of(case.route) is not None
        if bundle.router.several == "refuse" or not together:
            return _refuse(case, bundle, FailureCode.SEVERAL_INTENTS)
    return None


def _route(bundle: Bundle, intent: Intent, found: Classification, principal: Principal) -> Route:
    why = found.why
    if intent.roles:
        why += (Reason(kind="role", reference=principal.role),)
    return Route(
        intent=found.intent,
        risk=intent.risk,
        confidence=found.confidence,
        margin=found.margin,
        sources=tuple(name for name in intent.sources if name in bundle.sources),
        tools=tuple(name for name in intent.tools if _may_use(bundle, name, principal)),
        plans=tuple(name for name in intent.plans if _may_use(bundle, name, principal)),
        data_class=intent.data_class,
        output=intent.output,
        model_route=intent.model,
        review_class=intent.review_class,
        budget=bundle.limits.budget,
        why=why,
        similarity=found.similarity,
        thresholds=Thresholds(
            similarity=bundle.router.threshold,
            confidence=bundle.router.confidence,
            margin=bundle.router.margin,
        ),
    )


def _may_use(bundle: Bundle, tool: str, principal: Principal) -> bool:
    """Whether the bundle has the tool and the principal its role; scopes are the gate's matter."""
    spec = bundle.tools.get(tool)
    return spec is not None and (not spec.roles or principal.role in spec.roles)


def _refuse(
    case: Case, bundle: Bundle, code: FailureCode, text: str | None = None, why: str | None = None
) -> Draft:
    """The closing answer, in the words of `text`; without `why` they are the reason, too."""
    reply = text or bundle.replies.get(code.value) or DEFAULT_REPLIES[code]
    answer = Answer(
        request_id=case.request.request_id,
        status=AnswerStatus.REFUSED,
        text=reply,
        failures=(failure(code, why or reply),),
        bundle=case.bundle,
    )
    return Draft("answer", str(case.attempt), answer)
