"""Plans: tool calls that are explained to the user and never run.

A route names the tools that may be planned with apart from those that may be called. Only the
latter are in the gate's allowlist, so that a plan cannot become an action by any mistake here.
"""

from string import Formatter

from interlock.bundles.model import Bundle
from interlock_contracts.proposal import Proposal, Statement, ToolCall
from interlock_contracts.routing import Route


def without_plans(proposal: Proposal, route: Route, bundle: Bundle) -> Proposal:
    """The proposal with its calls of plan-only tools as words, and as `plan`, instead."""
    planned = tuple(
        call for call in proposal.calls if call.tool in route.plans and call.tool not in route.tools
    )
    if not planned:
        return proposal
    steps = [_summary(call, bundle) for call in planned]
    told = Statement(text=f"This would be done, and has not been: {'; then '.join(steps)}.")
    return proposal.model_copy(
        update={
            "calls": tuple(call for call in proposal.calls if call not in planned),
            "statements": (*proposal.statements, told),
            "plan": planned,
        }
    )


def _summary(call: ToolCall, bundle: Bundle) -> str:
    """The tool's own summary with the arguments filled in, to stand within a sentence."""
    template = bundle.tools[call.tool].summary or call.tool.replace("_", " ")
    parts = [
        literal + ("" if name is None else str(call.arguments.get(name, "?")))
        for literal, name, _, _ in Formatter().parse(template)
    ]
    text = "".join(parts).strip().rstrip(".")
    return text[:1].lower() + text[1:]
