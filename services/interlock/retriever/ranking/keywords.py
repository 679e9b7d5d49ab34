"""BM25 by our own weights: the same terms and the same scores on every engine.

The weight of a term in a passage is computed here and stored as a sparse vector; that of a
query's term is its inverse document frequency over what the reader may read (`vocabulary`).
The engine multiplies and adds up. Formula and constants: Robertson and Zaragoza, "The
Probabilistic Relevance Framework: BM25 and Beyond" (2009), k1 = 1.2, b = 0.75. English only,
so far.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import snowballstemmer  # type: ignore[import-untyped]  # ships no types

K1 = 1.2
B = 0.75

TOKENIZER = "english-1"
"""Part of the identity of an index: change it whenever the same text gives other terms."""

# Words of letters and digits; with what joins them inside an identifier, a number, an address.
_WORD = re.compile(r"\w+(?:(?:[-./:@#'’&+]|(?<=\d),(?=\d))\w+)*")
_SIMPLE = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_PART = re.compile(r"[^\W_]+")
_DIGIT = re.compile(r"\d")
_POSSESSIVE = re.compile(r"['’]s?\Z")

_STOPWORDS = """
    a about above after again all also am an and any are as at be because been before being
    below between both but by can could did do does doing down during each few for from further
    had has have having he her here hers herself him himself his how i if in into is it its
    itself just me more most my myself no nor not of off on once only or other our ours
    ourselves out over own please same she should so some such than that the their theirs them
    themselves then there these they this those through to too under until up us very was we
    were what when where which while who whom why will with would you your yours yourself
    yourselves i'm i've i'd i'll it's don't can't didn't doesn't isn't won't
"""
STOPWORDS = frozenset(_STOPWORDS.split())

_STEMMER = snowballstemmer.stemmer("english")


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    return str(_STEMMER.stemWord(word))


@lru_cache(maxsize=65_536)
def term_index(term: str) -> int:
    """The dimension of a term in the sparse vectors: 32 bits of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest())


def terms(text: str) -> list[str]:
    """The terms of a text, in order: lower case, stemmed, without stopwords.

    A word with a digit in it (an order number, a version, an amount) is kept whole and as it
    is. A compound without one (`self-service`) gives itself and its parts.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        if word.isalpha():
            if word not in STOPWORDS:
                found.append(_stem(word))
        elif _DIGIT.search(word):
            found.append(word)
        elif word not in STOPWORDS:
            found.extend(_compound(word))
    return found


def words(text: str) -> Iterator[tuple[str, str]]:
    """The words of a text as written, each with its term; compounds in parts, stopwords with ""."""
    for word in _SIMPLE.findall(text):
        small = word.lower()
        if small in STOPWORDS:
            yield word, ""
        elif _DIGIT.search(small):
            yield word, small
        else:
            yield word, _stem(_POSSESSIVE.sub("", small))


def _compound(word: str) -> list[str]:
    whole = _POSSESSIVE.sub("", word)
    parts = [part for part in _PART.findall(whole) if part not in STOPWORDS and len(part) > 1]
    if whole.isalpha():
        return [_stem(whole)] if whole not in STOPWORDS else []
    return [whole, *map(_stem, parts)]


@lru_cache(maxsize=4_096)
def counts_kept(text: str) -> tuple[Mapping[str, int], int]:
    """How often each term occurs, and how many there are: of a text met again and again."""
    own = terms(text)
    return Counter(own), len(own)


def passage_weights(of: Sequence[str], usual: float) -> dict[int, float]:
    """The sparse vector of a passage: for each of its terms tf·(k1+1) / (tf + k1·norm).

    `usual` is the number of terms that its length is compared with. BM25 takes the mean of the
    passages it competes with, which moves with every one of them; ours follows from how the
    source is cut (`ChunkerSpec.usual_terms`), so that a passage's weights are its own.
    """
    norm = K1 * (1 - B + B * len(of) / usual)
    weights: dict[int, float] = {}
    for term, count in Counter(of).items():
        dimension = term_index(term)
        # Two terms on one dimension (one pair in a hundred thousand terms) count as one.
        weights[dimension] = weights.get(dimension, 0.0) + count * (K1 + 1) / (count + norm)
    return weights


def query_weights(of: Sequence[str]) -> dict[int, float]:
    """The sparse vector of a query: how often each of its terms occurs in it."""
    return {term_index(term): float(count) for term, count in Counter(of).items()}
