"""Texts are embedded once: their vectors are kept beside the documents."""

from collections.abc import Sequence

import numpy as np

from interlock.retriever.corpus import Corpus, text_name
from interlock.runtime.embedding import TextEmbedder, Vectors


class Remembering:
    """An embedder that embeds no text twice."""

    def __init__(self, embedder: TextEmbedder, corpus: Corpus) -> None:
        self.name = embedder.name
        self.dimensions = embedder.dimensions
        self._embedder = embedder
        self._corpus = corpus

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, shape `(len(texts), dimensions)`."""
        names = list(map(text_name, texts))
        known = self._corpus.vectors(self.name, names)
        new = {name: text for name, text in zip(names, texts, strict=True) if name not in known}
        if new:
            made = dict(zip(new, self._embedder.embed(list(new.values())), strict=True))
            self._corpus.remember(self.name, made.items())
            known |= made
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, name in enumerate(names):
            rows[row] = known[name]
        return rows
