"""Personal data at the gate: put back before anything is judged, taken out of all it emits.

Cases carry placeholders; what they stand for is on the log once, in the request. The gate judges,
and executors run, the values; the log and people get the placeholders.
"""

from collections.abc import Sequence

from interlock.bundles.model import Bundle
from interlock.contract_validator.binding import bind
from interlock.contract_validator.facts import facts_of
from interlock.runtime.errors import NeverRetry
from interlock.runtime.signals import signals_of_results
from interlock.runtime.stage import Log
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.privacy import (
    Values,
    conceal,
    conceal_json,
    restore_json,
    restore_model,
    values_in,
)
from interlock_contracts.proposal import ToolCall
from interlock_contracts.request import Request
from interlock_contracts.verdict import (
    ActionVerdict,
    Fact,
    PolicyDecision,
    Provenance,
    Verdict,
    Violation,
)


async def values_of(case: Case, log: Log) -> Values:
    """What the placeholders of a case stand for.

    Raises:
        NeverRetry: the request is no longer on the log.
    """
    if not case.personal:
        return {}
    found = await log.read("request", case.request.tenant, case.request.request_id, "0")
    if found is None or not isinstance(found.data, Request):
        raise NeverRetry(
            FailureCode.EVENT_INVALID, "the request with its personal data is no longer on the log"
        )
    history = [turn.text for turn in found.data.history]
    return values_in(found.data.text, history, case.personal)


def revealed(case: Case, values: Values) -> Case:
    """The case with the values in all that people and models said. What was retrieved stays.

    A placeholder in a document is the document's own, whatever a request has redacted.
    """
    if not values:
        return case
    proposal, verdict = case.proposal, case.verdict
    return case.model_copy(
        update={
            "request": restore_model(case.request, values),
            "steps": tuple(restore_model(step, values) for step in case.steps),
            "proposal": restore_model(proposal, values) if proposal else None,
            "verdict": restore_model(verdict, values) if verdict else None,
        }
    )


def own_facts(
    bundle: Bundle, action: ActionVerdict, facts: Sequence[Fact], values: Values
) -> tuple[Fact, ...]:
    """Of the recorded facts those that were fetched for this action, both as recorded."""
    real = [restore_model(fact, values) for fact in facts]
    own = facts_of(bundle.tools[action.tool], restore_json(action.arguments, values), real)
    return tuple(fact for fact, shown in zip(facts, real, strict=True) if shown in own)


def digest_of(
    case: Case, bundle: Bundle, action: ActionVerdict, facts: Sequence[Fact], values: Values
) -> str:
    """The digest that a person approves, over an action as the log has it, and its values."""
    used = personal_in(action, values)
    return bind(case.request, bundle.digest, action, facts, used)


def personal_in(action: ActionVerdict, values: Values) -> dict[str, str]:
    """The values of the placeholders in an action's arguments."""
    text = str(action.arguments)
    return {name: value for name, value in values.items() if name in text}


def concealed(
    verdict: Verdict, case: Case, bundle: Bundle, calls: Sequence[ToolCall], values: Values
) -> Verdict:
    """A verdict on what was revealed, as the log may have it; `calls` are as proposed."""
    if not values:
        return verdict
    facts = tuple(_fact(fact, values) for fact in verdict.facts)
    actions = []
    for action, call in zip(verdict.actions, calls, strict=False):
        shown = action.model_copy(
            update={
                "arguments": conceal_json(call.arguments, values),
                "provenance": tuple(_provenance(one, values) for one in action.provenance),
                "policy": action.policy and _policy(action.policy, values),
                "concerns": tuple(_violation(one, values) for one in action.concerns),
            }
        )
        known = own_facts(bundle, shown, facts, values) if shown.tool in bundle.tools else ()
        digest = digest_of(case, bundle, shown, known, values)
        actions.append(shown.model_copy(update={"digest": digest}))
    return verdict.model_copy(
        update={
            "violations": tuple(_violation(one, values) for one in verdict.violations),
            "actions": tuple(actions),
            "facts": facts,
            # Their places are those in the results as the log has them.
            "signals": signals_of_results(case.steps),
        }
    )


def _fact(fact: Fact, values: Values) -> Fact:
    return fact.model_copy(
        update={
            "arguments": conceal_json(fact.arguments, values),
            "value": conceal_json(fact.value, values),
            "error": fact.error and conceal(fact.error, values),
        }
    )


def _provenance(one: Provenance, values: Values) -> Provenance:
    found = {"path": conceal(one.path, values), "evidence": conceal(one.evidence, values)}
    return one.model_copy(update=found)


def _policy(policy: PolicyDecision, values: Values) -> PolicyDecision:
    errors = tuple(conceal(error, values) for error in policy.errors)
    return policy.model_copy(update={"errors": errors})


def _violation(one: Violation, values: Values) -> Violation:
    found = {"path": conceal(one.path, values), "message": conceal(one.message, values)}
    return one.model_copy(update=found)
