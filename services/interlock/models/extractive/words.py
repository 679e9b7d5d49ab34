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


# Verbs and nouns that say little of what a question is about, where there are others.
_LIGHT = frozenset(
    stem(word)
    for word in re.findall(
        r"\S+",
        """able back become find give happen kind look mean now possible show something tell
        take thing work""",
    )
)

# What people say for it, as the words that help pages have for it.
_PHRASES = (
    (re.compile(r"(?i)\b(?:send|give|bring|take)(?: \w+)? back\b"), "return"),
    (re.compile(r"(?i)\bmoney back\b"), "refund"),
    (re.compile(r"(?i)\bcall(?: \w+)? off\b"), "cancel"),
    (re.compile(r"(?i)\bget in touch\b|\breach\b"), "contact"),
)

# Everyday words that mean about the same; each line is one meaning.
_MEANINGS = """
accept take
allow permit
annual yearly
begin start
broken damage defective faulty
buy purchase
call phone telephone
car vehicle
child kid
cost price fee charge
delete remove
deliver delivery dispatch ship shipping
email e-mail mail
employee staff worker
error failure
guarantee warranty
holiday leave vacation
ill illness sick sickness
limit maximum
refund reimburse repay
repair fix
retry try
"""


def _related() -> dict[str, frozenset[str]]:
    groups = [frozenset(stem(word) for word in line.split()) for line in _MEANINGS.split("\n")]
    return {one: group - {one} for group in groups for one in group}


_RELATED = _related()
_NONE: frozenset[str] = frozenset()


def related(term: str) -> frozenset[str]:
    """The stems of words that mean about the same as this stem; not itself."""
    return _RELATED.get(term, _NONE)


def asked_stems(question: str) -> list[str]:
    """The stems of what a question is about: light words only where there is nothing else."""
    for pattern, word in _PHRASES:
        question = pattern.sub(word, question)
    found = stems(question)
    return [one for one in found if one not in _LIGHT] or found
