"""Which models of a bundle could not be asked from here: a key that is not set, a missing extra."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

from interlock.bundles.model import Bundle
from interlock.bundles.routes import ModelCandidate

MEND = (
    "set it in the environment of the service that asks: the generator, for a classifier the "
    "intent-router; without it the next candidate answers"
)


def out_of_reach(bundle: Bundle) -> list[str]:
    """What is missing for a hosted candidate, once each; keys are named and never shown."""
    candidates = [one for route in bundle.models.values() for one in route.candidates]
    return list(dict.fromkeys(why for one in candidates for why in _missing(one)))


def hosted_models(bundle: Bundle) -> list[str]:
    """The hosted models of a bundle by name, in the order in which they stand."""
    found = (one for route in bundle.models.values() for one in route.candidates)
    return list(dict.fromkeys(f"{one.asked}/{one.model}" for one in found if not one.embedded))


def _missing(candidate: ModelCandidate) -> Iterator[str]:
    if candidate.embedded:
        return
    if find_spec("pydantic_ai") is None:
        yield "interlock[models] is not installed"
    key = candidate.options.get("key_env")
    if key is not None and not os.environ.get(str(key)):
        yield f"{candidate.asked}/{candidate.model}: {key} is not set here"
