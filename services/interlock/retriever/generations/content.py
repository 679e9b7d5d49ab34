"""What an index is to hold: the versions of documents, each said in one line.

A line names everything of a version that its passages, their vectors and weights depend on
beside the embedder; so equal lines need no work, and the lines of all documents with how an index
is made are its identity. Nothing about one document depends on another one.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from interlock.retriever import chunking
from interlock.retriever.documents import Passage, passage_values
from interlock.retriever.engines.index import LAYOUT
from interlock.retriever.ranking import keywords
from interlock.runtime.errors import RetryLater
from interlock_contracts.canonical import digest, digest_bytes
from interlock_contracts.failures import FailureCode

KEY_CHARS = 16
"""Hex digits of a version's key: 64 bits, of which only those of one document must differ."""

Lines = Mapping[str, str]
"""The versions of documents, by their ids."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a document, as its line has it. `passages` are their ids, in order."""

    key: str
    tenant: str
    source: str
    scopes: tuple[str, ...]
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """Documents by id, and how to read their `passages`.

    These are as the lines say, or `RetryLater` is raised: documents change while they are read.
    """

    lines: Lines
    read: Callable[[Sequence[str]], Iterable[Sequence[Passage]]]

    @classmethod
    def of(cls, passages: Iterable[Passage]) -> "Content":
        """Of passages that are at hand."""
        documents = by_document(passages)
        lines = {name: line_of(own) for name, own in documents.items()}
        return cls(lines, lambda names: (documents[name] for name in names))

    def passages(self, names: Collection[str]) -> list[Passage]:
        """The passages of these documents, in the order of the documents' ids."""
        found: list[Passage] = []
        ordered = sorted(names)
        for name, own in zip(ordered, self.read(ordered), strict=True):
            if not own or line_of(own) != self.lines[name]:
                raise RetryLater(FailureCode.STAGE_FAILED, "documents changed as they were read")
            found += own
        return found


def by_document(passages: Iterable[Passage]) -> dict[str, list[Passage]]:
    """Passages by the id of their document."""
    documents: dict[str, list[Passage]] = defaultdict(list)
    for one in passages:
        documents[one.document_id].append(one)
    return dict(documents)


def line_of(passages: Sequence[Passage]) -> str:
    """The line of a document with these passages, which are not none."""
    first, cut = passages[0], len(passages[0].document_id)
    values = json.dumps(list(map(passage_values, passages)), ensure_ascii=False)
    key = digest_bytes(values.encode())[7 : 7 + KEY_CHARS]
    rest = [first.tenant, first.source, first.scopes, [one.chunk_id[cut:] for one in passages]]
    return f"{key} {len(passages)} {json.dumps(rest, ensure_ascii=False, separators=(',', ':'))}"


def key_of(line: str) -> str:
    """The key of a line's version."""
    return line[:KEY_CHARS]


def rows_of(lines: Iterable[str]) -> int:
    """How many passages documents with these lines have."""
    return sum(int(line.split(" ", 2)[1]) for line in lines)


def version_of(document_id: str, line: str) -> Version:
    """The version that a line says."""
    tenant, source, scopes, ends = json.loads(line.split(" ", 2)[2])
    names = tuple(f"{document_id}{end}" for end in ends)
    return Version(key_of(line), tenant, source, tuple(scopes), names)


def making(embedder: str) -> str:
    """The digest of how an index is made by this embedder: of another one nothing can be used."""
    return digest(
        {
            "layout": LAYOUT,
            "embedder": embedder,
            "chunker": chunking.VERSION,
            "keywords": [keywords.TOKENIZER, keywords.K1, keywords.B],
        }
    )


def identity_of(embedder: str, lines: Lines) -> str:
    """The identity of an index: how it was made, and of what.

    How its documents were cut is in their lines: other cuts are other passages.
    """
    content = hashlib.sha256()
    for name in sorted(lines):
        content.update(f"{name} {lines[name]}\n".encode())
    return digest({"making": making(embedder), "content": content.hexdigest()})
