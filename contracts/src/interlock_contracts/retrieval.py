"""What the retriever found, and the record that makes it auditable."""

from enum import StrEnum

from pydantic import Field

from interlock_contracts.base import CleanText, Digest, Model, Name, Score, Token, is_empty
from interlock_contracts.signals import Signal


class Trust(StrEnum):
    """How far the words of a source may be relied on when an action is decided."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


class Chunk(Model):
    """One retrieved passage. `handle` (`c1`, `c2`, …) is valid within this request only.

    `digest` is over `text`; `version` is the digest of the document it was cut from.
    `scopes` are those a principal must hold, all of them, to read it.
    """

    handle: Token
    chunk_id: Name
    document_id: Name
    version: Digest
    digest: Digest
    source: Token
    tenant: Token
    scopes: tuple[Token, ...] = ()
    trust: Trust = Trust.UNTRUSTED
    title: CleanText = ""
    url: CleanText | None = None
    text: CleanText
    score: Score


class Hit(Model):
    """One row of a ranked list: higher scores are better."""

    chunk_id: Name
    score: Score


class Ranking(Model):
    """One ranked list, best first, by the name of the step that made it."""

    step: Token
    hits: tuple[Hit, ...]


class Dropped(Model):
    """A candidate that did not reach the context, and why."""

    chunk_id: Name
    reason: CleanText


class RetrievalOutcome(StrEnum):
    """How a retrieval ended; the failures are told apart."""

    FOUND = "found"
    NOTHING_INDEXED = "nothing_indexed"
    FILTERED_OUT = "filtered_out"
    NOT_RETRIEVED = "not_retrieved"
    RANKED_OUT = "ranked_out"
    NOT_NEEDED = "not_needed"


class RetrievalRecord(Model):
    """Everything needed to see, and to repeat, how the context came about.

    `index` is the identity of the index (embedder, chunker, parameters, content). `timings` are
    milliseconds by step. `outside` are the embedders and rerankers behind an API that were given
    texts of this search, by name; one in `-redacted-…` was given none of the personal data.
    """

    queries: tuple[CleanText, ...]
    tenants: tuple[Token, ...]
    scopes: tuple[Token, ...]
    sources: tuple[Token, ...]
    index: Digest
    rankings: tuple[Ranking, ...]
    dropped: tuple[Dropped, ...] = ()
    # Left out where absent, as in all records made before it was known.
    timings: dict[Token, Score] = Field(default={}, exclude_if=is_empty)
    outside: tuple[CleanText, ...] = Field(default=(), exclude_if=is_empty)


class Context(Model):
    """What the generator may use and cite, how it was found, and signs of an injection in it."""

    outcome: RetrievalOutcome
    chunks: tuple[Chunk, ...] = ()
    record: RetrievalRecord | None = None
    signals: tuple[Signal, ...] = Field(default=(), exclude_if=is_empty)

    def chunk(self, handle: str) -> Chunk | None:
        """The chunk with this handle, or None."""
        return next((chunk for chunk in self.chunks if chunk.handle == handle), None)
