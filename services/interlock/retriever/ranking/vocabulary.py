"""How many passages a term occurs in, over exactly those that a reader may read.

Engines take document frequencies themselves while they search. What is decided before or after
a search (which terms of a long query count, what a title shares with it) needs them, too, and
needs the same population: what may not be read has no influence.
"""

import json
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interlock.retriever.documents import Passage
from interlock.retriever.ranking.keywords import term_index

Partition = tuple[str, str, tuple[str, ...]]
"""Tenant, source and scopes: who may read one passage of a partition may read all of it."""

Counts = NDArray[np.uint32] | NDArray[np.int64]

Counted = Iterable[tuple[Passage, Iterable[int]]]
"""Passages, each with the dimensions of its terms."""

REMEMBERED = 32
"""For so many kinds of readers the sums are kept: about 1 MB each at 100,000 terms."""


KEPT_IDF = 50_000
"""So many terms keep their idf for one kind of reader: about 5 MB."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many passages there are of a tenant's sources, and how many may be read of them."""

    indexed: int
    readable: int


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
    def of(cls, passages: Counted) -> "Vocabulary":
        """Of these alone."""
        return cls({}).changed((), passages)

    def changed(self, gone: Counted, come: Counted) -> "Vocabulary":
        """Without the passages that are gone, and with those that have come."""
        parts = defaultdict(list, {name: [own] for name, own in self._partitions.items()})
        for sign, passages in ((-1, gone), (1, come)):
            for name, change in _counted(passages, sign):
                parts[name].append(change)
        after = {name: own[0] if len(own) == 1 else _sum(own) for name, own in parts.items()}
        return Vocabulary({name: own for name, own in after.items() if own.total})

    def coverage(
        self, *, tenant: str, scopes: Collection[str], sources: Collection[str]
    ) -> Coverage:
        """What there is, to tell why nothing was found."""
        own = [
            (set(needed), one.total)
            for (whose, source, needed), one in self._partitions.items()
            if whose == tenant and source in sources
        ]
        return Coverage(
            indexed=sum(total for _, total in own),
            readable=sum(total for needed, total in own if needed.issubset(scopes)),
        )

    @property
    def audiences(self) -> tuple[tuple[str, ...], ...]:
        """The sets of scopes that passages need."""
        return tuple(sorted({needed for _, _, needed in self._partitions}))

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


def _counted(passages: Counted, sign: int) -> Iterator[tuple[Partition, Frequencies]]:
    """Each partition's frequencies among these, times `sign`."""
    totals: Counter[Partition] = Counter()
    counted: dict[Partition, Counter[int]] = {}
    for passage, dimensions in passages:
        partition = (passage.tenant, passage.source, tuple(passage.scopes))
        totals[partition] += 1
        # As a set: a counter that is given a mapping adds up its values.
        counted.setdefault(partition, Counter()).update(set(dimensions))
    for partition, counts in counted.items():
        terms = np.fromiter(counts.keys(), np.uint32, len(counts))
        order = terms.argsort()
        times = np.fromiter(counts.values(), np.int64, len(counts))
        yield partition, Frequencies(sign * totals[partition], terms[order], sign * times[order])


def _sum(parts: Iterable[Frequencies]) -> Frequencies:
    """Partitions share no passage, so their frequencies add up; so do changes of them."""
    chosen = list(parts)
    terms = np.concatenate([_NONE, *(one.terms for one in chosen)])
    counts = np.concatenate([_NONE, *(one.counts for one in chosen)])
    unique, places = np.unique(terms, return_inverse=True)
    summed = np.bincount(places, weights=counts, minlength=len(unique)).astype(np.uint32)
    there = summed > 0
    return Frequencies(sum(one.total for one in chosen), unique[there], summed[there])
