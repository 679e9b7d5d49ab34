"""Text as the checks compare it and show it."""

import json
import re
from collections.abc import Iterable
from typing import Any

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»″", '"') | dict.fromkeys("‘’‚‛‹›′", "'"))

MOST_VALUES = 512
"""Values one call may have; each is looked for in everything that was said and retrieved."""


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join(
        # A plain name or index is by far the most common, and needs nothing done to it.
        f"/{part}"
        if isinstance(part, int) or (part.isascii() and part.isidentifier())
        else "/" + clean(part.replace("~", "~0").replace("/", "~1"))
        for part in parts
    )


def clean(text: str) -> str:
    """Without the characters that no contract's text may have; they become �."""
    return _FORBIDDEN.sub("�", text)


def shown(value: Any, limit: int = 120) -> str:
    """A value as evidence for a person: one line, at most `limit` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = clean(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def plain(text: str) -> str:
    """With single spaces and straight quotes, the only liberties a verbatim quote has."""
    straight = text if text.isascii() else text.translate(_QUOTES)
    return " ".join(straight.split())


def leaves(
    value: Any, path: tuple[str | int, ...] = ()
) -> Iterable[tuple[tuple[str | int, ...], Any]]:
    """Every value in a JSON value that is no container, or an empty one, with its path."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list | tuple) and value:
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value
