"""Cross-checks of rules, overrides and reviewers: what a bundle's schema cannot say."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches

from interlock.bundles.classes import KNOWN_LATER, Override, RequestClass, RouterRule
from interlock.bundles.classifier import ModelClassifier
from interlock.bundles.model import Bundle
from interlock.bundles.patterns import Pattern
from interlock.bundles.source import Location, Source
from interlock_contracts.signals import SIGNAL_KINDS


def check_routing(bundle: Bundle, source: Source) -> Iterator[str]:
    """Every problem of the router's rules and classifier, of overrides and reviewers."""
    seen: dict[str, Location] = {}
    for part in ("before", "after"):
        for index, rule in enumerate(getattr(bundle.router, part)):
            at: Location = ("router", part, index)
            yield from _own_id(rule.id, seen, source, at)
            yield from _rule(rule, part, bundle, source, at)
    for index, name in enumerate(bundle.router.rule_order):
        if name not in bundle.intents:
            message = unknown("intent", name, bundle.intents)
            yield source.problem(("router", "rule_order", index), message)
    if bundle.router.classifier is not None:
        yield from _classifier(bundle.router.classifier, bundle, source)
    seen = {}
    for index, override in enumerate(bundle.overrides):
        at = ("overrides", index)
        yield from _own_id(override.id, seen, source, at)
        yield from _override(override, bundle, source, at)
    for review_class, groups in bundle.reviewers.items():
        yield from _reviewers(review_class, groups, bundle, source)


def unknown(kind: str, name: str, known: Collection[str]) -> str:
    """That there is no such thing, and which there are."""
    near = get_close_matches(name, known, n=1)
    if near:
        return f"there is no {kind} {name!r}; did you mean {near[0]!r}?"
    have = ", ".join(sorted(known)) or "none"
    return f"there is no {kind} {name!r}; the bundle has: {have}"


def _own_id(name: str, seen: dict[str, Location], source: Source, at: Location) -> Iterator[str]:
    if name in seen:
        yield source.problem((*at, "id"), f"{name!r} is taken by another one; events name it")
    seen.setdefault(name, at)


def _rule(
    rule: RouterRule, part: str, bundle: Bundle, source: Source, at: Location
) -> Iterator[str]:
    if rule.intent not in bundle.intents:
        yield source.problem((*at, "intent"), unknown("intent", rule.intent, bundle.intents))
    if rule.pattern is not None:
        try:
            Pattern(rule.pattern)
        except ValueError as error:
            yield source.problem((*at, "pattern"), str(error))
    elif not rule.named:
        yield source.problem(at, "it takes every request; name a pattern or a class of requests")
    if part == "before":
        for field in KNOWN_LATER:
            if field in rule.named:
                message = "not known before there is an intent; put the rule under after"
                yield source.problem((*at, field), message)
    yield from _class(rule, bundle, source, at)


def _classifier(spec: ModelClassifier, bundle: Bundle, source: Source) -> Iterator[str]:
    at: Location = ("router", "classifier")
    for field, names in (("intents", spec.intents), ("upwards", spec.upwards)):
        for index, name in enumerate(names):
            if name not in bundle.intents:
                message = unknown("intent", name, bundle.intents)
                yield source.problem((*at, field, index), message)
    for index, name in enumerate(spec.upwards):
        if spec.intents and name not in spec.intents:
            message = f"{name!r} is none of the intents it may choose"
            yield source.problem((*at, "upwards", index), message)
    route = bundle.models.get(spec.model)
    if route is None:
        message = unknown("model route", spec.model, bundle.models)
        yield source.problem((*at, "model"), message)
        return
    for index, one in enumerate(route.candidates):
        if one.asked == "extractive":
            message = "extractive answers from sources; it chooses no intent"
            yield source.problem(("models", spec.model, "candidates", index), message)
    classes = {one.data_class for one in bundle.intents.values()} - {None}
    if not any(
        (not one.tasks or "classify" in one.tasks)
        and (one.embedded or classes <= set(one.data_classes))
        for one in route.candidates
    ):
        message = (
            "no candidate of this route may ever be asked: it has to be for the task classify, and "
            "to be allowed data of every class that an intent has"
        )
        yield source.problem((*at, "model"), message)


def _override(override: Override, bundle: Bundle, source: Source, at: Location) -> Iterator[str]:
    if not override.named:
        yield source.problem(at, "it takes every request; name a class of requests")
    if override.review_class is not None and override.effect != "review":
        yield source.problem((*at, "review_class"), f"a {override.effect} has no review class")
    if override.answers and override.effect != "review":
        yield source.problem(
            (*at, "answers"), f"a {override.effect} is about actions; take `review`"
        )
    if override.reply is not None and override.effect != "block":
        yield source.problem((*at, "reply"), "only a block has a reply")
    yield from _class(override, bundle, source, at)


def _reviewers(
    review_class: str, groups: Sequence[str], bundle: Bundle, source: Source
) -> Iterator[str]:
    at: Location = ("reviewers", review_class)
    for index, name in enumerate(groups):
        if name not in bundle.groups:
            yield source.problem((*at, index), unknown("group", name, bundle.groups))
    if not bundle.reviewers_of(review_class):
        yield source.problem(at, f"nobody may decide about {review_class}: name a group of users")


def _class(one: RequestClass, bundle: Bundle, source: Source, at: Location) -> Iterator[str]:
    for index, name in enumerate(one.intents):
        if name not in bundle.intents:
            message = unknown("intent", name, bundle.intents)
            yield source.problem((*at, "intents", index), message)
    for index, name in enumerate(one.groups):
        if name not in bundle.groups:
            yield source.problem((*at, "groups", index), unknown("group", name, bundle.groups))
    for index, name in enumerate(one.signals):
        if name not in SIGNAL_KINDS:
            message = unknown("kind of signal", name, SIGNAL_KINDS)
            yield source.problem((*at, "signals", index), message)
    spec = bundle.privacy
    looked_for = {*spec.kinds, *(own.kind for own in spec.recognisers)} if spec else set()
    for index, name in enumerate(one.personal):
        if name not in looked_for:
            message = f"personal data of kind {name!r} is not looked for; see privacy"
            yield source.problem((*at, "personal", index), message)
