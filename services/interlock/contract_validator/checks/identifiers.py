"""Identifiers in text: addresses, accounts, telephone numbers; what directs an action."""

import re
from typing import Any

# Bounded as names are (RFC 1035, RFC 5321): without bounds a long text costs its length squared.
_KINDS = {
    "email": r"[\w.+-]{1,64}@\w[\w-]*(?:\.\w[\w-]*)+",
    "url": r"(?:https?://|www\.)[^\s<>\"'()]+|(?<![\w@.])\w[\w-]{0,62}(?:\.[\w-]{1,63}){0,126}\.(?:com|net|org|io|info|dev|co|ai|app|eu|ch|de|uk|us)(?:/[^\s<>\"'()]*)?(?!\w)",
    "account": r"\b[A-Z]{2}\d{2}[ ]?(?:[A-Z0-9]{4}[ ]?){2,7}[A-Z0-9]{0,4}\b|\b[A-Z]{2}\d{10,32}\b",
    "phone": r"(?<![\w.,-])\+?\d[\d ()/-]{7,16}\d(?![\w-])",
}
ALL_KINDS = frozenset(_KINDS)

_ANY = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _KINDS.items()))
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[/-]\d{1,2}[/-]\d{2,4}")
_MOST = 32
"""Identifiers of one text that are looked at."""


def identifiers(text: str) -> list[tuple[str, str]]:
    """Each identifier in the text as (kind, as written), in order; at most `_MOST`."""
    found = []
    for match in _ANY.finditer(text):
        written = match.group().rstrip(".,;:!?* ")
        kind = match.lastgroup or ""
        if written and not (kind == "phone" and _DATE.fullmatch(written)):
            found.append((kind, written))
        if len(found) >= _MOST:
            break
    return found


def kinds_in(text: str) -> set[str]:
    """The kinds of identifiers that stand in the text."""
    return {kind for kind, _ in identifiers(text)}


def kind_of(value: Any) -> str | None:
    """The kind of identifier the whole value is, or None."""
    if not isinstance(value, str) or not 4 <= len(value) <= 200:
        return None
    if not ("." in value or sum(map(str.isdigit, value)) >= 8):
        return None  # every kind has one or the other
    found = identifiers(value)
    return found[0][0] if len(found) == 1 and found[0][1] == value.strip() else None
