"""What is allowed in a bundle, and probably not meant: warnings, each with its place.

They are about what the gate would let through, or would never come to. Whatever is certainly
wrong is a problem instead, and no bundle is built (`checks.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from interlock.bundles.model import Bundle
from interlock.bundles.open_arguments import changing, open_amounts, open_texts
from interlock.bundles.policies import Policy, read_policies
from interlock.bundles.reach import Way, admitted_roles
from interlock.bundles.source import Source

Code = Literal[
    "unconstrained_tool",
    "unconstrained_argument",
    "unbounded_amount",
    "never_permitted",
    "unreachable_tool",
    "unreachable_policy",
    "unreachable_intent",
    "unused_part",
    "review_class",
]


@dataclass(frozen=True, slots=True)
class Advice:
    """One warning: its code, where (`file:line` as far as known), and what to do about it."""

    code: Code
    place: str
    message: str


def advise(bundle: Bundle, source: Source, ways: Sequence[Way]) -> list[Advice]:
    """Every warning about a bundle that compiles; `ways` are `reach.ways` of it."""
    policies, _ = read_policies(bundle)
    return [
        *_unconstrained(bundle, ways),
        *(Advice("unconstrained_argument", *one) for one in open_texts(bundle, policies, ways)),
        *(Advice("unbounded_amount", *one) for one in open_amounts(bundle, ways)),
        *_never_permitted(bundle, source, ways),
        *_out_of_reach(bundle, source),
        *_dead_policies(policies, ways),
        *_unused(bundle, source),
        *_misspelt(bundle, source, policies),
        *_alone(bundle, policies),
        *_clashing(ways),
    ]


def _unconstrained(bundle: Bundle, ways: Sequence[Way]) -> Iterator[Advice]:
    """Writes that a policy lets through whole, with no other policy that could object."""
    for name, tool in changing(bundle, ways).items():
        through = {
            one.policy.place: one.policy
            for way in ways
            if way.action == name and not way.forbids
            for one in way.permits
            if not one.on and not one.policy.obligations and not one.policy.parsed["conditions"]
        }
        for place, policy in through.items():
            yield Advice(
                "unconstrained_tool",
                place,
                f"{policy.id} lets every call of {name} ({tool.effect}) through; "
                "add a condition, an @obligation, or a forbid",
            )


def _never_permitted(bundle: Bundle, source: Source, ways: Sequence[Way]) -> Iterator[Advice]:
    """What an intent offers and no policy permits to anybody."""
    open_ = {(way.intent, way.action) for way in ways if way.outcomes}
    for intent, action in dict.fromkeys((way.intent, way.action) for way in ways):
        if (intent, action) in open_:
            continue
        what = "the source" if action not in bundle.tools else "the tool"
        place = source.place(("intents", intent))
        message = f"no policy ever permits {what} {action} here; write one, or take it out"
        yield Advice("never_permitted", place, f"intents.{intent}: {message}")


def _out_of_reach(bundle: Bundle, source: Source) -> Iterator[Advice]:
    """Intents without examples, and tools that nobody's request comes to."""
    used: set[str] = set()
    for name, intent in bundle.intents.items():
        place = source.place(("intents", name))
        if not intent.examples and name != bundle.router.fallback:
            message = "has no examples: only what its rules match comes to it"
            yield Advice("unreachable_intent", place, f"intents.{name}: {message}")
        if intent.refusal is not None:
            continue
        used |= {*intent.tools, *intent.plans}
        for tool in intent.tools:
            if admitted_roles(intent.roles, bundle.tools[tool].roles) == set():
                message = f"no role may have both this intent and the tool {tool}"
                yield Advice("unreachable_tool", place, f"intents.{name}: {message}")
    used |= {fact.tool for name in used for fact in bundle.tools[name].facts}
    used |= {rule.tool for name in used for rule in bundle.tools[name].after}
    for name in bundle.tools:
        if name not in used:
            message = f"{name} is a tool of no intent, and no fact of one; nothing ever calls it"
            yield Advice("unreachable_tool", "tools.py", message)


