"""One way for a request that asks for several things: what all of them may, held to the strictest.

One answer and one case per request is what everything after the router rests on; so the parts
travel together (docs/decisions/017).
"""

from collections.abc import Iterable, Sequence

from interlock.intent_router.parts import Clause
from interlock_contracts.routing import Part, Risk, Route

_RISKS = tuple(Risk)


def unite(clauses: Sequence[Clause], routes: Sequence[Route]) -> Route:
    """The way of a request with these parts; without any clauses the only route as it is.

    The riskiest part (the first of equals) gives intent, model route, output contract and review
    class. Sources, tools and plans are those of all. It is as sure as its least sure part.
    """
    if not clauses:
        return routes[0]
    riskiest = max(routes, key=lambda one: _RISKS.index(one.risk))
    return riskiest.model_copy(
        update={
            "confidence": min(one.confidence for one in routes),
            "margin": min(one.margin for one in routes),
            "similarity": min(one.similarity or 0.0 for one in routes),
            "sources": _all(one.sources for one in routes),
            "tools": _all(one.tools for one in routes),
            "plans": _all(one.plans for one in routes),
            "data_class": next((one.data_class for one in routes if one.data_class), None),
            "parts": tuple(
                Part(
                    intent=one.intent,
                    risk=one.risk,
                    start=clause.start,
                    end=clause.end,
                    confidence=one.confidence,
                    margin=one.margin,
                    sources=one.sources,
                    tools=one.tools,
                    output=one.output,
                    why=one.why,
                )
                for clause, one in zip(clauses, routes, strict=True)
            ),
        }
    )


def _all(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for own in names for name in own))
