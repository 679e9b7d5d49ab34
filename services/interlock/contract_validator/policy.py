"""What the bundle's Cedar policies say of one action."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cedarpy

from interlock.bundles.cedar import (
    cedar_schema,
    cedar_value,
    context_type,
    entities,
    entity,
    with_defaults,
)
from interlock.bundles.model import Bundle
from interlock.bundles.policies import Policy, read_policies
from interlock.bundles.reach import paths
from interlock.contract_validator.checks.said import limit_cents, names_said
from interlock_contracts.actions import Effect
from interlock_contracts.case import Step
from interlock_contracts.request import Principal, Request
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import PolicyDecision


class Policies:
    """The policies of one bundle, parsed once.

    Raises:
        ValueError: a policy that does not compile; `check_policies` says where and why.
    """

    def __init__(self, bundle: Bundle) -> None:
        policies, problems = read_policies(bundle)
        if problems:
            raise ValueError(problems[0])
        self._policies = cedarpy.PolicySet.from_str("\n".join(one.text for one in policies))
        unread = _UNASKED - _read(policies)
        self._contexts = {
            name: _without(unread, context_type(bundle, tool))
            for name, tool in bundle.tools.items()
        }
        self._schema = cedarpy.Schema.from_json_str(
            json.dumps(cedar_schema(bundle, self._contexts))
        )
        self._request, self._history = (name not in unread for name in ("request", "history"))
        self._obligations = {one.id: one.obligations for one in policies}
        # The user's words are read only for policies that speak of them.
        self._limit = any("limit_cents" in one.text for one in policies)
        self._said = any("said" in one.text for one in policies)

    def judge(
        self,
        principal: Principal,
        tool: ToolSpec,
        arguments: Mapping[str, Any],
        facts: Mapping[str, Any],
        request: Request,
        intent: str,
        steps: Sequence[Step] = (),
        signals: Iterable[str] = (),
    ) -> PolicyDecision:
        """Permit or deny one call; denied unless a policy permits it and none forbids it.

        `facts` are values by fact name; `steps` what the request has done so far; `signals` kinds
        of signs of an injection. On allow, `policies` are all permits that hold and `obligations`
        all of theirs; on deny, `policies` are the forbids that hold, and none when nothing
        permitted it. Whatever cannot be evaluated is denied, with the reason in `errors`: an error
        in one policy denies even where another one permits.
        """
        stated: dict[str, Any] = {
            "arguments": with_defaults(dict(arguments), tool.parameters),
            "facts": facts,
        }
        if self._request:
            stated["request"] = {
                "intent": intent,
                "tenant": request.tenant,
                "channel": request.channel,
                "limit_cents": limit_cents(request) if self._limit else None,
                "said": names_said(request) if self._said else [],
                "signals": sorted(signals),
            }
        if self._history:
            stated["history"] = history(tool, arguments, steps)
        try:
            context = cedar_value(stated, self._contexts[tool.name])
        except ValueError as error:
            return PolicyDecision(allowed=False, errors=(f"context: {error}",))
        result = cedarpy.is_authorized(
            {
                "principal": entity("User", principal.user),
                "action": entity("Action", tool.name),
                "resource": entity("Tenant", request.tenant),
                "context": json.dumps(context),
            },
            self._policies,
            entities(principal.user, principal.role, principal.scopes, request.tenant),
            self._schema,
        )
        found = result.diagnostics
        if found.errors or result.decision is cedarpy.Decision.NoDecision:
            return PolicyDecision(allowed=False, errors=_errors(found.errors))
        ids = found.id_annotations_by_reason
        decided = tuple(sorted(ids.get(reason) or reason for reason in found.reasons))
        if not result.allowed:
            return PolicyDecision(allowed=False, policies=decided)
        duties = {duty for name in decided for duty in self._obligations.get(name, ())}
        return PolicyDecision(allowed=True, policies=decided, obligations=tuple(sorted(duties)))

    def asking(self, decision: PolicyDecision | None, duty: str) -> tuple[str, ...]:
        """Those of the policies that decided which oblige to `duty`."""
        decided = decision.policies if decision else ()
        return tuple(name for name in decided if duty in self._obligations.get(name, ()))


_UNASKED = frozenset({"request", "history"})
"""Records of the context that the gate makes itself: nothing in them can be wrong. Where no policy
reads one it is left out, of the schema too: checking it is half the time of a decision."""


def _read(policies: Iterable[Policy]) -> frozenset[str]:
    """The records of the context that policies read; all, where one takes the context whole."""
    found = {path for one in policies for path in paths(one.parsed["conditions"])}
    return _UNASKED if "context" in found else frozenset(path.split(".")[0] for path in found)


def _without(names: Iterable[str], record: dict[str, Any]) -> dict[str, Any]:
    """A Cedar record type without some of its attributes."""
    kept = {name: kind for name, kind in record["attributes"].items() if name not in names}
    return {**record, "attributes": kept}


def history(tool: ToolSpec, arguments: Mapping[str, Any], steps: Sequence[Step]) -> dict[str, Any]:
    """What landed in this request: the tools by name, and whether this very call is among it."""
    landed = {
        result.action
        for step in steps
        for result in step.results
        if result.effect is not Effect.DID_NOT_HAPPEN
    }
    done = [action for step in steps for action in step.verdict.actions if action.action in landed]
    return {
        "done": sorted({action.tool for action in done}),
        "repeated": any((one.tool, one.arguments) == (tool.name, arguments) for one in done),
    }


def _errors(errors: list[str]) -> tuple[str, ...]:
    """Cedar's own words, in one line each and cut short: they may repeat a value."""
    return tuple(" ".join(error.split())[:300] for error in errors) or ("no decision",)
