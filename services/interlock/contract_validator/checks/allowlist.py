"""Which tools may be called here: those of the route, by a principal the contract admits."""

from collections.abc import Mapping

from interlock.contract_validator.checks.text import pointer, shown
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import ToolCall
from interlock_contracts.request import Principal
from interlock_contracts.routing import Route
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import Violation, violation


def check_tool(
    index: int,
    call: ToolCall,
    tools: Mapping[str, ToolSpec],
    route: Route,
    principal: Principal,
) -> list[Violation]:
    """tool_unknown, or tool_not_allowed for each reason why not."""
    path = pointer("calls", index, "tool")
    tool = tools.get(call.tool)
    if tool is None:
        return [
            violation(FailureCode.TOOL_UNKNOWN, path, f"there is no tool {shown(call.tool, 64)!r}")
        ]
    reasons = []
    if call.tool not in route.tools:
        reasons.append(f"intent {route.intent!r} has no tool {call.tool!r}")
    if tool.roles and principal.role not in tool.roles:
        reasons.append(f"role {principal.role!r} may not call {call.tool!r}")
    missing = sorted(set(tool.scopes) - set(principal.scopes))
    if missing:
        reasons.append(f"{call.tool!r} needs the scopes {', '.join(missing)}")
    return [violation(FailureCode.TOOL_NOT_ALLOWED, path, reason) for reason in reasons]
