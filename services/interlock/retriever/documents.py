"""Documents as they are indexed, and the passages they are cut into.

They come from two places. A bundle's source may name a folder: `path: knowledge/{tenant}/help`
(relative to the bundle's) takes every file of a known format below `knowledge/<tenant>/help`,
for each tenant that has the folder. And the log has documents (`corpus`), which go before a
folder's of the same id.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field, ValidationError

from interlock.bundles.chunkers import ByHeadings
from interlock.bundles.knowledge import KnowledgeSource
from interlock.bundles.model import Bundle
from interlock.retriever.chunking import VERSION, chunker_of
from interlock.runtime.errors import UserError
from interlock.sdk.formats import SUFFIXES, Parsed, Unreadable, read_file
from interlock_contracts import documents as logged
from interlock_contracts.base import CleanText, Model, Name, Token
from interlock_contracts.canonical import digest, digest_bytes
from interlock_contracts.retrieval import Trust
from interlock_contracts.subjects import TOKEN

DEFAULT_CHUNKER = ByHeadings()

BEGINNING, END = 0, 2**62
"""From when until when a document without limits is valid, in microseconds since 1970."""


class Document(Model):
    """One document. `version` is the digest of all that is said of it; `scopes` are sorted.

    It is found from `valid_from` on and before `valid_until`, in microseconds since 1970.
    """

    document_id: Name = Field(max_length=logged.MAX_DOCUMENT_ID_CHARS)
    version: str
    tenant: Token
    source: Token
    trust: Trust
    scopes: tuple[Token, ...] = Field(max_length=128)
    title: CleanText
    url: CleanText | None
    text: CleanText
    valid_from: int = BEGINNING
    valid_until: int = END


@dataclass(frozen=True, slots=True)
class Passage:
    """One piece of a document, as it is indexed. `text` stands in the document verbatim.

    `digest` is over `text`. The id follows from the document and the text, so that it stays
    the same when other parts of the document change. `heading` is where the text stands;
    `usual_terms` is how long passages of its source usually are.
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
    valid_from: int = BEGINNING
    valid_until: int = END
    usual_terms: int = DEFAULT_CHUNKER.usual_terms

    @property
    def searchable(self) -> str:
        """What is embedded and indexed: the words around the text, too."""
        above = (part for part in (self.title, self.heading) if part and part not in self.text)
        return "\n".join((*above, self.text))


PASSAGE_FIELDS = tuple(one.name for one in fields(Passage))

passage_values: Callable[[Passage], tuple[Any, ...]] = attrgetter(*PASSAGE_FIELDS)
"""The values of a passage's fields; `dataclasses.astuple` copies each of them, ten times slower."""


def microseconds(moment: datetime) -> int:
    """A moment as the engines compare it: microseconds since 1970."""
    return round(moment.timestamp() * 1_000_000)


def indexed(about: logged.Document, version: str, text: str, source: KnowledgeSource) -> Document:
    """A document as its source has it: no more trusted, and read by no more people."""
    start, end = about.valid_from, about.valid_until
    trusted = source.trust is Trust.TRUSTED and about.trust is not Trust.UNTRUSTED
    return Document(
        document_id=about.document_id,
        version=version,
        tenant=about.tenant,
        source=about.source,
        trust=Trust.TRUSTED if trusted else Trust.UNTRUSTED,
        scopes=tuple(sorted({*source.scopes, *about.scopes})),
        title=about.title or about.name.rpartition("/")[2],
        url=about.url,
        text=text,
        valid_from=microseconds(start) if start else BEGINNING,
        valid_until=microseconds(end) if end else END,
    )


def load_passages(bundle: Bundle, root: Path) -> list[Passage]:
    """Every passage of every document in the folders of the bundle's sources, in a fixed order.

    `root` is the bundle's folder. Raises `UserError` for a source whose folder is missing, and
    for a document that cannot be read.
    """
    return list(passages_of(load_documents(bundle, root), bundle.sources))


def passages_of(
    documents: Iterable[Document], sources: Mapping[str, KnowledgeSource]
) -> Iterator[Passage]:
    """The passages of documents, each cut as its source says."""
    for document in documents:
        yield from cut(document, sources[document.source])


def load_documents(bundle: Bundle, root: Path) -> list[Document]:
    """Every document in the folders of the bundle's sources, ordered by id; raises `UserError`."""
    found: dict[str, Document] = {}
    for name, source in sorted(bundle.sources.items()):
        for tenant, folder in _folders(name, source, root):
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() not in SUFFIXES or not path.is_file():
                    continue
                if not path.resolve().is_relative_to(folder.resolve()):
                    raise UserError(f"{path}: leads out of the folder of source {name!r}")
                for document in _read(path, folder, tenant, name, source):
                    if document.document_id in found:
                        raise UserError(f"{path}: there is another {document.document_id!r}")
                    found[document.document_id] = document
    return [found[document_id] for document_id in sorted(found)]


def _folders(name: str, source: KnowledgeSource, root: Path) -> Iterator[tuple[str, Path]]:
    """The folder of each tenant that has one."""
    if source.path is None:
        return
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
        raise UserError(
            f"source {name!r}: there is no folder {above}; documents do not travel with a bundle. "
            "Bring the folder to where the retriever runs, or put them on the log (interlock "
            "ingest) and take the path out of the source"
        )
    for entry in sorted(above.iterdir()):
        folder = entry.joinpath(*parts[place + 1 :])
        if folder.is_dir():
            if not TOKEN.fullmatch(entry.name):
                raise UserError(f"{entry}: {entry.name!r} is no tenant ([A-Za-z0-9_-]{{1,64}})")
            yield entry.name, folder


def _read(
    path: Path, folder: Path, tenant: str, name: str, source: KnowledgeSource
) -> Iterator[Document]:
    inner = path.relative_to(folder).with_suffix("").as_posix()
    try:
        for one in read_file(path):
            yield _document(one, tenant, name, inner, source)
    except Unreadable as error:
        raise UserError(f"{path}: {error}") from None
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, detail["loc"]))
        raise UserError(f"{path}: {where}: {detail['msg']}") from None


def _document(
    parsed: Parsed | Unreadable, tenant: str, name: str, inner: str, source: KnowledgeSource
) -> Document:
    if isinstance(parsed, Unreadable):
        raise parsed
    said = {key: getattr(parsed.about, key) for key in type(parsed.about).model_fields}
    about = logged.Document(tenant=tenant, source=name, name=parsed.name or inner, **said)
    return indexed(about, logged.document_digest(about, parsed.text), parsed.text, source)


def chunker_identity(source: KnowledgeSource) -> str:
    """What the passages of a document depend on beside the document itself."""
    spec = source.chunker or DEFAULT_CHUNKER
    return digest(
        {
            "version": VERSION,
            "chunker": spec.model_dump(mode="json"),
            "scopes": sorted(source.scopes),
            "trust": source.trust.value,
        }
    )


def cut(document: Document, source: KnowledgeSource | None = None) -> Iterator[Passage]:
    """Cut a document into passages as its source says, or by the default chunker.

    A text that a document repeats word for word is one passage.
    """
    spec = (source and source.chunker) or DEFAULT_CHUNKER
    chunker = chunker_of(spec)
    seen: set[str] = set()
    for start, end, heading in chunker(document.text):
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
            valid_from=document.valid_from,
            valid_until=document.valid_until,
            usual_terms=spec.usual_terms,
        )
