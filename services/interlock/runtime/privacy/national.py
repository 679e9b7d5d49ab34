"""Finding national identifiers: one look at the text for all of their forms, then the checks."""

import re
from collections import defaultdict
from collections.abc import Iterator

from interlock.runtime.privacy.national_ids import ANY_COUNTRY, NATIONAL_IDS, NationalId

_BEFORE, _AFTER = 60, 30
"""How far from a number a word counts, in characters."""

_OTHER_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " "})


class _Rule:
    """An identifier in one of its forms."""

    __slots__ = ("check", "kind", "words")

    def __init__(self, one: NationalId, alone: bool) -> None:
        self.kind = one.kind
        self.check = one.check
        words = re.compile(rf"(?<!\w)(?:{one.words}|{ANY_COUNTRY})(?!\w)", re.IGNORECASE)
        self.words = None if alone else words


def _rules() -> dict[str, list[_Rule]]:
    """The identifiers by form; those that need no word first."""
    rules: defaultdict[str, list[_Rule]] = defaultdict(list)
    for one in NATIONAL_IDS:
        for form in one.forms:
            alone = not form.endswith("?")
            rules[form.rstrip("?")].insert(0 if alone else len(NATIONAL_IDS), _Rule(one, alone))
    return dict(rules)


_RULES = _rules()


def _pattern(form: str) -> str:
    classes = {"9": "[0-9]", "A": "[A-Za-z]", " ": "[ \u00a0\u202f]"}
    return "".join(classes.get(c) or re.escape(c) for c in form)


# Six digits close together, or four between letters, are in every form, and in few texts.
_MAYBE = re.compile(r"[0-9](?:[^0-9]{0,2}[0-9]){5}|[A-Za-z][0-9]{4}[A-Za-z]")
_LONGEST_FIRST = sorted(_RULES, key=lambda form: (-len(form), form))
# The look ahead turns most words away by their first letters.
_CANDIDATE = re.compile(
    r"(?<![\w/-])(?<![0-9][.])(?=[A-Za-z]{0,6}[ -]?[0-9])(?:"
    + "|".join(map(_pattern, _LONGEST_FIRST))
    + r")(?!\w|[./-]\w)"
)
_PART_OF_MORE = re.compile(r"[0-9][ \u00a0\u202f]$"), re.compile(r"[ \u00a0\u202f][0-9]")


def _form(value: str) -> str:
    spaced = value.translate(_OTHER_SPACES)
    return "".join("9" if c.isdecimal() else "A" if c.isalpha() else c for c in spaced)


def national_ids(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and kind of the identifiers in `text`."""
    if not _MAYBE.search(text):
        return
    for match in _CANDIDATE.finditer(text):
        start, end = match.span()
        form = _form(match[0])
        if " " in form and (
            _PART_OF_MORE[0].search(text, max(0, start - 2), start)
            or _PART_OF_MORE[1].match(text, end)
        ):
            continue
        for rule in _RULES[form]:
            if rule.check(match[0]) and (
                rule.words is None
                or rule.words.search(text[max(0, start - _BEFORE) : end + _AFTER])
            ):
                yield start, end, rule.kind
                break
