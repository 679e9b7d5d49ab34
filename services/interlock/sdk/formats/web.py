"""HTML as text with Markdown headings, lists and rows; what frames a page is left out."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from interlock.sdk.formats.about import About, Parsed, Unreadable
from interlock.sdk.formats.text import decoded

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

MAX_HTML_BYTES = 16 * 1024 * 1024
"""A parsed page takes up to a hundred times its size."""

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
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
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


def tidy(text: str) -> str:
    """Without control characters, blanks in a row, and more than one empty line."""
    text = _BLANKS.sub(" ", _CONTROL.sub(" ", text.replace("\r\n", "\n")))
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
