"""Asking a model which intent a request has: a choice from a closed list, and nothing else.

What the model reads is untrusted, and so is what it says. It can name one of the bundle's intents,
and the bundle says how far that may go: no riskier than the examples, unless it is declared. What
is no choice, or does not come in time, leaves the request where the examples put it.
"""

from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError

from interlock.bundles.classifier import ModelClassifier
from interlock.bundles.model import Bundle, Intent, OutputContract
from interlock.bundles.routes import ModelRoute
from interlock.intent_router.classification import Classification
from interlock.models.choice import Asked, choose
from interlock.models.packing import Packed, pack
from interlock.models.parse import clean_output
from interlock.models.port import Complete, ModelRequest, ModelResponse
from interlock.models.records import record_of
from interlock.models.templates import filled
from interlock.models.tokens import counter_of
from interlock.runtime.errors import NeverRetry, RetryLater
from interlock_contracts.base import Model, Token
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.routing import ModelChoice, Reason, Risk

_RISKS = tuple(Risk)
_CONTRACT = OutputContract(citations="none")


class Chosen(Model):
    """The one form a choice may have."""

    intent: Token


def wanted(spec: ModelClassifier, found: Classification, fallback: str) -> bool:
    """Whether the model is asked about a request that this was found of, without it."""
    if found.ruled:
        return False
    if spec.intents and found.intent not in (*spec.intents, fallback):
        return False
    unsure = found.failure is not None
    unsure = unsure or found.confidence < spec.confidence or found.margin < spec.margin
    return unsure or spec.when == "always"


def options(bundle: Bundle, spec: ModelClassifier) -> tuple[str, ...]:
    """The intents to choose from, in the bundle's order; what is none of them is the fallback."""
    named = spec.intents or tuple(bundle.intents)
    return tuple(name for name in bundle.intents if name in named or name == bundle.router.fallback)


def riskier(bundle: Bundle, name: str, than: str) -> bool:
    """Whether a request may come to more harm with this intent than with the other.

    By a higher risk, by a tool that changes something where the other has none, or because the
    data class is lost that kept it from some models. What is refused comes to none.
    """
    one, other = bundle.intents.get(name, Intent()), bundle.intents.get(than, Intent())
    return one.refusal is None and (
        _RISKS.index(one.risk) > _RISKS.index(other.risk)
        or (_changes(bundle, one) and not _changes(bundle, other))
        or other.data_class not in (None, one.data_class)
    )


def _changes(bundle: Bundle, intent: Intent) -> bool:
    tools = (bundle.tools[name] for name in intent.tools if name in bundle.tools)
    return any(tool.effect != "read" for tool in tools)


async def ask_model(
    case: Case, bundle: Bundle, spec: ModelClassifier, examples: str, now: datetime, ask: Complete
) -> ModelChoice:
    """The model's choice, or why there is none; `examples` is the intent without it.

    Whether a choice that could be `taken` is, the caller decides.
    """
    request, packed = _question(case, bundle, spec, now)
    if isinstance(request, str):
        return ModelChoice(examples=examples, came_to="unanswered", reason=request)
    try:
        response = await ask(request)
    except RetryLater as error:  # what a slower retry would mend does not hold a request up
        return ModelChoice(examples=examples, came_to="unanswered", reason=error.message)
    return _heard(response, request, packed, bundle, spec, examples)


def _heard(
    response: ModelResponse,
    request: ModelRequest,
    packed: Packed,
    bundle: Bundle,
    spec: ModelClassifier,
    examples: str,
) -> ModelChoice:
    record = record_of(bundle, spec.model, "classify", request.prompt, packed.packing, response)
    # The recorded text is read, so that a replay reads the same.
    try:
        chosen = Chosen.model_validate_json(record.output).intent
    except ValidationError:
        chosen = None
    if chosen is None or chosen not in options(bundle, spec):
        why = "its answer is no choice" if chosen is None else "it chose what was not offered"
        if record.stop_reason != "end":
            why += f"; it stopped because of {clean_output(record.stop_reason)}"
        return ModelChoice(examples=examples, came_to="invalid", reason=why, model=record)
    return ModelChoice(examples=examples, chosen=chosen, came_to="taken", model=record)


