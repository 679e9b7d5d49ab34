"""A bundle as data. Its digest is pinned on every event; code never travels in it."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from interlock.bundles.classes import Override, RouterRule
from interlock.bundles.classifier import ModelClassifier
from interlock.bundles.knowledge import KnowledgeSource, RetrievalSpec
from interlock.bundles.privacy import PrivacySpec
from interlock.bundles.routes import AccountLimits, ModelRoute, Price
from interlock_contracts.base import (
    CleanText,
    Digest,
    JsonObject,
    Model,
    Name,
    Token,
    is_empty,
    is_none,
)
from interlock_contracts.canonical import digest
from interlock_contracts.routing import Budget, Risk, Route
from interlock_contracts.tools import ToolSpec


class IntentRule(Model):
    """A regular expression (Python `re`, case ignored) that decides the intent outright."""

    id: Token
    pattern: CleanText


class Intent(Model):
    """One class of requests and the way it goes.

    `roles` are those who may have it (none named: everybody). An intent with a `refusal` ends
    at the router with that text. `review_class` names who decides about its risky actions.
    `plans` are tools that are planned with and explained, and never run. A `data_class` keeps its
    requests from models that may not have data of that class.
    `retrieval` is what its searches do otherwise than the bundle's: fields of `RetrievalSpec`.
    """

    risk: Risk = Risk.LOW
    description: CleanText = ""
    examples: tuple[CleanText, ...] = ()
    rules: tuple[IntentRule, ...] = ()
    roles: tuple[Token, ...] = ()
    sources: tuple[Token, ...] = ()
    tools: tuple[Token, ...] = ()
    plans: tuple[Token, ...] = Field(default=(), exclude_if=is_empty)
    data_class: Token | None = Field(default=None, exclude_if=is_none)
    output: Token = "default"
    model: Token = "default"
    review_class: Token = "general"
    refusal: CleanText | None = None
    retrieval: dict[Token, Any] = Field(default={}, exclude_if=is_empty)


class RouterSpec(Model):
    """When the router is sure enough; what it is not sure of goes the way of `fallback`.

    A request is out of scope when its similarity to the nearest examples is below `threshold`,
    or the calibrated chance that its intent is right below `confidence` (zero: not asked for),
    or when the examples of `fallback` fit it better than those of any other intent.

    Rules of `before` decide before all else, those of `after` change what was decided; of each the
    first that matches counts. `rule_order` are intents whose own rules come first, in this order
    (`bundle build` writes down the order of the file); the others follow by name.

    `several` is what becomes of a request that asks for several things: `split` deals with all of
    them at once, `review` does too and lets a person see every action, `refuse` asks for one at a
    time. Without it a request has one intent. About what has no parts a `classifier` may be asked.
    """

    threshold: float = Field(default=0.35, ge=0, le=1)
    confidence: float = Field(default=0.0, ge=0, le=1)
    margin: float = Field(default=0.0, ge=0, le=1)
    fallback: Token = "out_of_scope"
    before: tuple[RouterRule, ...] = Field(default=(), exclude_if=is_empty)
    after: tuple[RouterRule, ...] = Field(default=(), exclude_if=is_empty)
    rule_order: tuple[Token, ...] = Field(default=(), exclude_if=is_empty)
    several: Literal["split", "review", "refuse"] | None = Field(default=None, exclude_if=is_none)
    classifier: ModelClassifier | None = Field(default=None, exclude_if=is_none)


class OutputContract(Model):
    """What an answer must look like.

    `json_schema` (Draft 2020-12) is what the structured answer, `data`, must fit; without one there
    may be none. `sections` are headings or labels (`## Steps`, `**Steps**`, `Steps: …`), each at
    the start of a line with something below it, in this order. `language` (ISO 639-1) is what
    every text of some length must be in. `citations`: every statement cited, at least one
    (`some`), or `none` needed. `forbidden` are regular expressions that must not occur.
    `min_support` is how likely every sentence must be supported by what the answer cites
    (`checks/grounding.py`); None asks for nothing.
    `values`: numbers, dates, amounts and identifiers of every sentence must stand in something the
    model was given (`given`), and those of a sentence that cites in what it cites, or in what was
    asked (`cited`); None asks for nothing.
    `fallback` is what happens when repairs run out; with `review` somebody of `review_class`
    (without one the intent's) may let the answer out all the same.
    """

    citations: Literal["every", "some", "none"] = "every"
    max_chars: int = Field(default=4_000, gt=0)
    json_schema: JsonObject | None = Field(default=None, exclude_if=is_none)
    sections: tuple[CleanText, ...] = Field(default=(), exclude_if=is_empty)
    language: Token | None = Field(default=None, exclude_if=is_none)
    forbidden: tuple[CleanText, ...] = ()
    min_support: float | None = Field(default=None, ge=0, le=1, exclude_if=is_none)
    values: Literal["given", "cited"] | None = Field(default=None, exclude_if=is_none)
    fallback: Literal["refuse", "extractive", "review"] = "refuse"
    review_class: Token | None = Field(default=None, exclude_if=is_none)


class Limits(Model):
    """Bounds that hold for every request of the feature. Times in seconds."""

    budget: Budget = Budget()
    approval_ttl_s: int = Field(default=86_400, gt=0)
    grant_ttl_s: int = Field(default=300, gt=0)


class EvalGate(Model):
    """An evaluation that must have passed before the bundle is activated.

    `gold` is the digest of the gold set's bytes. In `bundle.yaml` the file is named
    (`gold: gold.jsonl`), and `bundle build` puts the digest there.
    """

    name: CleanText
    gold: Digest
    pass_rate: float = Field(default=1.0, ge=0, le=1)


class Gates(Model):
    """What must be on record before the bundle is activated."""

    evals: tuple[EvalGate, ...] = ()


def _is_open(gates: Gates) -> bool:
    return not gates.evals


class Bundle(Model):
    """Everything that must stay true when the model is swapped."""

    format: Literal[1] = 1
    name: Token
    version: CleanText
    intents: dict[Token, Intent] = {}
    router: RouterSpec = RouterSpec()
    overrides: tuple[Override, ...] = Field(default=(), exclude_if=is_empty)
    groups: dict[Token, tuple[Name, ...]] = Field(default={}, exclude_if=is_empty)
    """Users by name: what classes of requests are keyed on, and who reviews."""
    reviewers: dict[Token, tuple[Token, ...]] = Field(default={}, exclude_if=is_empty)
    """By review class the groups that may decide; of a class that is not here any reviewer may."""
    sources: dict[Token, KnowledgeSource] = {}
    retrieval: RetrievalSpec = RetrievalSpec()
    tools: dict[Token, ToolSpec] = {}
    outputs: dict[Token, OutputContract] = {"default": OutputContract()}
    policies: dict[CleanText, CleanText] = {}
    models: dict[Token, ModelRoute] = {}
    prices: dict[CleanText, Price] = Field(default={}, exclude_if=is_empty)
    """By `provider/model`."""
    accounts: dict[Token, AccountLimits] = Field(default={}, exclude_if=is_empty)
    residency: dict[Token, tuple[Token, ...]] = Field(default={}, exclude_if=is_empty)
    """The regions a tenant's data may go to; without an entry they may go anywhere."""
    prompts: dict[Token, CleanText] = {}
    replies: dict[Token, CleanText] = {}
    limits: Limits = Limits()
    privacy: PrivacySpec | None = Field(default=None, exclude_if=is_none)
    gates: Gates = Field(default=Gates(), exclude_if=_is_open)

    def retrieval_of(self, intent: str) -> RetrievalSpec:
        """How searches for this intent go; `ValidationError` where its own words do not fit."""
        own = self.intents[intent].retrieval if intent in self.intents else {}
        return RetrievalSpec(**{**self.retrieval.model_dump(), **own}) if own else self.retrieval

    def output_of(self, route: Route) -> OutputContract | None:
        """The contract an answer has to keep; of a request with parts the strictest of theirs.

        None where the bundle lacks one, or where no answer could keep all of them.
        """
        names = [one.output for one in route.parts] or [route.output]
        contracts = [self.outputs.get(name) for name in dict.fromkeys(names)]
        known = [one for one in contracts if one is not None]
        if len(known) < len(contracts):
            return None
        return known[0] if len(known) == 1 else _strictest(known)

    def reviewers_of(self, review_class: str) -> frozenset[str] | None:
        """The users who may decide about a review class; None for any reviewer of the tenant."""
        groups = self.reviewers.get(review_class)
        if groups is None:
            return None
        return frozenset(user for group in groups for user in self.groups.get(group, ()))

    @cached_property
    def digest(self) -> str:
        """The identity of the bundle: `sha256:` over its canonical JSON."""
        return digest(self)


_CITATIONS = ("none", "some", "every")
_VALUES = (None, "given", "cited")


def _strictest(contracts: Sequence[OutputContract]) -> OutputContract | None:
    """What keeps all of them; data of one shape, and two languages, cannot be shared."""
    languages = {one.language for one in contracts if one.language is not None}
    if len(languages) > 1 or any(one.json_schema is not None for one in contracts):
        return None
    supports = [one.min_support for one in contracts if one.min_support is not None]
    fallbacks = {one.fallback for one in contracts}
    reviewers = {one.review_class for one in contracts if one.fallback == "review"}
    # Two classes of reviewers at once: nobody may decide.
    refuse = "refuse" in fallbacks or len(reviewers) > 1
    review = not refuse and "review" in fallbacks
    return OutputContract(
        citations=max((one.citations for one in contracts), key=_CITATIONS.index),
        max_chars=min(one.max_chars for one in contracts),
        sections=tuple(dict.fromkeys(s for one in contracts for s in one.sections)),
        language=next(iter(languages), None),
        forbidden=tuple(dict.fromkeys(p for one in contracts for p in one.forbidden)),
        min_support=max(supports, default=None),
        values=max((one.values for one in contracts), key=_VALUES.index),
        fallback="refuse" if refuse else "review" if review else "extractive",
        review_class=next(iter(reviewers)) if review else None,
    )


NO_BUNDLE = Bundle(name="none", version="0")
"""What a stage that needs no bundle (a tool executor) is given."""

PreparedT = TypeVar("PreparedT")


class Prepared(Generic[PreparedT]):
    """Something costly made of a bundle (a classifier, parsed policies), kept by digest.

    The `keep` that were used last are kept: a bundle that is rolled back to is still warm.
    """

    def __init__(self, build: Callable[[Bundle], PreparedT], keep: int = 8) -> None:
        self._build = build
        self._keep = keep
        self._made: OrderedDict[str, PreparedT] = OrderedDict()

    def __call__(self, bundle: Bundle) -> PreparedT:
        """The prepared thing for this bundle, made on first use."""
        made = self._made.get(bundle.digest)
        if made is None:
            made = self._made[bundle.digest] = self._build(bundle)
            if len(self._made) > self._keep:
                self._made.popitem(last=False)
        elif len(self._made) > 1:
            self._made.move_to_end(bundle.digest)
        return made
