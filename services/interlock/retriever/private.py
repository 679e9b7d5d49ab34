"""Personal data in passages and queries: not in what an API outside of the cell is given.

Where the bundle has a privacy section, an embedder or a reranker that is `outside` gets the kind
(`[EMAIL]`) for what is personal in a text. Its name then says so, and by which rules: it is part of
the identity of an index, so that vectors of redacted and of other texts never mix. And it is
used only within the regions of every tenant and the data classes of every intent, as models are.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from interlock.bundles.model import Bundle
from interlock.bundles.patterns import PatternTimeout
from interlock.bundles.privacy import PrivacySpec
from interlock.retriever.models.hosted import Place
from interlock.retriever.ranking.rerank import Reranker
from interlock.retriever.ranking.sparse import WithSparse
from interlock.runtime.embedding import TextEmbedder, Vectors
from interlock.runtime.errors import UserError
from interlock.runtime.privacy import MAX_CHARS, VERSION, redact
from interlock_contracts.canonical import digest
from interlock_contracts.privacy import PLACEHOLDER

REMEMBERED = 4_096
"""Redacted texts that are kept in memory."""


def outside(part: object) -> bool:
    """Whether an embedder or reranker sends its texts out of this process."""
    return bool(getattr(part, "outside", False))


def private_embedder(embedder: TextEmbedder, bundle: Bundle) -> TextEmbedder:
    """An embedder that is given what the bundle lets out, and no more.

    Raises `UserError` where it may be given nothing: by a tenant's residency, or by the data class
    of an intent with sources.
    """
    if not outside(embedder):
        return embedder
    if isinstance(embedder, WithSparse):
        # The sparse model runs here, and is given texts as they are.
        return WithSparse(private_embedder(embedder.dense, bundle), embedder.sparse)
    _permitted(embedder, bundle)
    return embedder if bundle.privacy is None else PrivateEmbedder(embedder, bundle.privacy)


def private_reranker(reranker: Reranker | None, bundle: Bundle) -> Reranker | None:
    """As `private_embedder`, of a reranker, if there is one."""
    if reranker is None or not outside(reranker):
        return reranker
    _permitted(reranker, bundle)
    return reranker if bundle.privacy is None else PrivateReranker(reranker, bundle.privacy)


def let_out(bundle: Bundle) -> tuple[object, ...]:
    """What a bundle says of what may be sent outside, to compare."""
    return bundle.privacy, bundle.residency, {name for name, _ in _classes(bundle)}


def _classes(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """The data classes of questions that are searched for, each with an intent that has it."""
    for name, intent in bundle.intents.items():
        if intent.data_class is not None and intent.sources:
            yield intent.data_class, name


def _permitted(part: TextEmbedder | Reranker, bundle: Bundle) -> None:
    """Of the whole bundle, since passages and questions of everybody go to the same API."""
    place = getattr(part, "place", Place())
    for tenant, regions in sorted(bundle.residency.items()):
        if place.region not in regions:
            raise UserError(
                f"data of {tenant} may go to {', '.join(regions) or 'no region'}, and {part.name} "
                f"is in {place.region or 'an unknown region'}: say where in {place.setting}_REGION"
            )
    for data_class, intent in _classes(bundle):
        if data_class not in place.data_classes:
            raise UserError(
                f"questions of {intent} are of class {data_class}, which {part.name} may not have: "
                f"name it in {place.setting}_DATA_CLASSES if it may"
            )


class PrivateEmbedder:
    """A `TextEmbedder` before one that is outside. Raises `UserError` as `hiding` says."""

    outside = True

    def __init__(self, embedder: TextEmbedder, spec: PrivacySpec) -> None:
        self.name = _name(embedder.name, spec)
        self.dimensions = embedder.dimensions
        self.waits = getattr(embedder, "waits", False)
        self._embedder = embedder
        self._hide = hiding(spec)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts` without what is personal, shape `(len(texts), dimensions)`."""
        return self._embedder.embed([self._hide(text) for text in texts])


class PrivateReranker:
    """A `Reranker` before one that is outside. Raises `UserError` as `hiding` says."""

    outside = True

    def __init__(self, reranker: Reranker, spec: PrivacySpec) -> None:
        self.name = _name(reranker.name, spec)
        self._reranker = reranker
        self._hide = hiding(spec)

    async def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """The scores of `texts` without what is personal."""
        # A thread: a search reads some twenty passages, a millisecond or two each.
        asked, *hidden = await asyncio.to_thread(
            lambda: [self._hide(one) for one in (query, *texts)]
        )
        return await self._reranker.scores(asked, hidden)


def hiding(spec: PrivacySpec) -> Callable[[str], str]:
    """What gives a text with `[EMAIL]` and the like for what is personal; the same every time.

    It raises `UserError` where a pattern of the bundle takes too long: the text is not sent then.
    """

    @lru_cache(maxsize=REMEMBERED)
    def hide(text: str) -> str:
        try:
            # No embedding model reads as much as is cut off here.
            redacted = redact(text[:MAX_CHARS], spec).text
        except PatternTimeout as error:
            raise UserError(f"privacy: {error}, so the text was sent nowhere; mend it") from None
        return PLACEHOLDER.sub(r"[\1]", redacted)

    return hide


def _name(name: str, spec: PrivacySpec) -> str:
    rules = digest({"version": VERSION, "privacy": spec.model_dump(mode="json")})
    return f"{name}-redacted-{rules.removeprefix('sha256:')[:16]}"
