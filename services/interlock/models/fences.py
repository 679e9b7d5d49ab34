"""Fences: how content of others is marked in a prompt, so that it cannot pass for the prompt.

    {{ chunk.text | fence("source", handle=chunk.handle, trust=chunk.trust.value) }}

The mark in both tags is a digest of the content between them. Content cannot hold its own digest,
and so it cannot close the fence and go on as somebody else. Its words are left as they are: a
quote of them stays verbatim.
"""

from functools import lru_cache
from hashlib import sha256
from html import escape

from interlock_contracts.canonical import canonical_json

MARK_CHARS = 12


@lru_cache(maxsize=1_024)
def _mark(text: str) -> str:
    """The digest of a text; kept, because the same chunks come again."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:MARK_CHARS]


def fence(content: object, kind: str, **attributes: object) -> str:
    """`content` between two tags of `kind` that share a mark.

    What is no text is written as canonical JSON: the form in which the gate looks for quotes.
    """
    text = content if isinstance(content, str) else canonical_json(content).decode()
    mark = _mark(text)
    told = "".join(f' {name}="{escape(str(value))}"' for name, value in attributes.items())
    return f"<{kind} id={mark}{told}>\n{text}\n</{kind} id={mark}>"
