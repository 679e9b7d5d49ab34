"""A sparse text similarity: tf-idf over words and character n-grams, on an inverted index."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_NGRAMS = (3, 4)
_NGRAM_WEIGHT = 0.35
"""Weight of one character n-gram beside a whole word's 1: they repeat each other."""


def words(text: str) -> list[str]:
    """The words of `text` in lower case, without digits or punctuation."""
    return _WORD.findall(text.lower().replace("’", "'"))


def _features(text: str) -> Counter[str]:
    features: Counter[str] = Counter()
    for word in words(text):
        features[word] += 1
        padded = f"<{word}>"
        for size in _NGRAMS:
            for start in range(len(padded) - size + 1):
                features[padded[start : start + size]] += 1
    return features


class NgramIndex:
    """The examples as an inverted index: the cosine of a text to all of them in one pass."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._count = len(texts)
        counted = [_features(text) for text in texts]
        seen = Counter(feature for features in counted for feature in features)
        self._rarest = float(np.log(1 + len(texts)))
        self._idf = {f: float(np.log((1 + len(texts)) / n)) for f, n in seen.items()}
        postings: dict[str, list[tuple[int, float]]] = {feature: [] for feature in seen}
        for row, features in enumerate(counted):
            weighted = self._weigh(features)
            length = sum(w * w for w in weighted.values()) ** 0.5 or 1.0
            for feature, weight in weighted.items():
                postings[feature].append((row, weight / length))
        self._postings = {
            feature: (np.array([r for r, _ in rows]), np.array([w for _, w in rows]))
            for feature, rows in postings.items()
        }

    def _weigh(self, features: Counter[str]) -> dict[str, float]:
        # A word nobody used in an example weighs most: it moves the text away from them all.
        return {
            feature: (_NGRAM_WEIGHT if feature[0] == "<" or len(feature) in _NGRAMS else 1.0)
            * self._idf.get(feature, self._rarest)
            * (1 + float(np.log(count)) if count > 1 else 1.0)
            for feature, count in features.items()
        }

    def similarities(self, text: str) -> Scores:
        """The cosine of `text` to every example, in 0..1; shape `(examples,)`."""
        weighted = self._weigh(_features(text))
        length = sum(w * w for w in weighted.values()) ** 0.5
        hits = [(self._postings[f], w) for f, w in weighted.items() if f in self._postings]
        if not hits:
            return np.zeros(self._count, dtype=np.float32)
        rows = np.concatenate([posting[0] for posting, _ in hits])
        shares = np.concatenate([posting[1] * (w / length) for posting, w in hits])
        return np.bincount(rows, weights=shares, minlength=self._count).astype(np.float32)
