"""The sentences of a chunk: verbatim to quote, readable to say, with what stands above them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

from interlock.models.extractive.words import stems

_MAX_CHARS = 600

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
_CONDITION = re.compile(r"(?:If|When|After|Once|Unless|For)\b[^,]*,")
_ADDRESSED = re.compile(r"(?i)\b(?:you|your)\b")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a chunk: `quote` verbatim, `text` readable, with its stems.

    `leads` says that it is the first one under its heading, `addressed` that it speaks to the
    reader; `subject` are its first words, `condition` those of the case it is only about.
    """

    quote: str
    text: str
    stems: frozenset[str]
    heading: frozenset[str]
    leads: bool = False
    addressed: bool = False
    subject: frozenset[str] = frozenset()
    condition: frozenset[str] = frozenset()


@lru_cache(maxsize=2_048)
def sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences of a text in Markdown. Pure, and kept: the same chunks come again."""
    return tuple(_sentences(text))


def _sentences(text: str) -> Iterator[Sentence]:
    heading: frozenset[str] = frozenset()
    leads = True
    blocks = list(_BLOCK.finditer(text))
    for block, after in zip_longest(blocks, blocks[1:]):
        titled = _HEADING.match(block.group())
        if titled:
            # A heading ends with its line, whatever follows without a blank one.
            heading, leads = frozenset(stems(titled.group(1))), True
            start = block.start() + titled.end()
        elif _RULE.fullmatch(block.group()) or (
            after is not None and _heads_a_table(block.group(), after.group())
        ):
            continue
        else:
            marker = _MARKER.match(block.group())
            start = block.start() + (marker.end() if marker else 0)
        for quote in _split(text[start : block.end()]):
            readable = _readable(quote)
            found = stems(readable)
            if found and len(quote) <= _MAX_CHARS:
                condition = _CONDITION.match(readable)
                yield Sentence(
                    quote,
                    readable,
                    frozenset(found),
                    heading,
                    leads,
                    addressed=bool(_ADDRESSED.search(readable)),
                    subject=frozenset(found[:2]),
                    condition=frozenset(stems(condition[0]) if condition else ()),
                )
                leads = False


def _heads_a_table(block: str, after: str) -> bool:
    """Whether a line names the columns of a table: a rule of bars and dashes follows it."""
    return block.lstrip().startswith("|") and "--" in after and bool(_RULE.fullmatch(after))


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