def _dead_policies(policies: Sequence[Policy], ways: Sequence[Way]) -> Iterator[Advice]:
    """Policies that hold for no way through the gate, whatever is called."""
    alive = {one.policy.id for way in ways for one in (*way.permits, *way.forbids)}
    reached = {way.action for way in ways}
    for policy in policies:
        if policy.id in alive:
            continue
        named = _actions_of(policy)
        if named and not named & reached:
            why = f"{', '.join(sorted(named))}: no intent comes to it"
        else:
            why = "its conditions fit no intent and no role that could come to it"
        yield Advice("unreachable_policy", policy.place, f"{policy.id} never decides; {why}")


def _actions_of(policy: Policy) -> set[str]:
    """The actions a policy names in its head; none named: all."""
    head = policy.parsed["action"]
    return {one["id"] for one in (head.get("entities") or [head.get("entity")]) if one}


def _unused(bundle: Bundle, source: Source) -> Iterator[Advice]:
    """Named parts that no intent leads to."""
    asked = [intent for intent in bundle.intents.values() if intent.refusal is None]
    routes = {intent.model for intent in asked}
    if bundle.router.classifier is not None:
        routes.add(bundle.router.classifier.model)
    prompts = {bundle.models[name].prompt for name in routes if name in bundle.models}
    outputs = {intent.output for intent in asked} | {"default"}
    read = {name for intent in asked for name in intent.sources}
    for part, called, used in (
        ("models", "model route", routes),
        ("outputs", "output contract", outputs),
        ("sources", "source", read),
        ("prompts", "prompt", prompts),
    ):
        for name in getattr(bundle, part):
            if name not in used:
                place = f"prompts/{name}.jinja" if part == "prompts" else source.place((part, name))
                yield Advice("unused_part", place, f"{called} {name!r} is used by nothing")


def _misspelt(bundle: Bundle, source: Source, policies: Sequence[Policy]) -> Iterator[Advice]:
    """Review classes that look like one of an intent's and are not; reviewers of none."""
    declared = {intent.review_class for intent in bundle.intents.values()}
    named = [(one.place, one.id, name) for one in policies for name in _classes(one)]
    for output, contract in bundle.outputs.items():
        place = source.place(("outputs", output, "review_class"))
        named.append((place, f"outputs.{output}", contract.review_class or ""))
    for index, override in enumerate(bundle.overrides):
        place = source.place(("overrides", index, "review_class"))
        named.append((place, override.id, override.review_class or ""))
    for place, who, name in named:
        near = [] if name in declared else get_close_matches(name, declared, n=1, cutoff=0.8)
        if near:
            message = f"{who} asks the class {name!r}, no intent's; is {near[0]!r} meant?"
            yield Advice("review_class", place, message)
    asked = declared | {name for _, _, name in named}
    for name in bundle.reviewers:
        if name not in asked:
            place = source.place(("reviewers", name))
            yield Advice("review_class", place, f"nothing asks the class {name!r}")


def _alone(bundle: Bundle, policies: Sequence[Policy]) -> Iterator[Advice]:
    """Policies that want two people of a class in which there is one."""
    classes = {intent.review_class for intent in bundle.intents.values()}
    only = classes if len(classes) == 1 else set()
    for policy in policies:
        for name in (_classes(policy) or only) if "two_person" in policy.obligations else ():
            reviewers = bundle.reviewers_of(name)
            if reviewers is not None and len(reviewers) < 2:
                message = f"{policy.id} wants two people, and one alone may decide about {name!r}"
                yield Advice("review_class", policy.place, message)


def _clashing(ways: Sequence[Way]) -> Iterator[Advice]:
    """Calls that would need two review classes at once."""
    clashes: dict[str, Advice] = {}
    for way in ways:
        always = [one.policy for one in way.permits if not one.on and _classes(one.policy)]
        for first in always[:1]:
            for other in always[1:]:
                if _classes(other) != _classes(first):
                    message = (
                        f"{other.id} and {first.id} ({first.place}) both hold for {way.action} "
                        "and ask two review classes: nobody may decide, every call is refused"
                    )
                    clashes.setdefault(message, Advice("review_class", other.place, message))
    yield from clashes.values()


def _classes(policy: Policy) -> set[str]:
    duties = (duty.partition(":") for duty in policy.obligations)
    return {name for kind, _, name in duties if kind == "review"}
