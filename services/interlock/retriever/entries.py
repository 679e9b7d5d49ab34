"""Passages with their vectors, ready for an index."""

from collections import defaultdict
from collections.abc import Sequence

from interlock.retriever.documents import Passage
from interlock.retriever.index import Entry, half
from interlock.retriever.keywords import passage_weights, terms
from interlock.runtime.embedding import TextEmbedder


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
    vectors = half(embedder.embed([passage.searchable for passage in passages]))
    return [
        Entry(passage, vector, passage_weights(own, average[passage.tenant, passage.scopes]))
        for passage, vector, own in zip(passages, vectors, words, strict=True)
    ]
