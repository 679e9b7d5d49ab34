"""Classification by the bundle's own rules and examples: deterministic, and it can say why.

Rules decide outright. Else the fitted examples say which intent is likeliest, and three things
may each say that it is none: the examples of what is out of scope, too small a similarity to
any example, too small a chance to be right.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from interlock.bundles.classes import Features, RequestClass, RouterRule
from interlock.bundles.model import Bundle
from interlock.bundles.patterns import Pattern, pattern
from interlock.intent_router.classification import Classification
from interlock.intent_router.features import Embed, plain_words
from interlock.intent_router.fitted import FittedExamples, Found
from interlock.intent_router.parts import Clause, clauses_of, openers_of
from interlock.runtime.embedding import load_wordllama
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Turn
from interlock_contracts.routing import Reason

SURE = 0.65
"""A request this near to an intent's examples stands on its own feet, however it opens."""

NOT_KNOWN: Features = MappingProxyType({})

MAX_FOLLOW_UP_WORDS = 6
MAX_REPLY_WORDS = 4
"""Longest short addition ("and to Berlin?"), and longest reply to an assistant's question."""

_ASSENT = re.compile(
    "yes|yeah|yep|yup|ok|okay|sure|please|do|it|that|this|one|go|ahead|right|correct|confirm|"
    "confirmed|exactly|fine|good|great|alright|absolutely|definitely|thanks|thank|you|i|no|nope|"
    "not|don't|proceed|just|so|the|it's|is|for|me|now"
)
_GO = re.compile(r"(?i)\b(?:do (?:it|that|so)|go ahead|proceed)\b")
_ASKED = re.compile(r"(?i)[?？]|\bconfirm\b")
_OPENER = re.compile(
    r"(?i)\s*(?:and|also|what about|how about|or|but|then|to|for|yes|no|ok|okay|sure)\b"
)


class _Rule(NamedTuple):
    """A rule made ready: whom it takes, by which words, to which intent."""

    id: str
    intent: str
    words: Pattern | None
    of: RequestClass | None = None

    def takes(self, text: str, features: Features) -> bool:
        return (self.of is None or self.of.has(features)) and (
            self.words is None or self.words.search(text) is not None
        )


