"""Words, stems and stopwords: the English that the extractive model understands."""

import re
from functools import lru_cache

import snowballstemmer  # type: ignore[import-untyped]  # the library has no type hints

_STEMMER = snowballstemmer.stemmer("english")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")

# Auxiliaries, pronouns, prepositions, and the courtesies of a request.
_STOPWORDS = frozenset(
    re.findall(
        r"\S+",
        """a about after again all am an and any are as at be because been before being but by can
        can't could did didn't do does doesn't doing don't down each few for from further get give
        had has have having he hello hi her here hers him his how i i'd i'll i'm i've if in into is
        isn't it it's its just know let like may me mine more most must my need no not now of off
        on once one only or other our out over own please same shall she should so some such tell
        than thank thanks that that's the their them then there there's these they this those
        through to too under until up us very want was we were what what's when where which while
        who why will with won't would you your yours""",
    )
)


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The Snowball stem of one lower-case word."""
    return str(_STEMMER.stemWord(word))


def stems(text: str) -> list[str]:
    """The stems of the words of `text` that carry meaning, in their order."""
    found = _WORD.findall(text.lower().replace("’", "'"))
    return [stem(word.removesuffix("'s")) for word in found if word not in _STOPWORDS]


def all_stems(text: str) -> list[str]:
    """The stems of every word of `text`, stopwords included."""
    return [stem(word) for word in _WORD.findall(text.lower().replace("’", "'"))]
