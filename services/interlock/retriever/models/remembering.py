"""Texts are embedded once: their vectors are kept beside the documents, as they are made."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

import numpy as np
import structlog

from interlock.retriever.corpus import Corpus, text_name
from interlock.runtime.embedding import TextEmbedder, Vectors

PART = 512
"""So many texts are embedded, and their vectors kept, at once: what a crash can cost."""

TELL_S = 5.0
"""How often it is said how far it is."""

Progress = Callable[[int, int], None]
"""Told how many texts have been embedded, and of how many."""

_watched: ContextVar[Progress | None] = ContextVar("embedding_watched", default=None)

log = structlog.get_logger(__name__)


@contextmanager
def watched(progress: Progress) -> Iterator[None]:
    """Tell `progress`, after every part, how far the embedding that is done inside is."""
    token = _watched.set(progress)
    try:
        yield
    finally:
        _watched.reset(token)


class Remembering:
    """An embedder that embeds no text twice, not even one that a crash came after."""

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
        for part in in_parts(list(new.items())):
            vectors = self._embedder.embed([text for _, text in part])
            made = {name: vector for (name, _), vector in zip(part, vectors, strict=True)}
            self._corpus.remember(self.name, made.items())
            known |= made
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, name in enumerate(names):
            rows[row] = known[name]
        return rows


def in_parts(texts: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """So many at a time; says how far it is when the next ones are asked for."""
    started = told = monotonic()
    progress, total = _watched.get(), len(texts)
    for start in range(0, total, PART):
        yield texts[start : start + PART]
        done, now = min(start + PART, total), monotonic()
        if progress is not None:
            progress(done, total)
        if now - told >= TELL_S:
            told, speed = now, done / (now - started)
            log.info("embedding", done=done, total=total, per_second=round(speed, 1))
