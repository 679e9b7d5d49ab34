"""Which files an embedded generation consists of, and which it takes over from the one before.

A segment holds passages of some documents and is never changed. The documents that changed since
go into a new one, and with them those of every segment that is not much bigger, or of which much
is not wanted any more: so each passage is written a few times for every eightfold growth, and a
generation has few segments (the logarithmic method: Bentley and Saxe, "Decomposable searching
problems", 1980).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from interlock.retriever.engines.embedded import EmbeddedIndex
from interlock.retriever.engines.index import Entry
from interlock.retriever.generations.content import Lines, making, rows_of, version_of
from interlock_contracts.canonical import digest

SEGMENTS = "segments"
"""The folder of all segments, in that of the generations."""

GROWTH = 8
"""A segment is taken into the new one unless it is at least so many times as big."""

LOOSE = 0.25
"""Nor is one kept of which a larger share of passages is not wanted any more."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a generation has of a segment, or of a server's index: these documents.

    `rows` is how many passages are in it; those in `gone` are not the generation's.
    """

    name: str
    rows: int
    lines: Lines
    gone: frozenset[str] = frozenset()

    @property
    def live(self) -> int:
        """How many passages are the generation's."""
        return self.rows - len(self.gone)


def planned(
    wanted: Lines, before: Sequence[Held], *, clean: bool = False
) -> tuple[list[Held], Lines]:
    """The segments to take over, and the documents for a new one.

    With `clean` none is taken over that holds anything which is not wanted.
    """
    kept = sorted((_within(one, wanted) for one in before), key=lambda one: one.live)
    there = {name for one in kept for name in one.lines}
    put = {name: line for name, line in wanted.items() if name not in there}
    size = rows_of(put.values())

    def loose(one: Held) -> bool:
        return bool(one.gone) if clean else len(one.gone) > LOOSE * one.rows

    while taken := [one for one in kept if one.live < GROWTH * size or loose(one)]:
        # The smallest first: what it adds may be what the next one is too small for.
        kept.remove(taken[0])
        put |= taken[0].lines
        size += taken[0].live
    return kept, put


def _within(one: Held, wanted: Lines) -> Held:
    """What is left of it."""
    lines = {name: line for name, line in one.lines.items() if wanted.get(name) == line}
    if len(lines) == len(one.lines):
        return one
    lost = one.lines.items() - lines.items()
    gone = {passage for name, line in lost for passage in version_of(name, line).passages}
    return replace(one, lines=lines, gone=one.gone | gone)


def segment_name(embedder: str, lines: Lines) -> str:
    """What a segment of these documents is called."""
    return digest({"making": making(embedder), "lines": sorted(lines.items())})[7:39]


def write_segment(folder: Path, entries: Sequence[Entry], dimensions: int) -> None:
    """A segment in a folder that is not there yet."""
    index = EmbeddedIndex.create(folder, f"sha256:{folder.name}", dimensions)
    index.take(entries)
    index.flush()
