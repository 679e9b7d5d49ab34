"""HTML as text with Markdown headings, lists and rows; what frames a page is left out."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from interlock.sdk.formats.about import About, Parsed, Unreadable
from interlock.sdk.formats.text import decoded
from interlock_contracts.base import cleaned

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

MAX_HTML_BYTES = 16 * 1024 * 1024
"""A parsed page takes up to a hundred times its size."""

MAX_DEPTH = 20_000
"""Elements within each other; the parser's time grows with the square of them."""

_TAG = re.compile(rb"<(/?)([A-Za-z][A-Za-z0-9-]*)")
_UNCLOSED = frozenset(
    b"p li dt dd tr td th option br hr img input link meta col source wbr area base embed param "
    b"track".split()
)
"""What holds nothing, or is closed by the next of its kind."""

_CHARSET = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]+)""", re.IGNORECASE)
_SKIPPED = frozenset(
    {"script", "style", "noscript", "template", "svg", "head", "nav", "footer", "aside", "form",
     "iframe", "button", "select", "dialog"}
)  # fmt: skip
_BLOCKS = frozenset(
    {"p", "div", "section", "article", "main", "header", "ul", "ol", "table", "blockquote", "dl",
     "dt", "dd", "figure", "figcaption", "address", "details", "summary", "hr"}
)  # fmt: skip
_UNSEEN = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" *\n *")
_GAPS = re.compile(r"\n{3,}")


def html(data: bytes, encoding: str | None) -> Iterator[Parsed]:
    """One page: its `main` or `article` where it has one, else all of its body."""
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError:
        raise Unreadable("HTML wants the extra: pip install 'interlock[ingest]'") from None
    if len(data) > MAX_HTML_BYTES:
        raise Unreadable(f"a page of more than {MAX_HTML_BYTES // 2**20} MiB")
    if _depth(data) > MAX_DEPTH:
        raise Unreadable(f"a page with more than {MAX_DEPTH:,} elements within each other")
    stated = _CHARSET.search(data[:4096])
    page = LexborHTMLParser(decoded(data, encoding or (stated[1].decode() if stated else None)))
    root = page.css_first("main") or page.css_first("article") or page.body
    if root is None:
        raise Unreadable("there is no body in it")
    title = page.css_first("title") or page.css_first("h1")
    canonical = page.css_first("link[rel=canonical]")
    language = page.root.attributes.get("lang") if page.root else None
    yield Parsed(
        tidy("".join(_parts(root))),
        About(
            title=" ".join(tidy(title.text()).split()) if title else "",
            url=(canonical.attributes.get("href") if canonical else None) or None,
            language=language or "",
        ),
    )


def _depth(data: bytes) -> int:
    """How many elements are open at once, about."""
    depth = deepest = 0
    for closing, name in _TAG.findall(data):
        if name.lower() not in _UNCLOSED:
            depth = max(depth - 1, 0) if closing else depth + 1
            deepest = max(deepest, depth)
    return deepest


def tidy(text: str) -> str:
    """Without control characters, blanks in a row, and more than one empty line."""
    text = _BLANKS.sub(" ", cleaned(text.replace("\r\n", "\n")))
    return _GAPS.sub("\n\n", _LINES.sub("\n", text)).strip() + "\n"


def _parts(node: "LexborNode") -> Iterator[str]:
    """The text of a node in pieces; iterative, since pages nest as deep as they like."""
    stack: list[LexborNode | str] = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            yield one
            continue
        tag = one.tag
        # A script may show a page that was hidden while it was made; a part of it stays hidden.
        if tag in _SKIPPED or (one is not node and _is_hidden(one)):
            continue
        if tag == "-text":
            yield " ".join(one.text_content.split("\n")) if one.text_content else ""
        elif tag == "br":
            yield "\n"
        elif tag == "pre":
            yield f"\n\n```\n{one.text()}\n```\n\n"
        else:
            before, after = _around(tag or "")
            children = list(one.iter(include_text=True))
            stack += [after, *reversed(children), before]


def _is_hidden(node: "LexborNode") -> bool:
    """Whether the page itself says that nobody sees this."""
    said = node.attributes
    return "hidden" in said or _UNSEEN.search(said.get("style") or "") is not None


def _around(tag: str) -> tuple[str, str]:
    if tag in _HEADINGS:
        return f"\n\n{_HEADINGS[tag]} ", "\n\n"
    if tag in _BLOCKS:
        return "\n\n", "\n\n"
    if tag == "li":
        return "\n- ", "\n"
    if tag == "tr":
        return "\n", "\n"
    if tag in ("td", "th"):
        return "", " | "
    return "", ""
