"""What a text is to the classifier: weighted words and n-grams beside an averaged word vector.

Averaged vectors alone put almost anything near to something, n-grams alone miss every
paraphrase; together they tell intents apart by what is meant and by how it is put.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]  # scipy ships no types

from interlock.runtime.embedding import Vectors

Embed = Callable[[Sequence[str]], Vectors]
Floats = NDArray[np.float32]

FEW_EXAMPLES = 10
"""Up to so many examples an intent, the word vector has its full weight."""

MANY_TEXTS = 2_000
"""From so many examples on, a pair of words or an n-gram that occurs once is left out."""

_NGRAMS = (3, 4, 5)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")

# Order ids, amounts, dates, mail addresses and links say nothing about the intent. Looked for
# word by word, so that no text takes more than linear time.
_BREAK = re.compile(r'[\s,;()!?"]+')
_IDENTIFIER = re.compile(r"[@\d]|://")


def plain_words(text: str) -> list[str]:
    """The words of `text` in lower case, without order ids, numbers, mail addresses, links."""
    said = " ".join(w for w in _BREAK.split(text) if not _IDENTIFIER.search(w))
    return _WORD.findall(said.lower().replace("’", "'"))


def _words_and_pairs(words: Sequence[str]) -> Counter[str]:
    counted = Counter(words)
    counted.update(f"{first} {second}" for first, second in pairwise(words))
    return counted


def _parts(words: Sequence[str]) -> list[str]:
    """`words` without apostrophes: "what's" is "what" and "s"."""
    return [part for word in words for part in word.split("'")]


@lru_cache(maxsize=65_536)
def _ngrams_of(word: str) -> tuple[str, ...]:
    padded = f" {word} "
    return tuple(
        padded[start : start + size]
        for size in _NGRAMS
        for start in range(max(1, len(padded) - size + 1))
    )


def _ngrams(words: Sequence[str]) -> Counter[str]:
    return Counter([ngram for word in words for ngram in _ngrams_of(word)])


class _Block:
    """One kind of feature: its vocabulary with the column and the weight of each."""

    def __init__(self, counted: Sequence[Counter[str]], offset: int, often: int) -> None:
        seen = Counter(name for counts in counted for name in counts)
        total = 1 + len(counted)
        kept = sorted(name for name, count in seen.items() if count >= often)
        self.columns = len(kept)
        self.names = tuple(kept)
        self._weights = {
            name: (offset + place, log(total / (1 + seen[name])) + 1)
            for place, name in enumerate(kept)
        }
        self._rarest = log(total / 2) + 1 if counted else 1.0

    def row(self, counts: Counter[str]) -> tuple[list[int], list[float], float]:
        """The columns of one text, their values (length 1), and how much of it is known (0..1)."""
        columns: list[int] = []
        values: list[float] = []
        known = unknown = 0.0
        weights = self._weights
        for name, count in counts.items():
            often = 1.0 if count == 1 else 1 + log(count)
            found = weights.get(name)
            if found is None:
                unknown += (self._rarest * often) ** 2
            else:
                value = found[1] * often
                columns.append(found[0])
                values.append(value)
                known += value * value
        length = known**0.5 or 1.0
        share = (known / (known + unknown)) ** 0.5 if known else 0.0
        return columns, [value / length for value in values], share


@dataclass(frozen=True, slots=True)
class Row:
    """One text: the columns it has, their values, and its word vector.

    `heard` are the values again, smaller by what the text has beside them that no example has:
    for similarity, where a strange word moves a text away from them all.
    """

    columns: NDArray[np.intp]
    values: Floats
    heard: Floats
    dense: Floats


class Features:
    """The vocabulary of the examples. Holds no state between calls."""

    def __init__(self, texts: Sequence[str], intents: int, embed: Embed) -> None:
        self._embed = embed
        # Word vectors know words that the examples lack: the fewer examples, the more they say.
        share = min(1.0, FEW_EXAMPLES * intents / max(1, len(texts)))
        self._dense_weight = np.float32(1.0 + 0.7 * share)
        often = 2 if len(texts) >= MANY_TEXTS else 1
        words = [_parts(plain_words(text)) for text in texts]
        self._pairs = _Block([_words_and_pairs(said) for said in words], 0, often)
        self._ngrams = _Block([_ngrams(said) for said in words], self._pairs.columns, often)
        self.columns = self._pairs.columns + self._ngrams.columns
        self.words = self._pairs.names
        """The words and pairs of words that the first columns stand for."""

    def row(self, text: str) -> Row:
        """One text as the classifier sees it."""
        words = plain_words(text)
        parts = _parts(words)
        columns, values, pairs_known = self._pairs.row(_words_and_pairs(parts))
        more_columns, more_values, ngrams_known = self._ngrams.row(_ngrams(parts))
        weights = np.array(values + more_values, dtype=np.float32)
        known = np.repeat(
            np.array([pairs_known, ngrams_known], dtype=np.float32),
            (len(values), len(more_values)),
        )
        return Row(
            np.array(columns + more_columns, dtype=np.intp),
            weights,
            weights * known,
            self._embed([" ".join(words)])[0] * self._dense_weight,
        )

    def matrix(self, rows: Sequence[Row]) -> sparse.csr_matrix:
        """The sparse part of many texts, shape `(len(rows), columns)`."""
        ends = np.cumsum([0, *(len(row.columns) for row in rows)])
        values = np.concatenate([row.values for row in rows])
        columns = np.concatenate([row.columns for row in rows])
        return sparse.csr_matrix((values, columns, ends), shape=(len(rows), self.columns))

    def spread(self, row: Row) -> Floats:
        """What was heard in a text as a whole vector, to multiply a matrix with."""
        vector = np.zeros(self.columns, dtype=np.float32)
        vector[row.columns] = row.heard
        return vector
