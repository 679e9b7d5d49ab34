"""Scoring over arrays: BM25 weights added up, vectors multiplied, the best taken. Exact.

Rows are ordered by tenant, source and scopes, so that what one reader may read is a few ranges
of rows: no other row's vector is touched. NumPy lets go of the interpreter's lock while it
works, and none of these calls starts threads of its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interlock.retriever.engines.index import COARSE, Entry

MARGIN = 2 / COARSE
"""What is this close below the last of the best may be as good once scores are rounded.

Single precision is wrong by a hundredth of it.
"""

RUN = 64
"""So many rows make one run when the best are looked for."""

Rows = NDArray[np.int32]
Floats = NDArray[np.float64]

_NO_ROWS = np.zeros(0, np.int32)
_NO_WEIGHTS = np.zeros(0)


@dataclass(frozen=True, slots=True)
class Reader:
    """What one reader may read of a tenant: ranges of rows in order, and all of their rows."""

    ranges: tuple[tuple[int, int], ...]
    rows: Rows

    @classmethod
    def of(cls, ranges: Sequence[tuple[int, int]]) -> "Reader":
        """From ranges in order; those that touch become one."""
        joined: list[tuple[int, int]] = []
        for start, stop in ranges:
            if joined and joined[-1][1] == start:
                start = joined.pop()[0]
            joined.append((start, stop))
        parts = [np.arange(start, stop, dtype=np.int32) for start, stop in joined]
        return cls(tuple(joined), np.concatenate([_NO_ROWS, *parts]))


@dataclass(frozen=True, slots=True)
class Block:
    """One tenant's rows. `dense` is (rows, dimensions), 32 bits; a row of zeros has no vector.

    The postings of `terms[i]` (sorted) are `rows` and `weights` from `starts[i]` to
    `starts[i + 1]`, a row at most once; row numbers count from the block's own first.
    """

    dense: NDArray[np.float32]
    terms: NDArray[np.uint32]
    starts: NDArray[np.int64]
    rows: Rows
    weights: NDArray[np.float32]

    def keyword(
        self, query: Mapping[int, float], reader: Reader, limit: int
    ) -> list[tuple[int, float]]:
        """At least the best `limit` readable rows by the sum of weight times weight.

        Added in double precision and in the order of the terms: the same bits on every machine.
        """
        rows, weighed = [_NO_ROWS], [_NO_WEIGHTS]
        wanted = np.array(sorted(query), np.uint32)
        places = np.searchsorted(self.terms, wanted)
        for term, place in zip(wanted.tolist(), places.tolist(), strict=True):
            if place < len(self.terms) and self.terms[place] == term:
                own = slice(self.starts[place], self.starts[place + 1])
                rows.append(self.rows[own])
                weighed.append(np.multiply(self.weights[own], query[term], dtype=float))
        joined = np.concatenate(weighed)
        scores = np.bincount(np.concatenate(rows), joined, minlength=len(self.dense))
        readable = np.concatenate([scores[start:stop] for start, stop in reader.ranges])
        best = _best(readable, limit)
        return list(zip(reader.rows[best].tolist(), readable[best].tolist(), strict=True))

    def nearest(
        self, query: NDArray[np.float32], reader: Reader, limit: int
    ) -> list[tuple[int, float]]:
        """At least the best `limit` readable rows by scalar product.

        All of them in single precision; those that may be among the best again in double.
        """
        scores = np.empty(len(reader.rows), np.float32)
        filled = 0
        for start, stop in reader.ranges:
            np.vecdot(self.dense[start:stop], query, out=scores[filled : filled + stop - start])
            filled += stop - start
        best = reader.rows[_best(scores, limit)]
        exact = np.vecdot(self.dense[best].astype(float), query.astype(float))
        return list(zip(best.tolist(), exact.tolist(), strict=True))


def block_of(rows: Sequence[Entry], dimension: int) -> Block:
    """The arrays of one tenant's rows, in this order."""
    dense = np.zeros((len(rows), dimension), np.float32)
    for row, one in enumerate(rows):
        dense[row] = one.dense
    lengths = [len(one.keyword) for one in rows]
    total = sum(lengths)
    terms = np.fromiter(_each(one.keyword.keys() for one in rows), np.uint32, total)
    weights = np.fromiter(_each(one.keyword.values() for one in rows), np.float32, total)
    owners = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)
    by_term = np.argsort(terms, kind="stable")
    unique, starts = np.unique(terms[by_term], return_index=True)
    return Block(
        dense=dense,
        terms=unique,
        starts=np.append(starts, total).astype(np.int64),
        rows=owners[by_term],
        weights=weights[by_term],
    )


def _each(parts: Iterable[Iterable[float]]) -> Iterator[float]:
    return (one for part in parts for one in part)


def _best(scores: NDArray[np.float32] | Floats, limit: int) -> NDArray[np.intp]:
    """Where the `limit` highest scores above 0 are, and all within `MARGIN` of the last.

    Of a long array first the maxima of runs are taken: the last of the best `limit` runs' own
    bounds what can be among the best rows, and few are left to look at (a tenth of the time).
    """
    if limit >= len(scores):
        return np.flatnonzero(scores > 0)
    runs = len(scores) // RUN
    if runs > limit:
        highest = scores[: runs * RUN].reshape(runs, RUN).max(axis=1)
        places = np.flatnonzero(scores >= _last(highest, limit) - MARGIN)
    else:
        places = np.arange(len(scores))
    chosen = scores[places]
    least = max(_last(chosen, limit) - MARGIN, 0.0)
    return places[(chosen >= least) & (chosen > 0)]


def _last(scores: NDArray[np.float32] | Floats, limit: int) -> float:
    """The lowest of the `limit` highest."""
    return float(np.partition(scores, len(scores) - limit)[len(scores) - limit])
