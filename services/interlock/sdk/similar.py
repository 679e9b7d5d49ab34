"""Near-duplicates: MinHash over shingles of words, and locality-sensitive hashing for the pairs.

One hash of each shingle, its smallest value per bin (Li, Owen and Zhang, "One permutation
hashing", 2012); an empty bin borrows from the next one (Shrivastava and Li, 2014).
Deterministic: the same texts give the same pairs.
"""

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SHINGLE = 4
"""Words in a row that count as one feature."""

BANDS, ROWS = 32, 4
"""128 bins. Texts that share 80 % of their shingles meet in one of the bands all but once in ten
million times, those that share 30 % once in four: whoever meets is compared by all bins."""

SIMILAR = 0.8
"""From this share of common shingles on, two texts are near-duplicates."""

Signature = NDArray[np.uint64]

_WORD = re.compile(r"\w+")
_BINS = BANDS * ROWS
_EMPTY = np.iinfo(np.uint64).max
_POWERS = np.array([pow(0x9E3779B97F4A7C15, power, 2**64) for power in range(SHINGLE)], np.uint64)


@lru_cache(maxsize=65_536)
def _hashed(word: str) -> int:
    return zlib.crc32(word.encode())


def signature(text: str) -> Signature:
    """The MinHash signature of a text; a text without words has one, too."""
    words = np.array([_hashed(word) for word in _WORD.findall(text.lower())] or [0], np.uint64)
    if len(words) > SHINGLE:
        words = np.lib.stride_tricks.sliding_window_view(words, SHINGLE) @ _POWERS
    features = _mixed(words)
    lowest = np.full(_BINS, _EMPTY, np.uint64)
    np.minimum.at(lowest, features % np.uint64(_BINS), features)
    filled = np.flatnonzero(lowest != _EMPTY)
    nearest = filled[np.searchsorted(filled, np.arange(_BINS)) % len(filled)]
    # What is borrowed is told from what is a bin's own by how far it came.
    return lowest[nearest] + ((nearest - np.arange(_BINS)) % _BINS).astype(np.uint64)


def _mixed(values: Signature) -> Signature:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the value."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(31))


def similarity(one: Signature, other: Signature) -> float:
    """The estimated share of common shingles, 0 to 1."""
    return float(np.mean(one == other))


def near_duplicates(texts: Sequence[str]) -> list[tuple[int, int, float]]:
    """Each text that is nearly the same as an earlier one: (earlier, text, share), in order."""
    buckets: dict[tuple[int, bytes], int] = {}
    signatures = [signature(text) for text in texts]
    found = []
    for number, own in enumerate(signatures):
        keys = [(band, own[band * ROWS : (band + 1) * ROWS].tobytes()) for band in range(BANDS)]
        met: dict[int, None] = dict.fromkeys(buckets[key] for key in keys if key in buckets)
        shares = [(similarity(signatures[earlier], own), earlier) for earlier in met]
        best = max(shares, default=(0.0, 0), key=lambda pair: (pair[0], -pair[1]))
        if best[0] >= SIMILAR:
            found.append((best[1], number, best[0]))
        for key in keys:
            buckets.setdefault(key, number)
    return found