def taken(found: Classification, choice: ModelChoice) -> Classification:
    """What was found, with the model's intent in the place of the examples'.

    How sure the examples were stays on record; a model says nothing of that kind.
    """
    assert choice.chosen is not None
    assert choice.model is not None
    by = f"{choice.model.provider}/{choice.model.model}"
    why = (Reason(kind="model", reference=by), *found.why)
    return Classification(
        choice.chosen, found.confidence, found.margin, why, similarity=found.similarity
    )


def _question(
    case: Case, bundle: Bundle, spec: ModelClassifier, now: datetime
) -> tuple[ModelRequest | str, Packed]:
    """What to ask, or why nobody may be asked; and the prompt. Pure: a replay asks the same."""
    packed, models = packed_question(case, bundle, spec), bundle.models[spec.model]
    counter = counter_of(models.candidates)
    tokens = packed.packing.tokens if packed.packing else counter.count(packed.prompt)
    left_s = spec.timeout_s
    if case.deadline is not None:
        left_s = max(0.0, min(left_s, (case.deadline - now).total_seconds()))
    # What the request is about is not known yet: it may be any of the bundle's data.
    classes = sorted({one.data_class for one in bundle.intents.values() if one.data_class})
    asked = Asked("classify", tokens, left_s, packed.fits, tuple(classes))
    choice = choose(case, bundle.limits.budget, models, bundle, asked)
    if choice.code is not None:
        return f"no model may be asked: {'; '.join(choice.passed)}", packed
    request = ModelRequest(
        case=case,
        candidates=choice.candidates,
        prompt=packed.prompt,
        tools=(),
        contract=_CONTRACT,
        step=0,
        passed=choice.passed,
        prompt_tokens=tokens,
        left_s=left_s,
        hedge_after_s=models.hedge_after_s,
        accounts=bundle.accounts,
        schema=_schema(options(bundle, spec)),
    )
    return request, packed


def packed_question(case: Case, bundle: Bundle, spec: ModelClassifier) -> Packed:
    """The prompt, and what was left out of it.

    Raises:
        NeverRetry: the bundle has no such model route, or its prompt cannot be rendered.
    """
    models = bundle.models.get(spec.model)
    if models is None:
        raise NeverRetry(FailureCode.STAGE_FAILED, f"the bundle has no model route {spec.model!r}")
    counter = counter_of(models.candidates)
    return pack(case, models, counter, lambda fit: _prompt(bundle, spec, models, fit.request))


def _prompt(bundle: Bundle, spec: ModelClassifier, models: ModelRoute, request: Request) -> str:
    """A template sees `request`, `history` and `intents`: `name`, `description`, `examples`."""
    return filled(
        bundle,
        models.prompt,
        request=request,
        history=request.history,
        intents=[
            {
                "name": name,
                "description": bundle.intents[name].description,
                "examples": bundle.intents[name].examples,
            }
            for name in options(bundle, spec)
        ],
    )


def _schema(names: Sequence[str]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": {"intent": {"type": "string", "enum": list(names)}},
        "required": ["intent"],
        "additionalProperties": False,
    }


def try_prompt(bundle: Bundle, spec: ModelClassifier) -> None:
    """Render the classifier's prompt for a made-up request; raises `NeverRetry` if that fails."""
    text = "A sample."
    request = Request(
        request_id="0" * 26,
        tenant="sample",
        principal=Principal(user="sample", role="customer"),
        text=text,
        history=(Turn(role="user", text=text), Turn(role="assistant", text=text)),
    )
    _prompt(bundle, spec, bundle.models[spec.model], request)
