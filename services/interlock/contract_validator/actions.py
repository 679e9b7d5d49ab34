"""One call of a proposal while it is judged, and what the policies' word makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from interlock.contract_validator.checks.text import pointer
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import ToolCall
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import (
    Decision,
    PolicyDecision,
    Provenance,
    Spend,
    Violation,
    violation,
)


@dataclass(slots=True)
class Action:
    """One call while it is judged."""

    index: int
    token: str
    call: ToolCall
    tool: ToolSpec | None
    violations: list[Violation]
    provenance: tuple[Provenance, ...] = ()
    policy: PolicyDecision | None = None
    concerns: tuple[Violation, ...] = ()
    spends: tuple[Spend, ...] = ()

    @property
    def decision(self) -> Decision:
        """What the obligations of the permits make of a call without violations."""
        duties = self.policy.obligations if self.policy else ()
        if any(duty == "two_person" or duty.startswith("review:") for duty in duties):
            return Decision.REVIEW
        return Decision.CONFIRM if "confirm" in duties else Decision.APPROVE


def together(said: Sequence[PolicyDecision]) -> PolicyDecision:
    """What holds of a call that is made for several intents: the first denial, or all duties."""
    denied = next((one for one in said if not one.allowed), None)
    if denied is not None:
        return denied
    return PolicyDecision(
        allowed=True,
        policies=tuple(sorted({name for one in said for name in one.policies})),
        obligations=tuple(sorted({duty for one in said for duty in one.obligations})),
    )


def policy_violations(index: int, policy: PolicyDecision) -> list[Violation]:
    """What is wrong where the policies do not permit a call, or cannot say; else nothing."""
    path = pointer("calls", index)
    if policy.errors:
        message = f"the policies cannot be evaluated: {policy.errors[0]}"
        return [violation(FailureCode.POLICY_ERROR, path, message)]
    if not policy.allowed:
        named = ", ".join(policy.policies)
        message = f"forbidden by {named}" if named else "no policy permits it"
        return [violation(FailureCode.POLICY_FORBIDS, path, message)]
    classes = {duty for duty in policy.obligations if duty.startswith("review:")}
    if len(classes) > 1:
        message = f"two review classes at once: {', '.join(sorted(classes))}"
        return [violation(FailureCode.POLICY_ERROR, path, message)]
    return []
