"""How many passages a term occurs in, over exactly those that a reader may read.

Engines take document frequencies themselves while they search. What is decided before or after
a search (which terms of a long query count, what a title shares with it) needs them, too, and
needs the same population: what may not be read has no influence.
"""

import json
import math
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interlock.retriever.documents import Passage
from interlock.retriever.keywords import term_index

Partition = tuple[str, str, tuple[str, ...]]
"""Tenant, source and scopes: who may read one passage of a partition may read all of it."""

Counts = NDArray[np.uint32]

REMEMBERED = 32
"""For so many kinds of readers the sums are kept: about 1 MB each at 100,000 terms."""


KEPT_IDF = 50_000
"""So many terms keep their idf for one kind of reader: about 5 MB."""


class Frequencies(dict[str, float]):
    """BM25's inverse document frequency of each term, over `total` passages; 0 of the unknown.

    Computed when a term is first asked for. `terms` are dimensions, sorted; `counts` beside
    them in how many passages they occur. A passage has `different_terms` on the average.
    """

    def __init__(self, total: int, terms: Counts, counts: Counts) -> None:
        super().__init__()
        self.total = total
        self.terms = terms
        self.counts = counts
        self.different_terms = float(counts.sum()) / total if total else 0.0

    def __missing__(self, term: str) -> float:
        dimension = term_index(term)
        place = int(self.terms.searchsorted(np.uint32(dimension)))
        count = 0
        if place < len(self.terms) and self.terms[place] == dimension:
            count = int(self.counts[place])
        if len(self) >= KEPT_IDF:
            self.clear()
        self[term] = math.log(1 + (self.total - count + 0.5) / (count + 0.5)) if count else 0.0
        return self[term]


class Vocabulary:
    """The frequencies of every partition of an index."""

    def __init__(self, partitions: Mapping[Partition, Frequencies]) -> None:
        self._partitions = dict(partitions)
        self._sums: OrderedDict[tuple[object, ...], Frequencies] = OrderedDict()

    @classmethod
    def of(cls, passages: Iterable[tuple[Passage, Iterable[int]]]) -> "Vocabulary":
        """From passages, each with the dimensions of its terms."""
        totals: Counter[Partition] = Counter()
        counted: dict[Partition, Counter[int]] = {}
        for passage, dimensions in passages:
            partition = (passage.tenant, passage.source, tuple(passage.scopes))
            totals[partition] += 1
            # As a set: a counter that is given a mapping adds up its values.
            counted.setdefault(partition, Counter()).update(set(dimensions))
        return cls(
            {one: _frequencies(totals[one], counts) for one, counts in counted.items()},
        )

    def readable(
        self, *, tenant: str, scopes: Collection[str], sources: Collection[str]
    ) -> Frequencies:
        """The frequencies over what may be read."""
        held = frozenset(scopes)
        key = (tenant, held, frozenset(sources))
        found = self._sums.get(key)
        if found is None:
            found = self._sums[key] = _sum(
                own
                for (whose, source, needed), own in self._partitions.items()
                if whose == tenant and source in sources and held.issuperset(needed)
            )
            if len(self._sums) > REMEMBERED:
                self._sums.popitem(last=False)
        self._sums.move_to_end(key)
        return found

    def save(self, path: Path) -> None:
        """Write it to a file that `load` reads."""
        all_of = list(self._partitions.values())
        named = [[*name[:2], list(name[2])] for name in self._partitions]
        np.savez(
            path,
            names=np.array(json.dumps(named)),
            totals=np.array([one.total for one in all_of], np.uint32),
            sizes=np.array([len(one.terms) for one in all_of], np.uint32),
            terms=np.concatenate([_NONE, *(one.terms for one in all_of)]),
            counts=np.concatenate([_NONE, *(one.counts for one in all_of)]),
        )

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            names = json.loads(str(file["names"]))
            stops = np.cumsum(file["sizes"])[:-1]
            parts = (np.split(file["terms"], stops), np.split(file["counts"], stops))
            made = zip(names, file["totals"].tolist(), *parts, strict=bool(names))
            return cls(
                {
                    (tenant, source, tuple(scopes)): Frequencies(total, terms, counts)
                    for (tenant, source, scopes), total, terms, counts in made
                }
            )


_NONE: Counts = np.zeros(0, np.uint32)


def _frequencies(total: int, counted: Mapping[int, int]) -> Frequencies:
    terms = sorted(counted)
    return Frequencies(
        total, np.array(terms, np.uint32), np.array([counted[term] for term in terms], np.uint32)
    )


def _sum(parts: Iterable[Frequencies]) -> Frequencies:
    """Partitions share no passage, so their frequencies add up."""
    chosen = list(parts)
    terms = np.concatenate([_NONE, *(one.terms for one in chosen)])
    counts = np.concatenate([_NONE, *(one.counts for one in chosen)])
    unique, places = np.unique(terms, return_inverse=True)
    summed = np.bincount(places, weights=counts, minlength=len(unique)).astype(np.uint32)
    return Frequencies(sum(one.total for one in chosen), unique, summed)
