"""The embedded default: WordLlama's token vectors, pooled for search.

The library averages the vectors of a text's tokens, so that a word counts for as much as it is
frequent. Here it is as with keywords (Salton and Buckley, "Term-weighting approaches in automatic
text retrieval", 1988, weights `lnc.ltn`): in a passage a token counts by the logarithm of its
occurrences, and a question's words count by what they tell apart among the passages that its reader
may read. A passage's vector follows from its text alone.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from interlock.retriever.ranking.keywords import words
from interlock.retriever.ranking.sparse import WithSparse
from interlock.retriever.ranking.vocabulary import Frequencies
from interlock.runtime.embedding import (
    TextEmbedder,
    Vectors,
    WordLlamaEmbedder,
    embedded,
    load_wordllama,
    unit,
)

KEPT_WORDS = 4_096
"""For so many words the sums of their tokens' vectors are kept: 8 MB."""


class PooledEmbedder:
    """A `TextEmbedder` for passages; `questions` are embedded with what their words tell apart."""

    def __init__(self, model: WordLlamaEmbedder) -> None:
        self.name = f"{model.name}-pooled-1"
        self.dimensions = model.dimensions
        self._model = model
        self._word = lru_cache(KEPT_WORDS)(self._sum)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of passages, shape `(len(texts), dimensions)`."""
        return self._of(texts, map(self._passage, self._model.tokens(texts)))

    def _passage(self, tokens: Sequence[int]) -> Vectors:
        own, counts = np.unique(np.asarray(tokens, np.int64), return_counts=True)
        weights = (1 + np.log(counts)).astype(np.float32)
        total: Vectors = (self._model.vectors[own] * weights[:, None]).sum(axis=0)
        return total

    def questions(self, texts: Sequence[str], frequencies: Frequencies) -> Vectors:
        """The vectors of questions, shape `(len(texts), dimensions)`.

        A word counts by the square root of its idf; by 1 where it is a stopword, or in no passage:
        it may be a synonym.
        """
        return self._of(texts, (self._question(text, frequencies) for text in texts))

    def _of(self, texts: Sequence[str], sums: Iterable[Vectors]) -> Vectors:
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, total in zip(rows, sums, strict=True):
            row[:] = total
        return unit(rows)

    def _question(self, text: str, frequencies: Frequencies) -> Vectors:
        total = np.zeros(self.dimensions, np.float32)
        for word, term in words(text):
            idf = frequencies[term] if term else 0.0
            total += self._word(word) * (math.sqrt(idf) or 1.0)
        return total

    def _sum(self, word: str) -> Vectors:
        total: Vectors = self._model.vectors[next(self._model.tokens([word]))].sum(axis=0)
        return total


@lru_cache(maxsize=1)
def load_pooled() -> PooledEmbedder:
    """The embedder, loaded on first use; raises `RuntimeError` as `load_wordllama` does."""
    return PooledEmbedder(load_wordllama())


async def question_vectors(
    embedder: TextEmbedder, texts: Sequence[str], frequencies: Frequencies
) -> Vectors:
    """The vectors of questions, by an embedder that may tell them from passages."""
    dense = embedder.dense if isinstance(embedder, WithSparse) else embedder
    if isinstance(dense, PooledEmbedder):
        return dense.questions(texts, frequencies)
    return await embedded(embedder, texts)
