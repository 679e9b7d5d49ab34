"""What happens next with a proposal: answered, run, asked about, sent back or refused."""

from collections.abc import Sequence

from interlock.contract_validator.actions import Action
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureArea, FailureCode
from interlock_contracts.proposal import Proposal
from interlock_contracts.routing import Route
from interlock_contracts.verdict import Decision, Violation

_NEVER_REPAIRED = {
    FailureCode.TOOL_NOT_ALLOWED,
    FailureCode.ROLE_NOT_ALLOWED,
    FailureCode.REQUEST_BLOCKED,
    FailureCode.LIMIT_EXCEEDED,
}
"""With all of area safety_policy: a model is not asked to try again to get past these."""


def repairs_left(case: Case, route: Route) -> int:
    """How many more times this request may go back to the generator."""
    done = sum(step.verdict.decision is Decision.REPAIR for step in case.steps)
    return max(0, route.budget.max_repairs - done)


def repairable(violations: Sequence[Violation]) -> bool:
    """Whether the generator may be asked to try again."""
    return not any(
        one.area is FailureArea.SAFETY_POLICY or one.code in _NEVER_REPAIRED for one in violations
    )


def decide(
    case: Case,
    route: Route,
    proposal: Proposal,
    violations: Sequence[Violation],
    actions: Sequence[Action],
) -> Decision:
    """What happens next with a proposal, by all that was found of it and of its calls."""
    if violations:
        again = repairable(violations) and repairs_left(case, route) > 0
        return Decision.REPAIR if again else Decision.REFUSE
    if proposal.abstained:
        return Decision.REFUSE
    if not actions:
        return Decision.ANSWER
    found = {action.decision for action in actions}
    order = (Decision.REVIEW, Decision.CONFIRM, Decision.APPROVE)
    return next(decision for decision in order if decision in found)
