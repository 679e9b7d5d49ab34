"""Chunkers: from a document's text to the spans that become passages, behind one port.

A chunker is a pure function of the text and its parameters, and gives spans of the text itself,
so that a passage can be quoted verbatim. Spans may overlap.
"""

import re
from collections.abc import Callable, Iterator

from interlock.bundles.chunkers import ByHeadings, BySentences, ByTokens, ChunkerSpec
from interlock.sdk.formats.text import heading

Span = tuple[int, int, str]
"""Start, end (exclusive), and the headings above the start."""

Chunker = Callable[[str], Iterator[Span]]

VERSION = 3
"""Part of the identity of an index: change it whenever the same text is cut differently."""

_FENCE = re.compile(r" {0,3}(```|~~~)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")
# Each run of marks is tried from its beginning alone, and given up whole: a line of dots takes time
# that grows with its length, not with the square of it.
_SENTENCE = re.compile(r"\S.*?(?:(?<![.!?…])[.!?…]++[\"'”’)\]]*+(?=\s)|\n\s*\n|\Z)", re.DOTALL)
_TOKEN = re.compile(r"\w+|[^\w\s]")
_LONGEST_WINDOW = 16_000
"""Characters. A text without an end of a sentence, or without blanks, is no passage of millions."""


def chunker_of(spec: ChunkerSpec) -> Chunker:
    """The chunker that a source asks for."""
    match spec:
        case ByHeadings():
            return lambda text: by_headings(text, spec.max_chars, spec.min_chars)
        case BySentences():
            return lambda text: by_sentences(text, spec.sentences, spec.overlap)
        case ByTokens():
            return lambda text: by_tokens(text, spec.tokens, spec.overlap)


def by_headings(text: str, most: int, least: int) -> Iterator[Span]:
    """Sections of about `most` characters at most.

    A heading starts a new passage unless the one before is still shorter than `least`. Too long
    a section is cut between paragraphs, too long a paragraph between sentences. A heading stays
    with its text.
    """
    start, end, above, has_body = 0, 0, "", False
    path: dict[int, str] = {}
    for block_start, block_end, level, title in _blocks(text):
        if level and has_body and end - start >= least:
            yield start, end, above
            start, end, has_body = block_start, block_start, False
        if level:
            path = _below(path, level, title)
        for piece_start, piece_end in _pieces(text, block_start, block_end, most):
            apart = piece_start - end > most  # only blanks lie between
            if (has_body and piece_end - start > most) or (apart and end > start):
                yield start, end, above
                start, has_body = piece_start, False
            if not has_body:
                above = " › ".join(path.values())
            has_body = has_body or not level
            end = piece_end
    if text[start:end].strip():
        yield start, end, above


def by_sentences(text: str, sentences: int, overlap: int) -> Iterator[Span]:
    """Windows of so many sentences, each sharing `overlap` with the one before."""
    spans = [found.span() for found in _SENTENCE.finditer(text)]
    yield from _windows(text, spans, sentences, overlap)


def by_tokens(text: str, tokens: int, overlap: int) -> Iterator[Span]:
    """Windows of so many words and punctuation marks, each sharing `overlap` with the last."""
    spans = [found.span() for found in _TOKEN.finditer(text)]
    yield from _windows(text, spans, tokens, overlap)


def _windows(text: str, units: list[tuple[int, int]], size: int, overlap: int) -> Iterator[Span]:
    headings = [(start, level, title) for start, _, level, title in _blocks(text) if level]
    path: dict[int, str] = {}
    passed = 0
    firsts = range(0, max(len(units) - overlap, min(len(units), 1)), size - overlap)
    for first in firsts:
        window = units[first : first + size]
        start, end = window[0][0], window[-1][1]
        while passed < len(headings) and headings[passed][0] <= start:
            path = _below(path, *headings[passed][1:])
            passed += 1
        above = " › ".join(path.values())
        if end - start <= _LONGEST_WINDOW:
            yield start, end, above
            continue
        following = first + firsts.step
        stop = units[following][0] if following in firsts else end
        for piece_start, piece_end in _pieces(text, start, stop, _LONGEST_WINDOW):
            yield piece_start, piece_end, above


def _below(path: dict[int, str], level: int, title: str) -> dict[int, str]:
    """The headings above a place, one of `level` having come."""
    return {**{depth: above for depth, above in path.items() if depth < level}, level: title}


def _blocks(text: str) -> Iterator[tuple[int, int, int, str]]:
    """Headings and paragraphs (a fenced block counts as one): (start, end, level, title)."""
    start = position = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        level, title = (0, "") if fence else heading(line)
        if level or (not fence and not line.strip()):
            if text[start:position].strip():
                yield start, position, 0, ""
            start = position
            if level:
                start += len(line)
                yield position, start, level, title
        elif mark:
            fence = "" if fence == mark.group(1) else fence or mark.group(1)
        position += len(line)
    if text[start:].strip():
        yield start, len(text), 0, ""


def _pieces(text: str, start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """A block whole, or where it is too long, cut after a sentence (or, at worst, anywhere)."""
    while end - start > most:
        stops = [m.end() for m in _SENTENCE_END.finditer(text, start + 1, start + most)]
        stop = stops[-1] if stops else start + most
        yield start, stop
        start = stop
    yield start, end
