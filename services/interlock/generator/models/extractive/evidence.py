"""The best supporting sentences of the retrieved chunks, each with its verbatim quote.

A sentence's score is the share of the question it covers, each term weighted by its inverse
sentence frequency within the context, scaled by how well its chunk was ranked. What supports
too little of the question is left out, and if nothing is left the model abstains.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from interlock.generator.models.extractive.words import stems
from interlock_contracts.retrieval import Chunk

MIN_COVERAGE = 0.4
"""A best sentence that covers less of the question than this supports no answer."""

KEEP_RATIO = 0.6
"""A further sentence must score at least this share of the best one."""

OTHER_CHUNK_RATIO = 0.8
"""The same for a sentence of another chunk than the best one's: it repeats words more often
than it adds something."""

MAX_SENTENCES = 3
MAX_CHUNKS = 2
_MAX_SENTENCE_CHARS = 600
_TITLE_WEIGHT = 0.5
"""A term that only the title or heading above a sentence has counts half."""

# A line with words, and the lines that go on with it. Anchored and possessive: linear time.
_BLOCK = re.compile(
    r"^[^\S\n]*+\S[^\n]*(?:\n(?![^\S\n]*+(?:[-*+>#|]|\d+[.)]\s))[^\S\n]*+\S[^\n]*)*", re.MULTILINE
)
_MARKER = re.compile(r"\s*(?:(?:[-*+>]|\d+[.)])\s+)*")
_HEADING = re.compile(r"\s*#{1,6}\s+(.*)")
_RULE = re.compile(r"[\s|:\-=*_]*")
_END = re.compile(
    r"""(?<!\be\.g)(?<!\bi\.e)(?<!\bNo)(?<!\bSt)[.!?]["')\]]*(?=\s+["'(\[]*[A-Z0-9])"""
)
_HOW = re.compile(r"(?i)\bhow (?:many|much|long|old|far|soon|often|big|fast)\b")
_QUANTITY = re.compile(rf"{_HOW.pattern}|\b(?:when|costs?|prices?)\b")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a chunk: `quote` verbatim, `text` readable, with its stems."""

    quote: str
    text: str
    stems: frozenset[str]
    heading: frozenset[str]


@dataclass(frozen=True, slots=True)
class Support:
    """A sentence that supports the answer, and the handle of its chunk."""

    handle: str
    sentence: Sentence


@lru_cache(maxsize=2_048)
def sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences of a text in Markdown. Pure, and kept: the same chunks come again."""
    return tuple(_sentences(text))


def _sentences(text: str) -> Iterator[Sentence]:
    heading: frozenset[str] = frozenset()
    for block in _BLOCK.finditer(text):
        titled = _HEADING.match(block.group())
        if titled:
            # A heading ends with its line, whatever follows without a blank one.
            heading = frozenset(stems(titled.group(1)))
            start = block.start() + titled.end()
        elif _RULE.fullmatch(block.group()):
            continue
        else:
            marker = _MARKER.match(block.group())
            start = block.start() + (marker.end() if marker else 0)
        for quote in _split(text[start : block.end()]):
            readable = _readable(quote)
            found = frozenset(stems(readable))
            if found and len(quote) <= _MAX_SENTENCE_CHARS:
                yield Sentence(quote, readable, found, heading)


def _split(block: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(block):
        yield block[start : end.end()].strip()
        start = end.end()
    yield block[start:].strip()


def _readable(quote: str) -> str:
    """The quote as a sentence: one line, without Markdown emphasis or table bars."""
    if quote.startswith("|"):
        quote = ", ".join(cell.strip() for cell in quote.strip("|").split("|") if cell.strip())
    return re.sub(r"\s+", " ", re.sub(r"\*\*|__|`", "", quote)).strip()


def support(
    question: str, earlier: str, chunks: Sequence[Chunk], refused: Sequence[re.Pattern[str]] = ()
) -> list[Support]:
    """At most `MAX_SENTENCES` sentences of at most `MAX_CHUNKS` chunks, in reading order.

    `earlier` is the user's turn before, for a question that makes no sense alone; `refused`
    are patterns that must not occur in what is said.
    """
    asked = _question(question, earlier)
    if not asked or not chunks:
        return []
    read = [(chunk, sentences(chunk.text)) for chunk in chunks]
    frequency = Counter(stem for _, found in read for one in found for stem in one.stems)
    total = sum(len(found) for _, found in read)
    weights = {t: w * math.log(1 + total / (frequency[t] or 1)) for t, w in asked.items()}
    whole = sum(weights.values())
    best_chunk = max(chunk.score for chunk in chunks)
    quantity = bool(_QUANTITY.search(question))
    scored: list[tuple[float, int, int, float]] = []
    for at, (chunk, found) in enumerate(read):
        rank = 0.7 + 0.3 * chunk.score / best_chunk if best_chunk > 0 else 1.0
        title = frozenset(stems(chunk.title))
        for position, one in enumerate(found):
            covered = _covered(one, title, weights) / whole
            bonus = 1.15 if quantity and any(c.isdigit() for c in one.text) else 1.0
            if covered >= MIN_COVERAGE * KEEP_RATIO and not _says(refused, one.text):
                scored.append((covered * bonus * rank, at, position, covered))
    scored.sort(key=lambda row: (-row[0], row[1], row[2]))
    if not scored or scored[0][3] < MIN_COVERAGE:
        return []
    return [
        Support(read[at][0].handle, read[at][1][position]) for at, position in _choose(scored, read)
    ]


def _question(question: str, earlier: str) -> dict[str, float]:
    asked = dict.fromkeys(stems(_HOW.sub(" ", question)), 1.0)
    if len(asked) < 3:
        asked = dict.fromkeys(stems(earlier), 0.5) | asked
    return asked


def _covered(one: Sentence, title: frozenset[str], weights: dict[str, float]) -> float:
    own = sum(weight for term, weight in weights.items() if term in one.stems)
    if not own:
        return 0.0
    above = sum(
        weight
        for term, weight in weights.items()
        if term not in one.stems and (term in one.heading or term in title)
    )
    return own + _TITLE_WEIGHT * above


def _says(refused: Sequence[re.Pattern[str]], text: str) -> bool:
    return any(pattern.search(text) for pattern in refused)


def _choose(
    scored: list[tuple[float, int, int, float]],
    read: Sequence[tuple[Chunk, tuple[Sentence, ...]]],
) -> list[tuple[int, int]]:
    """Best first, without repeating what is already said; then in reading order."""
    chosen: list[tuple[int, int]] = []
    best, home = scored[0][0], scored[0][1]
    for score, at, position, _ in scored:
        if len(chosen) == MAX_SENTENCES:
            break
        used = {chunk for chunk, _ in chosen}
        if score < best * (KEEP_RATIO if at == home else OTHER_CHUNK_RATIO):
            continue
        if at not in used and len(used) == MAX_CHUNKS:
            continue
        mine = read[at][1][position].stems
        others = (read[a][1][p].stems for a, p in chosen)
        if all(len(mine & other) < 0.7 * min(len(mine), len(other)) for other in others):
            chosen.append((at, position))
    return sorted(chosen)
