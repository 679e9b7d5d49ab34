"""Passages with their vectors, ready for an index."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from interlock.retriever.documents import Passage
from interlock.retriever.index import Entry, half
from interlock.retriever.keywords import passage_weights, terms
from interlock.runtime.embedding import TextEmbedder, Vectors, unit

CONTEXT = 0.5
"""What a document's vector counts beside a passage's own."""

PART = 16_384
"""So many vectors are moved at once."""


def entries(passages: Sequence[Passage], embedder: TextEmbedder) -> list[Entry]:
    """Passages with their vectors.

    Lengths are averaged among those that the same readers may read: a mean over a whole tenant
    would let documents that a reader may not see move the order of those it may.
    """
    words = [terms(passage.searchable) for passage in passages]
    lengths: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for passage, own in zip(passages, words, strict=True):
        lengths[passage.tenant, passage.scopes].append(len(own))
    average = {readers: sum(counts) / len(counts) for readers, counts in lengths.items()}
    vectors = _in_context(passages, embedder.embed([passage.searchable for passage in passages]))
    return [
        Entry(passage, vector, passage_weights(own, average[passage.tenant, passage.scopes]))
        for passage, vector, own in zip(passages, vectors, words, strict=True)
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
