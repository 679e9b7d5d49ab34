"""Facts: what the gate asks of systems of record before it decides, each once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import jsonschema_rs

from interlock.bundles.model import Bundle
from interlock.contract_validator.checks.arguments import Schemas, fits
from interlock.contract_validator.checks.text import shown
from interlock_contracts.answer import FactReply
from interlock_contracts.canonical import canonical_json
from interlock_contracts.request import Request
from interlock_contracts.tools import FactSpec, ToolSpec
from interlock_contracts.verdict import Fact

Fetch = Callable[[str, str, str, dict[str, Any]], Awaitable[FactReply]]
"""Asks a read-only tool: (tenant, request_id, tool, arguments)."""


class Facts:
    """How the facts of a bundle's tools are asked for, and what shape they must have."""

    def __init__(self, bundle: Bundle, schemas: Schemas) -> None:
        self._schemas = schemas
        self._returns = {
            name: jsonschema_rs.Draft202012Validator(tool.returns, offline=True)
            for name, tool in bundle.tools.items()
            if tool.returns is not None
        }

    async def gather(
        self,
        request: Request,
        calls: Iterable[tuple[ToolSpec, Mapping[str, Any]]],
        fetch: Fetch,
    ) -> tuple[Fact, ...]:
        """The facts of these calls, each fetched once, all at a time."""
        wanted: dict[bytes, tuple[FactSpec, dict[str, Any]]] = {}
        for tool, arguments in calls:
            for spec in tool.facts:
                asked = fact_arguments(spec, arguments)
                if fits(self._schemas, spec.tool, asked):
                    wanted[canonical_json([spec.name, spec.tool, asked])] = (spec, asked)
        if not wanted:
            return ()
        asking = {
            canonical_json([spec.tool, asked]): (spec.tool, asked)
            for spec, asked in wanted.values()
        }
        replies = await asyncio.gather(
            *(
                fetch(request.tenant, request.request_id, tool, asked)
                for tool, asked in asking.values()
            )
        )
        answered = dict(zip(asking, replies, strict=True))
        return tuple(
            self._fact(spec, asked, answered[canonical_json([spec.tool, asked])])
            for spec, asked in wanted.values()
        )

    def _fact(self, spec: FactSpec, asked: dict[str, Any], reply: FactReply) -> Fact:
        value, error = reply.value, reply.error
        shape = self._returns.get(spec.tool)
        if error is None and shape is not None and not shape.is_valid(value):
            value, error = None, "the reply does not have the shape its contract declares"
        return Fact(name=spec.name, tool=spec.tool, arguments=asked, value=value, error=error)


def fact_arguments(spec: FactSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a fact's tool is asked with; an argument the action does not have is left out."""
    return {theirs: arguments[ours] for theirs, ours in spec.arguments.items() if ours in arguments}


def facts_of(
    tool: ToolSpec, arguments: Mapping[str, Any], facts: Sequence[Fact]
) -> tuple[Fact, ...]:
    """Of the recorded facts those that were fetched for this call."""
    own = [(spec.name, spec.tool, fact_arguments(spec, arguments)) for spec in tool.facts]
    return tuple(fact for fact in facts if (fact.name, fact.tool, fact.arguments) in own)


def missing_facts(tool: ToolSpec, known: Sequence[Fact]) -> list[str]:
    """Why facts of the contract are not known, one reason each."""
    found = {fact.name: fact for fact in known}
    reasons = []
    for spec in tool.facts:
        fact = found.get(spec.name)
        if fact is None:
            reasons.append(f"fact {spec.name}: cannot be asked for with these arguments")
        elif fact.error is not None:
            reasons.append(f"fact {spec.name}: {shown(fact.error, 300)}")
    return reasons
