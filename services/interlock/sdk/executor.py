"""What a team writes to run its tools.

    executor = ToolExecutor()

    @executor.tool(CreateRefund)
    async def create_refund(arguments: CreateRefund, call: ToolContext) -> dict[str, object]:
        refund = await payments.refund(arguments.order_id, key=call.idempotency_key)
        return {"refund_id": refund.id}

The contract (`CreateRefund`) is declared with `interlock_contracts.tools.tool`; what happens when
an outcome is unknown follows from its `recovery`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from interlock_contracts.actions import Effect
from interlock_contracts.canonical import canonical_json
from interlock_contracts.failures import Failure, FailureCode, failure
from interlock_contracts.tools import ToolArguments, ToolSpec, tool_spec


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may know of the call besides its arguments.

    `idempotency_key` names the effect: hand it to the provider; every repetition of the call has
    the same. `attempt` counts calls from 1; after a crash it is at least 2. `requester` is empty
    when the gate asks for a fact.
    """

    tenant: str
    request_id: str
    requester: str
    idempotency_key: str
    attempt: int = 1


class ToolError(Exception):
    """This call failed and surely had no effect; the message is shown to the requester.

    Anything else a write raises leaves its outcome unknown. When a call is repeated after an
    unknown outcome, a ToolError says only that the repetition had no effect.
    """


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the provider says became of `idempotency_key`."""

    effect: Effect
    output: object = None

    @classmethod
    def landed(cls, output: object = None) -> "Reconciled":
        """The effect happened, and this is what the tool would have returned."""
        return cls(Effect.LANDED, output)

    @classmethod
    def did_not_happen(cls) -> "Reconciled":
        """The effect did not happen and no longer can."""
        return cls(Effect.DID_NOT_HAPPEN)

    @classmethod
    def unknown(cls) -> "Reconciled":
        """The provider cannot say: a person has to look."""
        return cls(Effect.IN_DOUBT)


@dataclass(frozen=True, slots=True)
class Tool:
    """One registered tool: its contract, and the functions that run it."""

    spec: ToolSpec
    arguments: type[ToolArguments]
    run: Callable[[Any, ToolContext], Awaitable[object]]
    reconcile: Callable[[Any, ToolContext], Awaitable[Reconciled]] | None = None

    @property
    def writes(self) -> bool:
        """Whether a call can change the world."""
        return self.spec.effect != "read"


ArgumentsT = TypeVar("ArgumentsT", bound=ToolArguments)
ReturnT = TypeVar("ReturnT")


class ToolExecutor:
    """A registry of tools: what one executor process can run."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}

    def tool(
        self, contract: type[ArgumentsT]
    ) -> Callable[
        [Callable[[ArgumentsT, ToolContext], Awaitable[ReturnT]]],
        Callable[[ArgumentsT, ToolContext], Awaitable[ReturnT]],
    ]:
        """Register the async function that runs this tool; it returns JSON (or a model).

        Raises:
            TypeError: the contract was not declared with `@tool`, or the function is not async.
            ValueError: the tool is registered already.
        """
        spec = tool_spec(contract)

        def register(
            run: Callable[[ArgumentsT, ToolContext], Awaitable[ReturnT]],
        ) -> Callable[[ArgumentsT, ToolContext], Awaitable[ReturnT]]:
            _must_be_async(run, spec.name)
            if spec.name in self._tools:
                raise ValueError(f"tool {spec.name} is registered already")
            self._tools[spec.name] = Tool(spec, contract, run)
            return run

        return register

    def reconcile(
        self, contract: type[ArgumentsT]
    ) -> Callable[
        [Callable[[ArgumentsT, ToolContext], Awaitable[Reconciled]]],
        Callable[[ArgumentsT, ToolContext], Awaitable[Reconciled]],
    ]:
        """Register how the provider is asked what became of a call; after `tool`.

        Raises:
            TypeError: the function is not async.
            ValueError: no such tool yet, or its contract does not say `recovery="reconcile"`.
        """
        spec = tool_spec(contract)

        def register(
            ask: Callable[[ArgumentsT, ToolContext], Awaitable[Reconciled]],
        ) -> Callable[[ArgumentsT, ToolContext], Awaitable[Reconciled]]:
            _must_be_async(ask, spec.name)
            known = self._tools.get(spec.name)
            if known is None:
                raise ValueError(f"tool {spec.name} has no function yet: register that first")
            if spec.recovery != "reconcile":
                raise ValueError(f'tool {spec.name} does not declare recovery="reconcile"')
            self._tools[spec.name] = Tool(spec, contract, known.run, ask)
            return ask

        return register

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The registered tools by name."""
        return MappingProxyType(self._tools)

    @property
    def specs(self) -> dict[str, ToolSpec]:
        """The registered contracts by name, as a bundle holds them."""
        return {name: tool.spec for name, tool in self._tools.items()}

    def check(self, name: str, arguments: dict[str, Any]) -> Failure | None:
        """What is wrong with a call by its contract, or None; never repeats a value."""
        tool = self._tools.get(name)
        if tool is None:
            return failure(FailureCode.TOOL_UNKNOWN, "this executor has no such tool")
        try:
            parse_arguments(tool, arguments)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False, include_context=False)
            # an unknown argument's name is raw input: only declared names are repeated
            named = [(d["loc"][0] if d["loc"] else "arguments", d["msg"]) for d in details[:5]]
            known = tool.arguments.model_fields
            reasons = "; ".join(f"{n if n in known else 'arguments'}: {msg}" for n, msg in named)
            return failure(FailureCode.ARGUMENTS_INVALID, plain(reasons))
        except (TypeError, ValueError):
            return failure(FailureCode.ARGUMENTS_INVALID, "the arguments have no JSON form")
        return None


def parse_arguments(tool: Tool, arguments: dict[str, Any]) -> ToolArguments:
    """The arguments as the contract's model, by JSON's rules (a date is a string).

    Raises:
        ValidationError: the contract does not accept them.
        TypeError, ValueError: they have no JSON form.
    """
    return tool.arguments.model_validate_json(canonical_json(arguments))


def plain(message: str, limit: int = 500) -> str:
    """A message fit for a `Failure`: one line of printable text, at most `limit` characters."""
    return "".join(c if c.isprintable() else " " for c in message)[:limit]


def _must_be_async(function: Callable[..., object], name: str) -> None:
    if not iscoroutinefunction(function):
        raise TypeError(f"the function of tool {name} must be async: a blocking one stops all")
