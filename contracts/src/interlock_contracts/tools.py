"""Writing a tool contract: a Pydantic model of the arguments, and what is true of the tool.

    @tool(effect="write", risk="high", recovery="idempotent", summary="Refund {order_id}")
    class CreateRefund(ToolArguments):
        order_id: str = Field(pattern=r"^[A-Z]-[0-9]{4}$")
        amount_cents: int = Field(gt=0)

The name of the tool is the class's name in snake_case. `tool_spec` compiles it to data; what
decides at run time is that data, never this code.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from interlock_contracts.base import CleanText, JsonObject, Model, Token, is_empty, is_none
from interlock_contracts.routing import Risk
from interlock_contracts.rules import Limit, Prerequisite
from interlock_contracts.verdict import Origin

EffectKind = Literal["read", "write", "external"]
Recovery = Literal["idempotent", "reconcile", "operator"]

Derivation = Literal["sum", "difference", "product", "share", "raised", "split"]
"""How a number may follow from others: `share` is b % of a, `raised` is a + b % of a, `split` is
a in two to six equal parts."""

SAFE_ORIGINS = (Origin.CONSTANT, Origin.FACT, Origin.USER, Origin.RESULT, Origin.TRUSTED)
"""Where a value may come from unless the contract says otherwise: anywhere but untrusted
content and the model's own invention."""


class ToolArguments(BaseModel):
    """Base of every tool's arguments: strict, and closed to unknown ones."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FactSpec(Model):
    """A fact the gate fetches before it decides.

    `arguments` maps each argument of the read-only tool to the name of an argument of the
    action (`order_id` → `order_id`).
    """

    name: Token
    tool: Token
    arguments: dict[str, str]


class ToolSpec(Model):
    """A tool contract as data: what the gate, the generator and the executors go by.

    `accepts` says per argument which origins are fine; an argument that is not named accepts
    `SAFE_ORIGINS`. `confirms` names those for which the requester is asked first; any other
    origin is refused. `derives` are the functions by which a number may follow from others.
    `asked_by` are phrases by which a user asks for this action (without any, the words of its
    name); where content of others was read and no phrase was said, the requester is asked.
    `records` are JSON pointers (`*` for any index or name) to what the tool returns as its own
    record, a whole value each; everything else it returns is content that others may have
    written. Without `records` all is record where `returns` is declared, and nothing otherwise.
    `limits` and `after` are rules over what was done before, in other requests too.
    `recovery` says what is done when a call's outcome is unknown. `returns` is
    the JSON Schema of what the tool returns; policies may read a fact only as far as it is
    declared there.
    """

    name: Token
    description: CleanText
    effect: EffectKind
    risk: Risk
    recovery: Recovery
    parameters: JsonObject
    returns: JsonObject | None = None
    roles: tuple[Token, ...] = ()
    scopes: tuple[Token, ...] = ()
    accepts: dict[str, tuple[Origin, ...]] = {}
    confirms: dict[str, tuple[Origin, ...]] = Field(default={}, exclude_if=is_empty)
    derives: dict[str, tuple[Derivation, ...]] = Field(default={}, exclude_if=is_empty)
    asked_by: tuple[CleanText, ...] = Field(default=(), exclude_if=is_empty)
    records: tuple[CleanText, ...] | None = Field(default=None, exclude_if=is_none)
    facts: tuple[FactSpec, ...] = ()
    limits: tuple[Limit, ...] = Field(default=(), exclude_if=is_empty)
    after: tuple[Prerequisite, ...] = Field(default=(), exclude_if=is_empty)
    summary: CleanText = ""
    timeout_ms: int = Field(default=10_000, gt=0)


ArgumentsT = TypeVar("ArgumentsT", bound=type[ToolArguments])

_SPEC = "__interlock_tool__"


def tool(
    *,
    effect: EffectKind,
    risk: Literal["low", "medium", "high"] = "low",
    recovery: Recovery | None = None,
    roles: Sequence[str] = (),
    scopes: Sequence[str] = (),
    accepts: Mapping[str, Sequence[str]] | None = None,
    confirms: Mapping[str, Sequence[str]] | None = None,
    derives: Mapping[str, Sequence[Derivation]] | None = None,
    asked_by: Sequence[str] = (),
    records: Sequence[str] | None = None,
    facts: Sequence[FactSpec] = (),
    limits: Sequence[Limit] = (),
    after: Sequence[Prerequisite | str] = (),
    returns: type[BaseModel] | None = None,
    summary: str = "",
    timeout_ms: int = 10_000,
) -> Callable[[ArgumentsT], ArgumentsT]:
    """Declare what is true of a tool; the decorated model describes its arguments.

    `recovery` defaults to `operator` for writes (a person looks when an outcome is unknown)
    and to `idempotent` for reads. `returns` is a model of what the tool returns: needed where
    policies judge by it as a fact. `limits` and `after` are made by the functions of
    `interlock_contracts.rules`; a tool's name alone means that it must have run in this request.
    """

    def declare(arguments: ArgumentsT) -> ArgumentsT:
        setattr(
            arguments,
            _SPEC,
            ToolSpec(
                name=re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", arguments.__name__).lower(),
                description=" ".join((arguments.__doc__ or "").split()),
                effect=effect,
                risk=Risk(risk),
                recovery=recovery or ("idempotent" if effect == "read" else "operator"),
                parameters=arguments.model_json_schema(),
                roles=tuple(roles),
                scopes=tuple(scopes),
                accepts={k: tuple(map(Origin, v)) for k, v in (accepts or {}).items()},
                confirms={k: tuple(map(Origin, v)) for k, v in (confirms or {}).items()},
                derives={k: tuple(v) for k, v in (derives or {}).items()},
                asked_by=tuple(asked_by),
                records=None if records is None else tuple(records),
                facts=tuple(facts),
                limits=tuple(limits),
                after=tuple(Prerequisite(tool=p) if isinstance(p, str) else p for p in after),
                returns=returns.model_json_schema(mode="serialization") if returns else None,
                summary=summary,
                timeout_ms=timeout_ms,
            ),
        )
        return arguments

    return declare


def tool_spec(arguments: type[ToolArguments]) -> ToolSpec:
    """The contract of a decorated model, as data.

    Raises:
        TypeError: the model was not declared with `@tool`.
    """
    spec = arguments.__dict__.get(_SPEC)
    if not isinstance(spec, ToolSpec):
        raise TypeError(f"{arguments.__name__} is no tool: declare it with @tool(effect=…)")
    return spec


def fact(name: str, *, get: str, **arguments: str) -> FactSpec:
    """A fact named `name`, fetched by the read-only tool `get`.

    Each keyword maps an argument of that tool to the action's argument it takes its value from:
    `fact("order", get="get_order", order_id="order_id")`.
    """
    return FactSpec(name=name, tool=get, arguments=arguments)
