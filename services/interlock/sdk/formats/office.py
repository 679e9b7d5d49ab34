"""PDF and DOCX."""

import io
import logging
import re
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from interlock.sdk.formats.about import About, Parsed, Unreadable
from interlock.sdk.formats.text import first_heading
from interlock.sdk.formats.web import tidy

if TYPE_CHECKING:
    from docx.document import Document as DocxDocument
    from docx.table import Table
    from docx.text.paragraph import Paragraph
    from pypdf import PdfReader

MAX_UNPACKED = 512 * 1024 * 1024
"""A DOCX that unpacks to more is refused: it is a small file made to fill a machine."""

MAX_TEXT = 64 * 1024 * 1024
"""Most of it that may be packed to less than half, as XML is and pictures are not: once parsed, an
element of four bytes takes some 130."""

MAX_PAGES = 5_000

_EXTRA = "wants the extra: pip install 'interlock[ingest]'"
_HYPHEN = re.compile(r"(?<=[a-zß-ÿ])-\n(?=[a-zß-ÿ])")
_HEADING = re.compile(r"heading (\d)")


def pdf(data: bytes, _: str | None) -> Iterator[Parsed]:
    """The text of each page; words that a line break has cut are joined again."""
    try:
        from pypdf import PdfReader
    except ImportError:
        raise Unreadable(f"PDF {_EXTRA}") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it mends what it can, aloud
    try:
        text, title = _pdf_text(PdfReader(io.BytesIO(data)))
    except Unreadable:
        raise
    except Exception as error:  # a broken file breaks the parser in whatever way it likes
        raise Unreadable(f"a broken PDF ({type(error).__name__})") from None
    if not text.strip():
        raise Unreadable("no page holds text: a scan wants character recognition first")
    yield Parsed(_HYPHEN.sub("", text), About(title=" ".join(tidy(title).split())))


def _pdf_text(reader: "PdfReader") -> tuple[str, str]:
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("it is protected by a password")
    if len(reader.pages) > MAX_PAGES:
        raise Unreadable(f"{len(reader.pages):,} pages; at most {MAX_PAGES:,} are read")
    title = reader.metadata.title if reader.metadata else None
    return tidy("\n\n".join(page.extract_text() for page in reader.pages)), title or ""


def docx(data: bytes, _: str | None) -> Iterator[Parsed]:
    """Paragraphs and tables in their order; headings and list items by their styles."""
    try:
        from docx import Document
    except ImportError:
        raise Unreadable(f"DOCX {_EXTRA}") from None
    try:
        _check_size(data)
        document = Document(io.BytesIO(data))
        parts = [_block(part) for part in document.iter_inner_content()]
        title, language = _properties(document)
    except Unreadable:
        raise
    except Exception as error:  # a password makes it no zip file at all
        raise Unreadable(
            f"a broken DOCX, or one with a password ({type(error).__name__})"
        ) from None
    text = tidy("\n\n".join(parts))
    yield Parsed(text, About(title=_title(title, text), language=language))


def _properties(document: "DocxDocument") -> tuple[str, str]:
    """Title and language; of a file without properties python-docx makes up a title."""
    from docx.opc.constants import RELATIONSHIP_TYPE

    kinds = {one.reltype for one in document.part.package.rels.values()}
    if RELATIONSHIP_TYPE.CORE_PROPERTIES not in kinds:
        return "", ""
    return document.core_properties.title or "", document.core_properties.language or ""


def _title(stated: str, text: str) -> str:
    """The stated title on one line, else the first heading."""
    return " ".join(tidy(stated).split()) or first_heading(text)


def _check_size(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        entries = packed.infolist()
    text = (one for one in entries if one.file_size > 2 * one.compress_size)
    for what, most, some in (("", MAX_UNPACKED, entries), (" of text", MAX_TEXT, text)):
        if sum(one.file_size for one in some) > most:
            raise Unreadable(f"it unpacks to more than {most // 2**20} MiB{what}")


def _block(part: "Paragraph | Table | Any") -> str:
    if hasattr(part, "rows"):
        rows = (" | ".join(" ".join(cell.text.split()) for cell in row.cells) for row in part.rows)
        return "\n".join(rows)
    style = (part.style.name or "").lower() if part.style is not None else ""
    heading = _HEADING.match(style)
    if heading:
        return f"{'#' * min(int(heading[1]), 6)} {part.text}"
    if style == "title":
        return f"# {part.text}"
    return f"- {part.text}" if style.startswith("list") else str(part.text)
