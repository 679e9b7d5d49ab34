"""The bundle's overrides at the gate: what a class of requests is held to, whatever else is said.

They are worked out of the bundle and the case, which is the log's: that nobody listed them in the
route, or somebody took one out of it, changes nothing.
"""

from collections.abc import Sequence

from interlock.bundles.classes import Override
from interlock_contracts.failures import FailureCode
from interlock_contracts.routing import Route
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import PolicyDecision, Violation, violation


def check_blocked(overrides: Sequence[Override]) -> list[Violation]:
    """One violation for each override that blocks the request.

    The router sees to those of what it knows; this is for what came to light later.
    """
    return [
        violation(FailureCode.REQUEST_BLOCKED, "", f"blocked by the override {one.id}")
        for one in overrides
        if one.effect == "block"
    ]


def held(
    policy: PolicyDecision | None,
    tool: ToolSpec | None,
    overrides: Sequence[Override],
    route: Route,
) -> PolicyDecision | None:
    """The policies' decision with what the overrides oblige to beside; a read stays automatic.

    Where the policies want a review already, that one counts: an override never takes an action
    from those who have to look at it.
    """
    if policy is None or not policy.allowed or tool is None or tool.effect == "read":
        return policy
    duties, by = set(policy.obligations), []
    for one in overrides:
        if one.effect == "confirm":
            duty = "confirm"
        elif any(known == "two_person" or known.startswith("review:") for known in duties):
            continue
        else:
            duty = f"review:{one.review_class or route.review_class or 'general'}"
        if duty not in duties:
            duties.add(duty)
            by.append(one.id)
    if not by:
        return policy
    return policy.model_copy(update={"obligations": tuple(sorted(duties)), "overrides": tuple(by)})
