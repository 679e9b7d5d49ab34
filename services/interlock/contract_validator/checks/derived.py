"""Values that follow from others by a function the contract declares: a difference, a share.

Only numbers are derived, exactly or to the second decimal. A derived value is worth what the
least trustworthy of its ingredients is worth.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice

from interlock.contract_validator.checks.sources import Place, Words
from interlock_contracts.tools import Derivation
from interlock_contracts.verdict import Origin

_MOST = 32
"""Ingredients of one origin that are tried: their pairs are."""

_PARTS = range(2, 7)
"""Into how many equal parts something may be split."""

_CENT = Decimal("0.01")

Number = tuple[Decimal, str]
"""A number and the place it stands in."""


def derive(
    value: float, functions: Sequence[Derivation], places: Iterable[Place]
) -> tuple[Origin, str] | None:
    """The most trustworthy way to arrive at `value`, as (origin, how), or None.

    Places are taken in, origin by origin; the first set of them that suffices counts.
    """
    wanted = Decimal(str(value))
    known: list[Number] = []
    by_origin: dict[Origin, list[Number]] = {}
    for place in places:
        by_origin.setdefault(place.origin, []).extend(_numbers(place))
    for origin in sorted(by_origin, key=list(Origin).index):
        more = dict(reversed(by_origin[origin]))
        known += islice(more.items(), _MOST)
        how = _how(wanted, functions, known)
        if how is not None:
            return origin, how
    return None


def _numbers(place: Place) -> Iterator[Number]:
    if isinstance(place, Words):
        yield from ((number, place.name) for number in place.text.amounts)
        return
    for leaf in place.leaves:
        if isinstance(leaf.value, int | float) and not isinstance(leaf.value, bool):
            yield Decimal(str(leaf.value)), place.name
        elif leaf.text is not None and not leaf.whole:
            yield from ((number, place.name) for number in leaf.text.amounts)


def _how(wanted: Decimal, functions: Sequence[Derivation], known: Sequence[Number]) -> str | None:
    """The formula that gives `wanted`: one function, or one more number with a share or part."""
    shares: dict[Decimal, str] = {}
    for a, where in known:
        for n in _PARTS if "split" in functions else ():
            formula = f"{a:f} / {n}"
            if _same(a / n, wanted):
                return f"split: {formula} ({where})"
            shares.setdefault((a / n).quantize(_CENT), formula)
        for b, there in known:
            for name, result, formula in _pairs(functions, a, b):
                if _same(result, wanted):
                    return f"{name}: {formula} ({where}, {there})"
                if name == "share":
                    shares.setdefault(result.quantize(_CENT), formula)
    for c, where in known:
        less = shares.get((c - wanted).quantize(_CENT)) if "difference" in functions else None
        more = shares.get((wanted - c).quantize(_CENT)) if "sum" in functions else None
        if less is not None:
            return f"difference: {c:f} ({where}) - {less}"
        if more is not None and c > 0:
            return f"sum: {more} + {c:f} ({where})"
    return None


def _pairs(
    functions: Sequence[Derivation], a: Decimal, b: Decimal
) -> Iterator[tuple[str, Decimal, str]]:
    for name in functions:
        match name:
            case "sum":
                yield name, a + b, f"{a:f} + {b:f}"
            case "difference":
                yield name, a - b, f"{a:f} - {b:f}"
            case "product":
                yield name, a * b, f"{a:f} x {b:f}"
            case "share":
                yield name, a * b / 100, f"{b:f} % of {a:f}"
            case "raised":
                yield name, a + a * b / 100, f"{a:f} + {b:f} %"


def _same(a: Decimal, b: Decimal) -> bool:
    return a == b or a.quantize(_CENT) == b
