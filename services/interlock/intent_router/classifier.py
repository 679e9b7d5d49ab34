"""Classification by the bundle's own examples: deterministic, and it can say why.

A request's score for an intent is the weighted mean of its similarity to the intent's nearest
examples. One similarity is the cosine of two averaged word vectors (what it means) blended
with the cosine of two n-gram vectors (how it is put): averaged vectors alone put almost
anything near to something, n-grams alone miss every paraphrase.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from interlock.bundles.model import Bundle
from interlock.intent_router.ngrams import NgramIndex, Scores, words
from interlock.runtime.embedding import Vectors, load_wordllama
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Turn
from interlock_contracts.routing import Reason

Embed = Callable[[Sequence[str]], Vectors]

DENSE_WEIGHT = 0.6
NEAREST_WEIGHTS = np.array([0.6, 0.25, 0.15], dtype=np.float32)
"""Weights of the nearest, second and third nearest example of an intent."""

SURE = 0.65
"""A request that scores this high stands on its own feet, however it opens."""

MAX_FOLLOW_UP_WORDS = 6
MAX_REPLY_WORDS = 4
"""Longest short addition ("and to Berlin?"), and longest reply to an assistant's question."""

# Order ids, amounts, dates, mail addresses and links say nothing about the intent. Looked for
# word by word, so that no text takes more than linear time.
_BREAK = re.compile(r'[\s,;()!?"]+')
_IDENTIFIER = re.compile(r"[@\d]|://")
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


def plain_words(text: str) -> list[str]:
    """The words of `text`, without order ids, amounts, numbers, mail addresses and links."""
    return words(" ".join(w for w in _BREAK.split(text) if not _IDENTIFIER.search(w)))


@dataclass(frozen=True, slots=True)
class Classification:
    """The intent, how sure that is (both in 0..1), and why.

    `failure` is set when no intent was clear enough and `intent` is the bundle's fallback.
    """

    intent: str
    confidence: float
    margin: float
    why: tuple[Reason, ...]
    failure: FailureCode | None = None


class Classifier:
    """The rules and examples of one bundle, made ready. Holds no state between calls."""

    def __init__(self, bundle: Bundle, embed: Embed | None = None) -> None:
        self._spec = bundle.router
        self._rules = [
            (name, rule.id, re.compile(rule.pattern, re.IGNORECASE))
            for name, intent in bundle.intents.items()
            for rule in intent.rules
        ]
        self._examples = [
            (name, text) for name, intent in bundle.intents.items() for text in intent.examples
        ]
        self._rows = [
            (name, np.array([i for i, (owner, _) in enumerate(self._examples) if owner == name]))
            for name, intent in bundle.intents.items()
            if intent.examples
        ]
        # A bundle whose intents have rules alone needs no vectors.
        self._embed = embed or (load_wordllama().embed if self._examples else None)
        stripped = [" ".join(plain_words(text)) for _, text in self._examples]
        self._ngrams = NgramIndex(stripped)
        self._vectors = self._embed(stripped) if self._embed and stripped else None

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
            )
        return own

    def _by_rule(self, text: str) -> Classification | None:
        for intent, rule, pattern in self._rules:
            if pattern.search(text):
                reason = Reason(kind="rule", reference=rule, score=1.0)
                return Classification(intent, 1.0, 1.0, (reason,))
        return None

    def _by_examples(self, text: str) -> Classification:
        similarities = self._similarities(" ".join(plain_words(text)))
        scored = sorted(
            ((_nearest(similarities[rows]), name) for name, rows in self._rows),
            key=lambda pair: (-pair[0], pair[1]),
        )
        if not scored:
            reason = Reason(kind="default", reference="the bundle has no examples")
            return self._fallback(0.0, 0.0, FailureCode.OUT_OF_SCOPE, (reason,))
        best, intent = scored[0]
        margin = round(best - (scored[1][0] if len(scored) > 1 else 0.0), 6)
        why = self._nearest_examples(similarities, {name for _, name in scored[:2]})
        if best < self._spec.threshold:
            return self._fallback(best, margin, FailureCode.OUT_OF_SCOPE, why)
        if margin < self._spec.margin:
            return self._fallback(best, margin, FailureCode.INTENT_AMBIGUOUS, why)
        return Classification(intent, best, margin, why)

    def _fallback(
        self, score: float, margin: float, code: FailureCode, why: tuple[Reason, ...]
    ) -> Classification:
        if code is FailureCode.INTENT_AMBIGUOUS:
            reason = Reason(kind="threshold", reference="margin", score=self._spec.margin)
        else:
            reason = Reason(kind="threshold", reference="threshold", score=self._spec.threshold)
        return Classification(self._spec.fallback, score, margin, (reason, *why), code)

    def _similarities(self, text: str) -> Scores:
        sparse = self._ngrams.similarities(text)
        if self._vectors is None or self._embed is None:
            return sparse
        dense = np.clip(self._vectors @ self._embed([text])[0], 0.0, 1.0)
        blended: Scores = (DENSE_WEIGHT * dense + (1 - DENSE_WEIGHT) * sparse).astype(np.float32)
        return blended

    def _nearest_examples(self, similarities: Scores, intents: set[str]) -> tuple[Reason, ...]:
        """The three examples of the two best intents that the request is nearest to."""
        rows = [i for i, (name, _) in enumerate(self._examples) if name in intents]
        rows.sort(key=lambda row: (-float(similarities[row]), row))
        return tuple(
            Reason(
                kind="example",
                reference=f"{self._examples[row][0]}: {self._examples[row][1]}",
                score=round(float(similarities[row]), 4),
            )
            for row in rows[:3]
        )


def _nearest(similarities: Scores) -> float:
    """The score of one intent, in 0..1, from the similarities to its examples."""
    top = -np.sort(-similarities)[: len(NEAREST_WEIGHTS)]
    weights = NEAREST_WEIGHTS[: len(top)]
    return round(min(1.0, max(0.0, float(top @ weights / weights.sum()))), 6)


def _may_follow_up(text: str, own: Classification, history: Sequence[Turn]) -> bool:
    """Whether `text` says too little by itself: an assent, an id, a short addition or reply.

    A short text that is merely off topic is none of these: it must not inherit the intent,
    and with it the tools, of what was said before.
    """
    if own.failure is None and own.confidence >= SURE:
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
