"""Arrays and passages in files: written durably, then mapped into memory and shared."""

import json
import mmap
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from interlock.retriever.documents import Passage
from interlock.retriever.engines.index import passage

DECODED = 16_384
"""So many passages are kept as objects: about 30 MB."""


class Lines(Sequence[Passage]):
    """Passages in a file of JSON lines, decoded when they are wanted."""

    def __init__(self, path: Path, offsets: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self._offsets = offsets
        with path.open("rb") as file:
            # An empty file cannot be mapped.
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if len(self) else b""
        self._decoded = lru_cache(DECODED)(self._decode)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: Any) -> Any:
        return self._decoded(row)

    def _decode(self, row: int) -> Passage:
        return passage(json.loads(self._data[self._offsets[row] : self._offsets[row + 1]]))


def load(path: Path) -> Any:
    """An array from a file, mapped; without NumPy's own subclass, which slows every slice."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def save(path: Path, array: Any) -> None:
    """Write an array, durably."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, data: bytes) -> None:
    """Write a file, durably."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
