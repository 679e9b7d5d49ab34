"""Names by their shape: capitalised words that are no ordinary words of the text."""

import re
from collections.abc import Iterator

from interlock.runtime.privacy.words import common_words

_TOKEN = re.compile(r"[^\W_][\w'’.-]*")
_SENTENCE_END = re.compile(r"[.!?:\n\"“]\s*$")
_MAX_GAP = 2


def proper_names(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of runs of capitalised words, most of which name somebody or some place."""
    run: tuple[int, int] | None = None
    for match in _TOKEN.finditer(text):
        word = match[0].rstrip(".'’-")
        for ending in ("'s", "’s"):
            word = word.removesuffix(ending)
        start, end = match.start(), match.start() + len(word)
        if not _is_name(word):
            if run:
                yield run
            run = None
        elif run and text[run[1] : start].strip(".") in (" ", "") and start - run[1] <= _MAX_GAP:
            run = (run[0], end)
        else:
            if run:
                yield run
            run = (start, end)
    if run:
        yield run


def _is_name(word: str) -> bool:
    if not word or not word[0].isupper() or any(c.isdigit() for c in word):
        return False
    return word.split("'")[0].split("’")[0].lower() not in common_words()
