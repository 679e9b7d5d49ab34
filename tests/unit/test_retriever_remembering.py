"""Vectors are kept as they are made, and it is said how far that is."""

from collections.abc import Sequence
from io import StringIO
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from interlock.cli import common
from interlock.retriever.corpus import Corpus
from interlock.retriever.models.remembering import PART, Remembering, watched
from interlock.runtime.embedding import Vectors

TEXTS = [f"text {number}" for number in range(2 * PART + 10)]


class Counting:
    """An embedder whose vector is a text's number; `seen` is what it was given. May fail."""

    name, dimensions = "counting", 1

    def __init__(self, fails_after: int = 2 * len(TEXTS)) -> None:
        self.seen: list[str] = []
        self._fails_after = fails_after

    def embed(self, texts: Sequence[str]) -> Vectors:
        if len(self.seen) + len(texts) > self._fails_after:
            raise RuntimeError("out of power")
        self.seen += texts
        return np.array([[float(text.split()[1])] for text in texts], np.float32)


def test_what_was_embedded_before_a_crash_is_not_embedded_again(tmp_path: Path) -> None:
    cut_off = Counting(fails_after=2 * PART)
    with pytest.raises(RuntimeError, match="out of power"):
        Remembering(cut_off, Corpus(tmp_path)).embed(TEXTS)
    assert cut_off.seen == TEXTS[: 2 * PART]
    again = Counting()
    rows = Remembering(again, Corpus(tmp_path)).embed(TEXTS[::-1])
    assert again.seen == TEXTS[: 2 * PART - 1 : -1]
    assert rows[:, 0].tolist() == [float(number) for number in reversed(range(len(TEXTS)))]


def test_a_text_that_is_there_twice_is_embedded_once(tmp_path: Path) -> None:
    counting = Counting()
    rows = Remembering(counting, Corpus(tmp_path)).embed(["text 7", "text 3", "text 7"])
    assert counting.seen == ["text 7", "text 3"]
    assert rows[:, 0].tolist() == [7, 3, 7]
    assert Remembering(counting, Corpus(tmp_path)).embed([]).shape == (0, 1)


def test_who_watches_is_told_after_every_part(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    embedder = Remembering(Counting(), Corpus(tmp_path))
    with watched(lambda done, total: told.append((done, total))):
        embedder.embed(TEXTS)
    assert told == [(PART, len(TEXTS)), (2 * PART, len(TEXTS)), (len(TEXTS), len(TEXTS))]
    embedder.embed([*TEXTS, "text 9999"])
    assert len(told) == 3, "watched outside"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_command_shows_a_bar_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    written = StringIO()
    monkeypatch.setattr(common, "err", Console(file=written, force_terminal=terminal, width=60))
    with common.embedding_shown():
        Remembering(Counting(), Corpus(tmp_path)).embed(TEXTS)
    assert ("100%" in written.getvalue()) == terminal


def test_a_long_embedding_is_logged_every_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here every look at the clock is three seconds after the last one."""
    clock = count(0, 3)
    monkeypatch.setattr(
        "interlock.retriever.models.remembering.monotonic", lambda: float(next(clock))
    )
    lines: list[dict[str, Any]] = []
    said_so = SimpleNamespace(info=lambda event, **said: lines.append({"event": event, **said}))
    monkeypatch.setattr("interlock.retriever.models.remembering.log", said_so)
    Remembering(Counting(), Corpus(tmp_path)).embed(TEXTS)
    said = [(one["done"], one["total"], one["per_second"]) for one in lines]
    assert said == [(2 * PART, len(TEXTS), round(2 * PART / 6, 1))]
