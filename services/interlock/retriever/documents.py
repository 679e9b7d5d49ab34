"""Documents: Markdown files with front matter, cut into passages with stable ids.

A bundle's source says where its documents lie and who may read them:
`path: knowledge/{tenant}/public_help` (relative to the bundle's folder) takes every `*.md`
below `knowledge/<tenant>/public_help`, for each tenant that has the folder. A document may
start with front matter between two lines `---` (YAML: `title`, `url`, `scopes`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from interlock.bundles.model import Bundle, KnowledgeSource
from interlock.runtime.errors import UserError
from interlock_contracts.base import CleanText, Model, Name, Token
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Trust
from interlock_contracts.subjects import TOKEN

MAX_CHARS = 1_200
"""A passage is cut before it grows longer than this."""

MIN_CHARS = 200
"""A passage shorter than this goes on over the next heading."""

CHUNKER = f"headings-1/{MIN_CHARS}-{MAX_CHARS}"
"""Part of the identity of an index: change it whenever the same text is cut differently."""

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"(#{1,6})[ \t]+(.+?)[ \t]*#*\s*\Z")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")


class FrontMatter(Model):
    """What a document says of itself. A reader needs all of `scopes`, and the source's."""

    title: CleanText = ""
    url: CleanText | None = None
    scopes: tuple[Token, ...] = ()


class Document(Model):
    """One document. `version` is the digest of the file's bytes; `scopes` are sorted.

    The id leaves room for the eleven characters that make it a passage's.
    """

    document_id: Name = Field(max_length=117)
    version: str
    tenant: Token
    source: Token
    trust: Trust
    scopes: tuple[Token, ...] = Field(max_length=64)
    title: CleanText
    url: CleanText | None
    text: CleanText


@dataclass(frozen=True, slots=True)
class Passage:
    """One piece of a document, as it is indexed. `text` stands in the document verbatim.

    `digest` is over `text`. The id follows from the document and the text, so that it stays
    the same when other parts of the document change. `heading` is where the text stands.
    """

    chunk_id: str
    document_id: str
    version: str
    digest: str
    tenant: str
    source: str
    trust: str
    scopes: tuple[str, ...]
    title: str
    url: str | None
    heading: str
    text: str

    @property
    def searchable(self) -> str:
        """What is embedded and indexed: the words around the text, too."""
        above = (part for part in (self.title, self.heading) if part and part not in self.text)
        return "\n".join((*above, self.text))


def load_passages(bundle: Bundle, root: Path) -> list[Passage]:
    """Every passage of every document of the bundle's sources, in a fixed order.

    `root` is the bundle's folder. Raises `UserError` for a source without a folder, and for a
    document that cannot be read.
    """
    return [passage for document in load_documents(bundle, root) for passage in cut(document)]


def load_documents(bundle: Bundle, root: Path) -> list[Document]:
    """Every document of the bundle's sources, ordered by id; raises `UserError`."""
    found: dict[str, Document] = {}
    for name, source in sorted(bundle.sources.items()):
        for tenant, folder in _folders(name, source, root):
            for path in sorted(folder.rglob("*.md")):
                document_id = f"{tenant}/{name}/{path.relative_to(folder).with_suffix('')}"
                if not path.resolve().is_relative_to(folder.resolve()):
                    raise UserError(f"{path}: leads out of the folder of source {name!r}")
                found[document_id] = _read(path, document_id, tenant, name, source)
    return [found[document_id] for document_id in sorted(found)]


def _folders(name: str, source: KnowledgeSource, root: Path) -> Iterator[tuple[str, Path]]:
    """The folder of each tenant that has one."""
    pattern = PurePosixPath(source.path)
    parts = pattern.parts
    if parts.count("{tenant}") != 1 or pattern.is_absolute() or ".." in parts:
        raise UserError(
            f"source {name!r}: the path {source.path!r} must be relative and have one part "
            "{tenant}, as in knowledge/{tenant}/public_help"
        )
    place = parts.index("{tenant}")
    above = root.joinpath(*parts[:place])
    if not above.is_dir():
        raise UserError(f"source {name!r}: there is no folder {above}")
    for entry in sorted(above.iterdir()):
        folder = entry.joinpath(*parts[place + 1 :])
        if folder.is_dir():
            if not TOKEN.fullmatch(entry.name):
                raise UserError(f"{entry}: {entry.name!r} is no tenant ([A-Za-z0-9_-]{{1,64}})")
            yield entry.name, folder


