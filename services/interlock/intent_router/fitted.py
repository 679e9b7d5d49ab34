"""The examples of one bundle, fitted: what a text's intent is, how sure that is, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]  # scipy ships no types

from interlock.intent_router.features import Embed, Features, Floats, Row
from interlock.intent_router.fitting import Examples, Weights, evidence, fit_and_calibrate

DENSE_SHARE = 0.6
"""Share of what a text means in its similarity to an example; the rest is how it is put."""

NEAREST_WEIGHTS = np.array([0.6, 0.25, 0.15], dtype=np.float32)
"""Weights of the nearest, second and third nearest example of an intent."""


MOST_WORDS = 3
"""Words that are told of a decision."""


@dataclass(frozen=True, slots=True)
class Near:
    """An example and its similarity to the request, in 0..1."""

    intent: str
    text: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Found:
    """The likeliest intent of a text.

    `confidence` is the calibrated chance that it is right, `margin` how much of that the second
    best intent leaves, `similarity` how near its nearest examples are; all in 0..1. `outside`
    says that the examples of what is out of scope are likelier than those of any intent. `words`
    (and pairs of words) are those that spoke most for it against the second best, with how much.
    """

    intent: str
    confidence: float
    margin: float
    similarity: float
    outside: bool
    nearest: tuple[Near, ...]
    words: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class _Own:
    """The examples of one intent, to measure similarity."""

    texts: tuple[str, ...]
    sparse: sparse.csr_matrix
    dense: Floats


class FittedExamples:
    """Fitted once for a bundle; the same examples give the same decisions. No state after."""

    def __init__(self, examples: Sequence[tuple[str, str]], outside: str, embed: Embed) -> None:
        """`examples` are pairs of intent and text; `outside` the intent of what is none."""
        self._intents = sorted({intent for intent, _ in examples})
        position = {intent: place for place, intent in enumerate(self._intents)}
        classes = np.array([position[intent] for intent, _ in examples], dtype=np.intp)
        texts = [text for _, text in examples]
        self._features = Features(texts, len(self._intents), embed)
        rows = [self._features.row(text) for text in texts]
        given = Examples(
            self._features.matrix(rows), np.stack([row.dense for row in rows]), classes
        )
        only = self._intents == [outside]
        self._outside = None if only else position.get(outside)
        self._fitted = fit_and_calibrate(given, len(self._intents), self._outside)
        self._own = [
            _Own(
                tuple(text for text, own in zip(texts, classes, strict=True) if own == place),
                given.matrix[classes == place],
                _unit(given.dense[classes == place]),
            )
            for place in range(len(self._intents))
        ]
        self.usual = self._usual()

    def _usual(self) -> float:
        """How near nine in ten examples are, at least, to the others of their intent, in 0..1.

        The fewer examples there are, the further from each other they lie, and the further from
        them a request that is meant all the same.
        """
        near = []
        for place, own in enumerate(self._own):
            if place == self._outside:
                continue  # what is out of scope is alike in nothing
            said = (own.sparse @ own.sparse.T).toarray() / 2
            alike = DENSE_SHARE * np.maximum(own.dense @ own.dense.T, 0) + (1 - DENSE_SHARE) * said
            np.fill_diagonal(alike, -1)
            count = min(len(NEAREST_WEIGHTS), len(alike) - 1)
            if count:
                weights = NEAREST_WEIGHTS[:count]
                nearest = -np.sort(-alike, axis=1)[:, :count]
                near.append(nearest @ weights / weights.sum())
        return round(float(np.quantile(np.concatenate(near), 0.1)), 2) if near else 0.0

    def find(self, text: str) -> Found:
        """The likeliest intent of `text`."""
        row = self._features.row(text)
        scores = _logits(self._fitted.weights, row)
        value, (best,) = evidence(scores[None, :], self._outside)
        odds = self._fitted.slope * float(value[0]) + self._fitted.offset
        confidence = 1 / (1 + float(np.exp(-max(-500.0, min(500.0, odds)))))
        others = np.delete(scores, [best] if self._outside is None else [best, self._outside])
        second = float(np.exp(others.max() - scores[best])) if len(others) else 0.0
        outside = self._outside is not None and bool(scores[self._outside] > scores[best])
        nearest = self._nearest(row, int(best), scores)
        return Found(
            self._intents[best],
            round(confidence, 6),
            round(confidence * max(0.0, 1 - second), 6),
            nearest[0],
            outside,
            nearest[1],
            self._words(row, int(best), scores),
        )

    def _words(self, row: Row, best: int, scores: Floats) -> tuple[tuple[str, float], ...]:
        """The words of the text that spoke most for `best` against the next."""
        count = int(np.count_nonzero(row.columns < len(self._features.words)))
        rivals = [place for place in np.argsort(-scores, kind="stable")[:2] if place != best]
        if not count or not rivals:
            return ()
        columns, weights = row.columns[:count], self._fitted.weights.sparse
        spoke = row.values[:count] * (weights[columns, best] - weights[columns, rivals[0]])
        order = np.argsort(-spoke, kind="stable")[:MOST_WORDS]
        words = self._features.words
        return tuple((words[columns[i]], round(float(spoke[i]), 4)) for i in order if spoke[i] > 0)

    def _nearest(self, row: Row, best: int, scores: Floats) -> tuple[float, tuple[Near, ...]]:
        """The similarity to the best intent, and the nearest examples of the two likeliest."""
        heard, meant = self._features.spread(row), _unit(row.dense[None, :])[0]
        likeliest = [place for place in np.argsort(-scores, kind="stable")[:2] if place != best]
        near: list[Near] = []
        similarity = 0.0
        for place in (best, *likeliest[:1]):
            own = self._own[place]
            said = (own.sparse @ heard) / 2
            alike = DENSE_SHARE * np.maximum(own.dense @ meant, 0) + (1 - DENSE_SHARE) * said
            order = np.argsort(-alike, kind="stable")[:3]
            near += [
                Near(self._intents[place], own.texts[i], min(1.0, float(alike[i]))) for i in order
            ]
            if place == best:
                weights = NEAREST_WEIGHTS[: len(order)]
                similarity = min(1.0, float(alike[order] @ weights / weights.sum()))
        near.sort(key=lambda one: -one.similarity)
        return round(similarity, 6), tuple(near[:3])


def _logits(weights: Weights, row: Row) -> Floats:
    scores: Floats = (
        row.values @ weights.sparse[row.columns] + row.dense @ weights.dense + weights.bias
    )
    return scores


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.zeros_like(vectors)
    np.divide(vectors, lengths, out=unit, where=lengths > 0)
    return unit
