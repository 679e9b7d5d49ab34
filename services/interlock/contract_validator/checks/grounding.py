"""How well is a sentence supported by what it cites? A calibrated, lexical score.

The score is a logistic regression over what of the sentence does not stand in the sources: its
words, pairs of words, numbers, names, the longest stretch of new words, and how it speaks
(hedging, denying, advising). Nothing is downloaded or learnt at run time. `bench/gate/ragtruth.py`
fits the weights and measures them by cross-validation over questions; the probability it gives
is that of "unsupported" on that data.

It reads English. In another language the shares still count, the ways of speaking do not.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import snowballstemmer  # type: ignore[import-untyped]  # ships no types

_STEMMER = snowballstemmer.stemmer("english")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,]\d+)*")
_BREAK = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n+")
_STOPWORDS = frozenset(
    re.findall(
        r"\w+",
        """a an the and or but if of to in on at by for with from as is are was were be been being
    it its this that these those there here he she they them their his her you your i we our us
    my me do does did done have has had having not no nor so than then too very can could
    may might must shall should will would what which who whom when where why how all any both
    each few more most
    other some such only own same also into out up down over under again further about above below
    between through during before after because while until against just""",
    )
)
_MOST_WORDS = 400
"""Words of a sentence that are looked at."""

_CUES = {
    "denies": r"\b(unable|cannot|can't|not (mention|provide|specif|state|contain|explicit)|"
    r"does not|do not|no information|unclear)\w*\b",
    "advises": r"\b(important to note|consult|professional|recommended|best to|always|"
    r"additionally|overall|in summary|it is worth|keep in mind|specific|however|therefore|"
    r"please|remember|ensure|may vary|individual)\b",
    "hedges": r"\b(may|might|could|possibl|likely|such as|e\.g|example)\b",
    "of_sources": r"\b(passages?|sources?|provided|given|text|based on|according to|"
    r"mention(ed|s)?|context|information|question|unable to answer|not (enough|sufficient|"
    r"possible))\b",
    "names_source": r"\b(passages?|sources?|documents?) ?\d",
}
_CUE = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _CUES.items()}

FEATURES = (
    "new_share", "new_pairs", "new_numbers", "new_names", "length", "new_run", "new_third",
    "new_count", "first_said", "asked_share", "asks", "leads_in", "place", "opens", "answer_length",
    *_CUES,
)  # fmt: skip
"""What is weighed, in this order."""

INTERCEPT = -2.4950
WEIGHTS: tuple[float, ...] = (
    -0.4986,  # new_share
    2.1034,  # new_pairs
    0.4454,  # new_numbers
    0.4711,  # new_names
    -0.8515,  # length
    0.2118,  # new_run
    0.8184,  # new_third
    3.3446,  # new_count
    -0.1331,  # first_said
    0.9114,  # asked_share
    -1.8049,  # asks
    -1.5172,  # leads_in
    -0.5733,  # place
    -1.0172,  # opens
    0.5653,  # answer_length
    -1.2996,  # denies
    -0.5372,  # advises
    0.2790,  # hedges
    -0.9799,  # of_sources
    0.9042,  # names_source
)
"""Fitted by `python -m bench.gate.ragtruth --fit` on ragtruth_dev."""


@dataclass(frozen=True, slots=True)
class Support:
    """One sentence of an answer (`start` to `end` in it) and how likely it is supported."""

    start: int
    end: int
    score: float


class Sources:
    """What an answer is held against: the cited texts, and the question it answers."""

    def __init__(self, texts: Sequence[str], question: str) -> None:
        stems = [stem(word) for text in texts for word in _WORD.findall(text)]
        self.asked = {stem(word) for word in _WORD.findall(question)}
        self.stems = {*stems, *self.asked}
        self.pairs = set(pairwise(stems))
        self.written = {
            word.casefold() for text in (*texts, question) for word in _WORD.findall(text)
        }


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """The stem of a word, lower case, without a possessive s."""
    bare = word.casefold().replace("’", "'").removesuffix("'s")
    return str(_STEMMER.stemWord(bare))


def sentences(text: str) -> list[tuple[int, int]]:
    """The sentences of an answer, as offsets; a bare list number belongs to what follows it."""
    cuts = [0, *(end for match in _BREAK.finditer(text) for end in match.span()), len(text)]
    found: list[tuple[int, int]] = []
    for start, end in zip(cuts[::2], cuts[1::2], strict=True):
        if not any(map(str.isalnum, text[start:end])):
            continue
        if found and len(_WORD.findall(text, *found[-1])) <= 1:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _weight(stemmed: str) -> float:
    """How telling a word is: long words are rare ones."""
    return 1.2 + 0.45 * min(len(stemmed), 10)


def features(text: str, sources: Sources) -> tuple[list[tuple[int, int]], list[list[float]]]:
    """The sentences of an answer, and for each the values of `FEATURES`."""
    spans = sentences(text)
    before: set[str] = set()
    rows = []
    for at, (start, end) in enumerate(spans):
        place = at / max(1, len(spans) - 1)
        rows.append([*_row(text[start:end], sources, before), place, float(at == 0)])
        rows[-1].append(len(spans) / 20)
        rows[-1] += [float(bool(cue.search(text, start, end))) for cue in _CUE.values()]
    return spans, rows


def _row(sentence: str, sources: Sources, before: set[str]) -> list[float]:
    """The features of one sentence by itself; adds its words to `before`."""
    words = _WORD.findall(sentence)[:_MOST_WORDS]
    stems = [stem(word) for word in words]
    content = [one for word, one in zip(words, stems, strict=True) if _tells(word)]
    new = [one for one in content if one not in sources.stems]
    total = sum(map(_weight, content)) or 1.0
    pairs = list(pairwise(stems))
    run = longest = 0
    for one in content:
        run = run + 1 if one not in sources.stems else 0
        longest = max(longest, run)
    rarest = sorted(map(_weight, set(new)), reverse=True)
    first = {one for one in new if one not in before}
    before.update(content)
    names = [
        stem(word) for word in words[1:] if word[0].isupper() and _tells(word)
    ]  # the first word is upper case in any case
    return [
        sum(map(_weight, new)) / total,
        sum(pair not in sources.pairs for pair in pairs) / len(pairs) if pairs else 0.0,
        float(min(3, sum(w[0].isdigit() and w.casefold() not in sources.written for w in words))),
        float(min(3, sum(name not in sources.stems for name in names))),
        math.log1p(len(content)),
        longest / 5,
        rarest[2] / 5 if len(rarest) > 2 else 0.0,
        min(len(new), 10) / 10,
        sum(map(_weight, first)) / 10,
        sum(one in sources.asked for one in stems) / max(1, len(stems)),
        float(sentence.rstrip().endswith("?")),
        float(sentence.rstrip().endswith(":")),
    ]


def _tells(word: str) -> bool:
    return word.casefold() not in _STOPWORDS


def support(text: str, sources: Sources) -> list[Support]:
    """For each sentence of `text` the probability that the sources support it."""
    spans, rows = features(text, sources)
    return [
        Support(start, end, 1 / (1 + math.exp(min(50.0, max(-50.0, score(row))))))
        for (start, end), row in zip(spans, rows, strict=True)
    ]


def score(row: Sequence[float]) -> float:
    """The log-odds that a sentence with these features is unsupported."""
    return INTERCEPT + sum(weight * value for weight, value in zip(WEIGHTS, row, strict=True))
