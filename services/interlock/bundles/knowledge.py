"""Knowledge sources, and how they are searched: parts of a bundle."""

from pydantic import Field

from interlock.bundles.chunkers import ChunkerSpec
from interlock_contracts.base import (
    CleanText,
    Model,
    Token,
    is_empty,
    is_none,
)
from interlock_contracts.retrieval import Trust


class KnowledgeSource(Model):
    """Where knowledge comes from and who may read it.

    `path` is a folder of documents below the bundle's; a source without one has only those on
    the log. A reader needs all of `scopes`. Of a `governed` source the policies decide, too: one
    must permit the action `read:<source>`. `chunker` is how the documents are cut.
    """

    path: CleanText | None = Field(default=None, exclude_if=is_none)
    scopes: tuple[Token, ...] = ()
    trust: Trust = Trust.UNTRUSTED
    governed: bool = Field(default=False, exclude_if=is_empty)
    chunker: ChunkerSpec | None = Field(default=None, discriminator="by", exclude_if=is_none)


class RetrievalSpec(Model):
    """How many chunks are looked at and kept, and what each step of the ranking weighs.

    `candidates` is the depth of each leg. `dense_weight` is the dense leg's share (the keyword
    leg has the rest); without one the embedder's own, more of it for a query whose dense leg is
    sure of its best and where passages are short. A step is left out by setting it to 0:
    `aspects` (parts a long query is also searched by, which together have `aspect_share` of
    each leg), `feedback_documents` (the best of a first search, whose `feedback_terms` heaviest
    terms have `feedback_weight` of the keyword query of a short one, and whose vectors
    `feedback_vector` of its dense one), `sibling_weight` (parts of the best other passage of the
    same document beside one part of a passage's own score; without a number 0.2),
    `sparse_weight` (what the installation's sparse model, if it has one, has of the words' share;
    without a number 0.5), `title_weight`
    (parts of the title's coverage beside one part of the fused score), `rerank` (how many of the
    first the installation's reranker looks at, if it has one; without a number 20), `diversity`
    (what being like a passage already kept takes off a score). Of a long query `query_terms` are
    looked up.
    """

    limit: int = Field(default=5, ge=1, le=200)
    candidates: int = Field(default=50, ge=1, le=1000)
    per_document: int = Field(default=2, ge=1)
    dense_weight: float | None = Field(default=None, ge=0, le=1)
    min_score: float = Field(default=0.0, ge=0)
    aspects: int = Field(default=4, ge=0, le=16)
    aspect_share: float = Field(default=0.5, ge=0, le=1)
    query_terms: int = Field(default=150, ge=1, le=1000)
    feedback_documents: int = Field(default=3, ge=0, le=20)
    feedback_terms: int = Field(default=20, ge=1, le=100)
    feedback_weight: float = Field(default=0.1, ge=0, le=1)
    feedback_vector: float | None = Field(default=None, ge=0, le=1, exclude_if=is_none)
    sibling_weight: float | None = Field(default=None, ge=0, le=1, exclude_if=is_none)
    sparse_weight: float | None = Field(default=None, ge=0, le=1, exclude_if=is_none)
    title_weight: float = Field(default=0.2, ge=0, le=1)
    rerank: int | None = Field(default=None, ge=0, le=200, exclude_if=is_none)
    diversity: float | None = Field(default=None, ge=0, le=1, exclude_if=is_none)