class Classifier:
    """The rules and examples of one bundle, made ready. Holds no state between calls."""

    def __init__(self, bundle: Bundle, embed: Embed | None = None) -> None:
        self._spec = bundle.router
        self._intents = bundle.intents
        ordered = [name for name in bundle.router.rule_order if name in bundle.intents]
        self._before = _ready(bundle.router.before)
        self._rules = self._before + [
            _Rule(rule.id, name, pattern(rule.pattern))
            for name in dict.fromkeys((*ordered, *bundle.intents))
            for rule in bundle.intents[name].rules
        ]
        self._after = _ready(bundle.router.after)
        examples = tuple(
            (name, text) for name, intent in bundle.intents.items() for text in intent.examples
        )
        # A bundle whose intents have rules alone needs no vectors.
        self._fitted = _fitted(examples, self._spec.fallback, embed) if examples else None
        self._openers = openers_of(text for _, text in examples)

    def classify(
        self, text: str, history: Sequence[Turn] = (), features: Features = NOT_KNOWN
    ) -> Classification:
        """Decide about `text`; `history` is what was said before, oldest first.

        `features` are what the request is known by without its text.
        """
        return self.corrected(self.first(text, history, features), text, features)

    def parts(self, text: str, features: Features = NOT_KNOWN) -> tuple[Clause, ...]:
        """The parts of `text` that ask for different things; none where it asks for one.

        A rule of `before` decides about a request as a whole.
        """
        if any(rule.takes(text, features) for rule in self._before):
            return ()
        return clauses_of(
            text,
            lambda part: self.corrected(
                self._by_rule(part, features) or self._by_examples(part), part, features
            ),
            self._intents,
            self._openers,
            self._fitted.usual if self._fitted else 1.0,
        )

    def first(self, text: str, history: Sequence[Turn], features: Features) -> Classification:
        """What is decided without the rules that come after."""
        ruled = self._by_rule(text, features)
        if ruled:
            return ruled
        own = self._by_examples(text)
        if not _may_follow_up(text, own, history):
            return own
        for position in reversed(range(len(history))):
            turn = history[position]
            if turn.role != "user":
                continue
            earlier = self._by_rule(turn.text, features) or self._by_examples(turn.text)
            if _may_follow_up(turn.text, earlier, history[:position]):
                continue
            reason = Reason(kind="rule", reference="follow-up of an earlier turn")
            return replace(earlier, why=(reason, *earlier.why))
        return own

    def _by_rule(self, text: str, features: Features) -> Classification | None:
        """By the first rule that takes it; the others that do are named too."""
        found = [rule for rule in self._rules if rule.takes(text, features)]
        if not found:
            return None
        return Classification(
            found[0].intent, 1.0, 1.0, _matched(found), similarity=1.0, ruled=True
        )

    def corrected(self, found: Classification, text: str, features: Features) -> Classification:
        """By the first rule that takes what was found; how sure that was stays on record."""
        if not self._after:
            return found
        intent = self._intents.get(found.intent)
        known = {
            **features,
            "intents": frozenset((found.intent,)),
            "risks": frozenset((intent.risk.value,) if intent else ()),
            "data_classes": frozenset((intent.data_class,) if intent and intent.data_class else ()),
        }
        rules = [rule for rule in self._after if rule.takes(text, known)]
        if not rules:
            return found
        return replace(found, intent=rules[0].intent, why=_matched(rules) + found.why, failure=None)

    def _by_examples(self, text: str) -> Classification:
        if self._fitted is None:
            reason = Reason(kind="default", reference="the bundle has no examples")
            code = FailureCode.OUT_OF_SCOPE
            return Classification(self._spec.fallback, 0.0, 0.0, (reason,), code)
        found = self._fitted.find(text)
        nearest = tuple(
            Reason(
                kind="example",
                reference=f"{near.intent}: {near.text}",
                score=round(near.similarity, 4),
            )
            for near in found.nearest
        )
        against = self._against(found)
        nearest += tuple(
            Reason(kind="feature", reference=word, score=spoke) for word, spoke in found.words
        )
        sure = Classification(
            found.intent, found.confidence, found.margin, nearest, similarity=found.similarity
        )
        if against is None:
            return sure
        failure, why = against
        return replace(sure, intent=self._spec.fallback, why=(why, *nearest), failure=failure)

    def _against(self, found: Found) -> tuple[FailureCode, Reason] | None:
        """Why the likeliest intent is not taken, if it is not."""
        spec, code = self._spec, FailureCode.OUT_OF_SCOPE
        if found.outside or found.intent == spec.fallback:
            return code, Reason(kind="threshold", reference="nearer to what is out of scope")
        if found.similarity < spec.threshold:
            return code, Reason(kind="threshold", reference="threshold", score=spec.threshold)
        if found.confidence < spec.confidence:
            return code, Reason(kind="threshold", reference="confidence", score=spec.confidence)
        if found.margin < spec.margin:
            reason = Reason(kind="threshold", reference="margin", score=spec.margin)
            return FailureCode.INTENT_AMBIGUOUS, reason
        return None


def _ready(rules: Sequence[RouterRule]) -> list[_Rule]:
    return [
        _Rule(one.id, one.intent, pattern(one.pattern) if one.pattern else None, one)
        for one in rules
    ]


def _matched(rules: Sequence[_Rule]) -> tuple[Reason, ...]:
    """The rule that decided, with a score, and those that matched too, without one."""
    return tuple(
        Reason(kind="rule", reference=rule.id, score=None if place else 1.0)
        for place, rule in enumerate(rules)
    )


@lru_cache(maxsize=8)
def _fitted(
    examples: tuple[tuple[str, str], ...], outside: str, embed: Embed | None
) -> FittedExamples:
    """Fitting takes seconds; bundles that differ in anything else share what was fitted."""
    return FittedExamples(examples, outside, embed or load_wordllama().embed)


def _may_follow_up(text: str, own: Classification, history: Sequence[Turn]) -> bool:
    """Whether `text` says too little by itself: an assent, an id, a short addition or reply.

    A short text that is merely off topic is none of these: it must not inherit the intent,
    and with it the tools, of what was said before.
    """
    if own.failure is None and own.similarity >= SURE:
        return False
    said = plain_words(text)
    said_last = history[-1] if history else None
    asked = said_last is None or said_last.role == "user" or bool(_ASKED.search(said_last.text))
    if all(_ASSENT.fullmatch(word) for word in said):
        # After "Done." a "great, thanks" must not ask for the same thing a second time.
        return asked or not said or bool(_GO.search(text))
    if _OPENER.match(text):
        return len(said) <= MAX_FOLLOW_UP_WORDS
    replies = said_last is not None and said_last.role == "assistant" and asked
    return replies and own.failure is not None and len(said) <= MAX_REPLY_WORDS
