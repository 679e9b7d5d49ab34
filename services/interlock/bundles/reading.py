"""Which governed sources a principal may read, by the bundle's own policies."""

import json
from collections.abc import Iterable

import cedarpy

from interlock.bundles.cedar import cedar_schema, entities, entity, read_action
from interlock.bundles.model import Bundle, Prepared
from interlock.bundles.policies import read_policies
from interlock_contracts.request import Request
from interlock_contracts.routing import Route

Parsed = tuple[cedarpy.PolicySet, cedarpy.Schema]


def _parse(bundle: Bundle) -> Parsed:
    policies, problems = read_policies(bundle)
    if problems:
        raise ValueError(problems[0])
    return (
        cedarpy.PolicySet.from_str("\n".join(one.text for one in policies)),
        cedarpy.Schema.from_json_str(json.dumps(cedar_schema(bundle))),
    )


_PARSED = Prepared(_parse)


def forbidden_sources(
    bundle: Bundle, request: Request, route: Route, sources: Iterable[str]
) -> set[str]:
    """Those of `sources` that are governed and that no policy permits, or that one forbids.

    What cannot be evaluated is forbidden. Raises `ValueError` for policies that do not compile.
    """
    governed = {
        name for name in sources if name in bundle.sources and bundle.sources[name].governed
    }
    return {name for name in governed if not _permits(bundle, request, route, name)}


def _permits(bundle: Bundle, request: Request, route: Route, source: str) -> bool:
    return all(
        _permits_for(bundle, request, route, intent, source)
        for intent in route.intents_with("sources", source)
    )


def _permits_for(bundle: Bundle, request: Request, route: Route, intent: str, source: str) -> bool:
    who, (policies, schema) = request.principal, _PARSED(bundle)
    context = {
        "intent": intent,
        "tenant": request.tenant,
        "channel": request.channel,
        "signals": sorted({one.kind for one in route.signals}),
    }
    result = cedarpy.is_authorized(
        {
            "principal": entity("User", who.user),
            "action": entity("Action", read_action(source)),
            "resource": entity("Tenant", request.tenant),
            "context": json.dumps({"request": context}),
        },
        policies,
        entities(who.user, who.role, who.scopes, request.tenant),
        schema,
    )
    return bool(result.allowed) and not result.diagnostics.errors
