"""The sparse leg: a learned model's weights (SPLADE and its kin), beside BM25 and the vectors.

A model gives a passage and a query weights by token, also for tokens that are not in the text.
They are stored in the same sparse vector as the words' weights, under dimensions of their own, so
that every engine has them without knowing; asked for by themselves, they make the list `sparse`.
A model is part of the index's identity, as the embedder is: its name stands in the embedder's.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from interlock.retriever.corpus import Corpus, text_name
from interlock.retriever.engines.index import Entry
from interlock.retriever.models.remembering import in_parts
from interlock.retriever.ranking.keywords import term_index
from interlock.runtime.embedding import TextEmbedder, Vectors

SPARSE = "sparse"
"""The name of the leg."""

SPARSE_WEIGHT = 0.5
"""What the leg has of the words' share, where nothing is said."""

Weights = Mapping[int, float]
"""Weights by token, above 0."""


class SparseEmbedder(Protocol):
    """Turns texts into weights, the same ones every time. `name` identifies model and version."""

    name: str

    def passages(self, texts: Sequence[str]) -> Sequence[Weights]:
        """The weights of passages."""

    def query(self, text: str) -> Weights:
        """The weights of a query."""


class WithSparse:
    """A `TextEmbedder` and the sparse model beside it."""

    def __init__(self, dense: TextEmbedder, sparse: SparseEmbedder) -> None:
        self.name = f"{dense.name}+{sparse.name}"
        self.dimensions = dense.dimensions
        self.waits = getattr(dense, "waits", False)
        self.outside = getattr(dense, "outside", False)
        self.embed = dense.embed
        self.dense = dense
        self.sparse = sparse


def sparse_of(embedder: TextEmbedder) -> SparseEmbedder | None:
    """The sparse model beside an embedder, if it has one."""
    return getattr(embedder, "sparse", None)


def with_sparse(
    entries: Sequence[Entry], embedder: TextEmbedder, corpus: Corpus | None = None
) -> Sequence[Entry]:
    """Passages with the weights of the embedder's sparse model, too, if it has one.

    With a `corpus` no text is given to the model twice.
    """
    model = sparse_of(embedder)
    if model is None:
        return entries
    texts = [one.passage.searchable for one in entries]
    made = model.passages(texts) if corpus is None else _remembered(model, texts, corpus)
    return [
        replace(one, keyword={**one.keyword, **dimensions(weights)})
        for one, weights in zip(entries, made, strict=True)
    ]


async def query_weights(embedder: TextEmbedder, text: str, most: int) -> Weights:
    """The `most` heaviest weights of a query by dimension; none without a sparse model."""
    model = sparse_of(embedder)
    if model is None or not text.strip():
        return {}
    weights = await asyncio.to_thread(model.query, text)
    heaviest = sorted(weights.items(), key=lambda one: (-one[1], one[0]))[:most]
    return dimensions(dict(heaviest))


def dimensions(weights: Weights) -> Weights:
    """Weights under the dimensions they are stored by; no term of a text has a space in it."""
    return {term_index(f"{SPARSE} {token}"): weight for token, weight in weights.items()}


def _remembered(model: SparseEmbedder, texts: Sequence[str], corpus: Corpus) -> list[Weights]:
    """The weights of passages, those that were made before from the corpus."""
    names = [text_name(text) for text in texts]
    known = corpus.vectors(model.name, names)
    new = {name: text for name, text in zip(names, texts, strict=True) if name not in known}
    for part in in_parts(list(new.items())):
        made = model.passages([text for _, text in part])
        found = {name: _flat(weights) for (name, _), weights in zip(part, made, strict=True)}
        corpus.remember(model.name, found.items())
        known |= found
    return [_unflat(known[name]) for name in names]


def _flat(weights: Weights) -> Vectors:
    """Tokens, then weights, as 32-bit numbers: tokens are far below the 2^24 they hold exactly."""
    return np.array([*weights.keys(), *weights.values()], np.float32)


def _unflat(flat: Vectors) -> Weights:
    tokens, weights = np.split(flat, 2)
    return dict(zip(tokens.astype(int).tolist(), weights.tolist(), strict=True))
