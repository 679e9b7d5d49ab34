"""Passages with their vectors, ready for an index."""

from collections.abc import Sequence

import numpy as np

from interlock.retriever.documents import Passage
from interlock.retriever.engines.index import Entry, half
from interlock.retriever.ranking.keywords import passage_weights, terms
from interlock.runtime.embedding import TextEmbedder, Vectors, unit

CONTEXT = 0.5
"""What a document's vector counts beside a passage's own."""

PART = 16_384
"""So many vectors are moved at once."""


def entries(passages: Sequence[Passage], embedder: TextEmbedder) -> list[Entry]:
    """Passages with their vectors and weights; of a document there are all, or none."""
    vectors = _in_context(passages, embedder.embed([passage.searchable for passage in passages]))
    return [
        Entry(one, vector, passage_weights(terms(one.searchable), one.usual_terms))
        for one, vector in zip(passages, vectors, strict=True)
    ]


def _in_context(passages: Sequence[Passage], vectors: Vectors) -> Vectors:
    """Each vector moved by `CONTEXT` towards its document's: the mean of those of its passages.

    What a passage is about it says in part elsewhere in its document (Callan, "Passage-level
    evidence in document retrieval", 1994). One without a vector stays without.
    """
    first: dict[tuple[str, str], int] = {}
    of = np.array([first.setdefault((p.tenant, p.document_id), len(first)) for p in passages], int)
    documents = np.zeros((len(first), vectors.shape[1]), np.float32)
    np.add.at(documents, of, vectors)
    documents = unit(documents)
    moved = np.empty_like(vectors)
    # In parts, for the sake of memory: a vector takes 1 kB.
    for start in range(0, len(passages), PART):
        part = slice(start, start + PART)
        moved[part] = half(unit(vectors[part] + CONTEXT * documents[of[part]]))
    moved[~vectors.any(axis=1)] = 0
    return moved
