"""Classification by the bundle's own rules and examples: deterministic, and it can say why.

Rules decide outright. Else the fitted examples say which intent is likeliest, and three things
may each say that it is none: the examples of what is out of scope, too small a similarity to
any example, too small a chance to be right.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from interlock.bundles.model import Bundle
from interlock.bundles.patterns import pattern
from interlock.intent_router.features import Embed, plain_words
from interlock.intent_router.fitted import FittedExamples, Found
from interlock.runtime.embedding import load_wordllama
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Turn
from interlock_contracts.routing import Reason

SURE = 0.65
"""A request this near to an intent's examples stands on its own feet, however it opens."""

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


@dataclass(frozen=True, slots=True)
class Classification:
    """The intent, how sure that is, and why.

    `confidence`, `margin` and `similarity` are in 0..1, as in `Found`. `failure` is set when no
    intent was clear enough and `intent` is the bundle's fallback.
    """

    intent: str
    confidence: float
    margin: float
    why: tuple[Reason, ...]
    failure: FailureCode | None = None
    similarity: float = 0.0


class Classifier:
    """The rules and examples of one bundle, made ready. Holds no state between calls."""

    def __init__(self, bundle: Bundle, embed: Embed | None = None) -> None:
        self._spec = bundle.router
        self._rules = [
            (name, rule.id, pattern(rule.pattern))
            for name, intent in bundle.intents.items()
            for rule in intent.rules
        ]
        examples = tuple(
            (name, text) for name, intent in bundle.intents.items() for text in intent.examples
        )
        # A bundle whose intents have rules alone needs no vectors.
        self._fitted = _fitted(examples, self._spec.fallback, embed) if examples else None

    def classify(self, text: str, history: Sequence[Turn] = ()) -> Classification:
        """Decide about `text`; `history` is what was said before, oldest first."""
        ruled = self._by_rule(text)
        if ruled:
            return ruled
        own = self._by_examples(text)
        if not _may_follow_up(text, own, history):
            return own
        for position in reversed(range(len(history))):
            turn = history[position]
            if turn.role != "user":
                continue
            earlier = self._by_rule(turn.text) or self._by_examples(turn.text)
            if _may_follow_up(turn.text, earlier, history[:position]):
                continue
            reason = Reason(kind="rule", reference="follow-up of an earlier turn")
            return Classification(
                earlier.intent,
                earlier.confidence,
                earlier.margin,
                (reason, *earlier.why),
                earlier.failure,
                earlier.similarity,
            )
        return own

    def _by_rule(self, text: str) -> Classification | None:
        for intent, rule, words in self._rules:
            if words.search(text):
                reason = Reason(kind="rule", reference=rule, score=1.0)
                return Classification(intent, 1.0, 1.0, (reason,), similarity=1.0)
        return None

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