def _read(
    path: Path, document_id: str, tenant: str, name: str, source: KnowledgeSource
) -> Document:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        front, body = _split(text)
        return Document(
            document_id=document_id,
            version=digest_bytes(data),
            tenant=tenant,
            source=name,
            trust=source.trust,
            scopes=tuple(sorted({*source.scopes, *front.scopes})),
            title=front.title or _first_heading(body) or path.stem,
            url=front.url,
            text=body,
        )
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, detail["loc"]))
        raise UserError(f"{path}: {where}: {detail['msg']}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None


def _split(text: str) -> tuple[FrontMatter, str]:
    found = _FRONT_MATTER.match(text)
    if found is None:
        return FrontMatter(), text
    fields = yaml.safe_load(found.group(1)) or {}
    # YAML knows lists, not tuples: what is strict elsewhere may be converted here.
    return _FRONT.validate_python(fields, strict=False), text[found.end() :]


_FRONT: TypeAdapter[FrontMatter] = TypeAdapter(FrontMatter)


def _first_heading(body: str) -> str:
    for line in body.splitlines():
        found = _HEADING.match(line)
        if found:
            return found.group(2)
    return ""


def cut(document: Document) -> Iterator[Passage]:
    """Cut a document into passages of about `MAX_CHARS` characters at most.

    A heading starts a new passage unless the one before is still shorter than `MIN_CHARS`.
    Too long a section is cut between paragraphs, too long a paragraph between sentences. A
    text that a document repeats word for word is one passage. A heading stays with its text.
    """
    seen: set[str] = set()
    for start, end, heading in _spans(document.text):
        text = document.text[start:end].strip()
        if not text or text in seen:
            continue
        seen.add(text)
        own = digest_bytes(text.encode())
        yield Passage(
            chunk_id=f"{document.document_id}#{own[7:17]}",
            document_id=document.document_id,
            version=document.version,
            digest=own,
            tenant=document.tenant,
            source=document.source,
            trust=document.trust.value,
            scopes=document.scopes,
            title=document.title,
            url=document.url,
            heading=heading,
            text=text,
        )


def _spans(text: str) -> Iterator[tuple[int, int, str]]:
    """The passages as (start, end, headings above the start)."""
    start, end, heading, has_body = 0, 0, "", False
    path: dict[int, str] = {}
    for block_start, block_end, level, title in _blocks(text):
        if level and has_body and end - start >= MIN_CHARS:
            yield start, end, heading
            start, end, has_body = block_start, block_start, False
        if level:
            path = {depth: above for depth, above in path.items() if depth < level}
            path[level] = title
        for piece_start, piece_end in _pieces(text, block_start, block_end):
            if has_body and piece_end - start > MAX_CHARS:
                yield start, end, heading
                start, has_body = piece_start, False
            if not has_body:
                heading = " › ".join(path.values())
            has_body = has_body or not level
            end = piece_end
    if text[start:end].strip():
        yield start, end, heading


def _blocks(text: str) -> Iterator[tuple[int, int, int, str]]:
    """Headings and paragraphs (a fenced block counts as one): (start, end, level, title)."""
    start = position = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        heading = None if fence else _HEADING.match(line)
        if heading or (not fence and not line.strip()):
            if text[start:position].strip():
                yield start, position, 0, ""
            start = position
            if heading:
                start += len(line)
                yield position, start, len(heading.group(1)), heading.group(2)
        elif mark:
            fence = "" if fence == mark.group(1) else fence or mark.group(1)
        position += len(line)
    if text[start:].strip():
        yield start, len(text), 0, ""


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A block whole, or where it is too long, cut after a sentence (or, at worst, anywhere)."""
    while end - start > MAX_CHARS:
        stops = [m.end() for m in _SENTENCE_END.finditer(text, start + 1, start + MAX_CHARS)]
        stop = stops[-1] if stops else start + MAX_CHARS
        yield start, stop
        start = stop
    yield start, end
