"""Documents on the log: what the knowledge indexes are made of, and can be made of again."""

from typing import Self

from pydantic import Field, model_validator

from interlock_contracts.base import CleanText, Digest, Model, Name, Time, Token
from interlock_contracts.canonical import digest
from interlock_contracts.ids import event_id
from interlock_contracts.retrieval import Trust

DOCUMENT = "document"
"""The event. Its subjects name a document where those of other events name a request, and their
steps the version and the part: `<cell>.document.<tenant>.<key>.<version>-<part>`."""

MAX_PART_CHARS = 256_000
"""Longest text of one part, in characters: even if all of them need escapes or four bytes, the
event is smaller than `MAX_EVENT_BYTES`."""

MAX_PARTS = 32
"""Most parts of one version; all of them are written as one atomic batch."""

MAX_DOCUMENT_CHARS = MAX_PART_CHARS * MAX_PARTS
"""Longest text of a document, in characters."""

MAX_DOCUMENT_ID_CHARS = 117
"""Longest `<tenant>/<source>/<name>`: a passage's id adds eleven characters to it."""


class Document(Model):
    """What is known of one document, but for its text.

    `name` is unique within tenant and source. A reader needs all of `scopes`, and all of the
    source's. `trust` can only lower the source's. It is found from `valid_from` on, and no
    longer at `valid_until`; without them always. `language` is a BCP 47 tag.
    """

    tenant: Token
    source: Token
    name: Name
    title: CleanText = Field(default="", max_length=1_000)
    url: CleanText | None = Field(default=None, max_length=2_000)
    scopes: tuple[Token, ...] = Field(default=(), max_length=64)
    trust: Trust | None = None
    language: CleanText = Field(default="", max_length=35)
    valid_from: Time | None = None
    valid_until: Time | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.document_id) > MAX_DOCUMENT_ID_CHARS:
            raise ValueError(
                f"tenant, source and name have more than {MAX_DOCUMENT_ID_CHARS - 2} characters"
            )
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError("valid_until is not after valid_from")
        return self

    @property
    def document_id(self) -> str:
        """The id that citations, records and explanations name."""
        return f"{self.tenant}/{self.source}/{self.name}"

    @property
    def key(self) -> str:
        """The token that stands for the document in subjects."""
        return document_key(self.source, self.name)


class DocumentEvent(Document):
    """One version of a document, or one part of a long one; or its removal.

    `version` counts from 1 and gives each version a subject of its own; which one is the newest
    the order of the log decides. `digest` is over everything that is said of the document and
    its whole text; a removal has none, and no text. One with `erased` is the tombstone of an
    erasure: whatever is kept of earlier versions is destroyed, too.
    """

    version: int = Field(ge=1, le=2**31)
    part: int = Field(default=0, ge=0, lt=MAX_PARTS)
    parts: int = Field(default=1, ge=1, le=MAX_PARTS)
    removed: bool = False
    erased: bool = Field(default=False, exclude_if=lambda erased: not erased)
    digest: Digest | None
    text: CleanText = Field(default="", max_length=MAX_PART_CHARS)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.part >= self.parts:
            raise ValueError("there is no such part")
        if self.removed and (self.text or self.digest or self.parts > 1):
            raise ValueError("a removal has no text, no parts and no digest")
        if self.erased and not self.removed:
            raise ValueError("only a removal says that a document was erased")
        if not self.removed and self.digest is None:
            raise ValueError("a version needs its digest")
        return self

    @property
    def step(self) -> str:
        """The step of its subject."""
        return f"{self.version}-{self.part}"

    @property
    def document(self) -> Document:
        """What it says of the document."""
        return Document.model_construct(
            **{name: getattr(self, name) for name in Document.model_fields}
        )


def document_key(source: str, name: str) -> str:
    """A token of 26 characters that no other document of the tenant has."""
    return event_id("", DOCUMENT, source, name)


def document_digest(document: Document, text: str) -> str:
    """The identity of a version: over everything said of the document, and the text."""
    said = document.model_dump(mode="json", include=set(Document.model_fields))
    return digest({**said, "text": text})


def document_events(document: Document, text: str, version: int) -> list[DocumentEvent]:
    """The events of one version, to be written as one batch; `ValueError` if it is too long."""
    if len(text) > MAX_DOCUMENT_CHARS:
        raise ValueError(
            f"{len(text):,} characters of text; a document has at most {MAX_DOCUMENT_CHARS:,}"
        )
    pieces = [text[at : at + MAX_PART_CHARS] for at in range(0, len(text), MAX_PART_CHARS)] or [""]
    said = {name: getattr(document, name) for name in Document.model_fields}
    whole = document_digest(document, text)
    return [
        DocumentEvent(
            **said, version=version, part=part, parts=len(pieces), digest=whole, text=piece
        )
        for part, piece in enumerate(pieces)
    ]


def removal(document: Document, version: int, *, erased: bool = False) -> DocumentEvent:
    """The event that removes a document, or says that it is erased."""
    return DocumentEvent(
        tenant=document.tenant, source=document.source, name=document.name,
        version=version, removed=True, erased=erased, digest=None,
    )  # fmt: skip
