"""Which overrides of a bundle apply to a request: worked out alike by the router and the gate."""

from collections.abc import Iterable

from interlock.bundles.classes import Features, Override, features_of
from interlock.bundles.model import Bundle
from interlock_contracts.case import Case
from interlock_contracts.routing import Route
from interlock_contracts.signals import Signal


def features_of_case(
    bundle: Bundle, case: Case, signals: Iterable[Signal] = ()
) -> dict[str, frozenset[str]]:
    """What a case is known by before it has a route; `signals` are those in the request."""
    known = features_of(case.request, bundle.groups, (one.kind for one in case.personal))
    return known | {"signals": frozenset(one.kind for one in signals)}


def features_of_route(
    bundle: Bundle, case: Case, route: Route, signals: Iterable[Signal] = ()
) -> Features:
    """What a case is known by once it has one; `signals` are those in what tools returned."""
    classes = (route.data_class,) if route.data_class else ()
    return features_of_case(bundle, case) | {
        "intents": frozenset((route.intent, *(part.intent for part in route.parts))),
        "risks": frozenset((route.risk.value, *(part.risk.value for part in route.parts))),
        "data_classes": frozenset(classes),
        "signals": signals_of(case, route, signals),
    }


def signals_of(case: Case, route: Route, signals: Iterable[Signal] = ()) -> frozenset[str]:
    """The kinds of signs of an injection: in the request, in what was retrieved, and `signals`."""
    found = (*route.signals, *(case.context.signals if case.context else ()), *signals)
    return frozenset(one.kind for one in found)


SEVERAL = Override(id="several_intents", effect="review")
"""What `router.several: review` makes of a request that asks for several things."""


def overrides_of(
    bundle: Bundle, case: Case, route: Route, signals: Iterable[Signal] = ()
) -> tuple[Override, ...]:
    """All overrides that apply, in the order of the bundle; `signals` as above."""
    features = features_of_route(bundle, case, route, signals) if bundle.overrides else {}
    found = tuple(one for one in bundle.overrides if one.has(features))
    seen_by_all = route.parts and bundle.router.several == "review"
    return (*found, SEVERAL) if seen_by_all else found
