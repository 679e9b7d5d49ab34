"""One call of one tool, within its timeout."""

import asyncio
from dataclasses import dataclass
from typing import Any

from interlock.sdk.executor import Tool, ToolContext, ToolError, plain
from interlock.sdk.outcome import Outcome, Unusable, as_json, did_not_happen
from interlock_contracts.actions import Effect
from interlock_contracts.failures import FailureCode


@dataclass(frozen=True, slots=True)
class Call:
    """One tool with the arguments and the context of one call."""

    tool: Tool
    arguments: Any
    context: ToolContext


async def run(call: Call) -> object:
    """Call the tool; `TimeoutError` when it takes too long, or whatever it raises."""
    async with asyncio.timeout(call.tool.spec.timeout_ms / 1000):
        return await call.tool.run(call.arguments, call.context)


async def read(call: Call) -> Outcome:
    """A read needs no reservation: whatever goes wrong, nothing happened."""
    try:
        output = as_json(await run(call))
    except ToolError as error:
        return did_not_happen(FailureCode.TOOL_FAILED, plain(str(error)))
    except TimeoutError:
        return did_not_happen(FailureCode.TOOL_TIMEOUT, "the tool did not return in time")
    except Unusable as error:
        return did_not_happen(FailureCode.TOOL_FAILED, str(error))
    except Exception as error:
        return did_not_happen(FailureCode.TOOL_FAILED, f"the tool raised {type(error).__name__}")
    return Outcome(effect=Effect.LANDED, output=output)
