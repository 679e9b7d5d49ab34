"""A search that keeps up with the documents: every query is answered by one whole generation."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from interlock.bundles.model import Bundle
from interlock.retriever.corpus import Corpus
from interlock.retriever.documents import Passage, load_passages
from interlock.retriever.follow import catch_up, same_log
from interlock.retriever.forget import forget
from interlock.retriever.generations.building import delete_outdated, generation, pinned_generation
from interlock.retriever.generations.folder import Generations, sources_identity
from interlock.retriever.generations.served import standing
from interlock.retriever.private import let_out, private_embedder
from interlock.retriever.search import Search
from interlock.retriever.searcher import Searcher
from interlock.retriever.service import all_documents
from interlock.runtime.bundles.live import WARM
from interlock.runtime.errors import RetryLater, UserError
from interlock.runtime.log import JetStreamLog

LOOK_S = 0.25
"""How often the log is looked at for new documents."""

ASK_S = 5.0
"""How often a server is asked whether what answers is still there."""

log = structlog.get_logger(__name__)


Around = Callable[[Searcher, Bundle], Search]
"""The search over an index with what is beside it, for a bundle."""


def _itself(searcher: Searcher, _: Bundle) -> Search:
    return searcher


def _alike(one: Bundle, other: Bundle) -> bool:
    return (one.sources, let_out(one)) == (other.sources, let_out(other))


@dataclass(eq=False)
class _Kept:
    """The index of some sources, kept up to date. `own` are the passages of their folders."""

    bundle: Bundle
    own: list[Passage] = field(default_factory=list)
    searcher: Searcher | None = None
    search: Search | None = None
    made_of: tuple[object, ...] = ()
    asked: float = -math.inf
    """When the server was last asked for it, by the monotonic clock."""


class LiveSearch:
    """For every bundle that was opened, a `Search` over the newest generation of its documents.

    Bundles with the same sources and rules of what is let out share one. `open` returns once the
    index has all documents that are on the log by then; from then on `keep_up` makes the next one
    whenever documents have changed, beside the one that answers. A pinned generation answers
    instead of the newest, for bundles whose sources have the scopes and the trust it was made with.
    """

    def __init__(
        self,
        root: Path,
        events: JetStreamLog,
        generations: Generations,
        around: Around = _itself,
    ) -> None:
        """`root` is the folder of the bundles."""
        self._root = root
        self._events = events
        self._corpus = Corpus(generations.folder)
        self._generations = generations
        self._around = around
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._told = generations.current().told
        self._making = asyncio.Lock()
        self._untidy = True
        self.behind: str | None = None
        """Why the index is not what the log says, for the health check."""

    async def start(self) -> None:
        """Read the log; raises `RetryLater`."""
        await same_log(self._corpus, self._events)
        await catch_up(self._corpus, self._events)

    async def open(self, bundle: Bundle) -> None:
        """Make or open the index of a bundle's sources; raises `UserError`, `RetryLater`."""
        await catch_up(self._corpus, self._events)
        own = await asyncio.to_thread(load_passages, bundle, self._root)
        shared = (one for one in self._kept.values() if _alike(one.bundle, bundle))
        kept = next(shared, None) or _Kept(bundle)
        async with self._making:
            kept.own, kept.made_of = own, ()
            await self._renew(kept)
        self._kept[bundle.digest] = kept
        while len(self._kept) > 2 * WARM:
            self._kept.popitem(last=False)

    async def of(self, bundle: Bundle) -> Search:
        """The search of this bundle, by the generation that answers now; as `open` if it is new."""
        if bundle.digest not in self._kept:
            await self.open(bundle)
        self._kept.move_to_end(bundle.digest)
        search = self._kept[bundle.digest].search
        assert search is not None, "it was opened"
        return search

    async def keep_up(self) -> None:
        """Look again and again, until cancelled; what goes wrong is said and tried again."""
        while True:
            started = time.monotonic()
            try:
                await self.look()
                self.behind = None
            except (RetryLater, UserError) as error:
                self.behind = f"the index is not up to date: {error}"
                log.warning("index_behind", reason=str(error))
            except Exception as error:  # whatever it is, what is there goes on answering
                self.behind = f"the index is not up to date: {type(error).__name__}"
                log.exception("index_failed", exc_info=error)
            # As long as the last look took, so that a bulk load leaves room for queries.
            await asyncio.sleep(max(LOOK_S, time.monotonic() - started))

    async def look(self) -> None:
        """Apply what is new on the log; where something changed, the next generation answers."""
        await catch_up(self._corpus, self._events)
        kept = list({id(one): one for one in self._kept.values()}.values())
        told = self._generations.current().told
        for one in kept:
            async with self._making:
                if told != self._told:
                    one.own = await asyncio.to_thread(load_passages, one.bundle, self._root)
                await self._renew(one)
        self._told = told
        if self._untidy or await asyncio.to_thread(self._corpus.unscrubbed):
            async with self._making:
                own = [passage for one in kept for passage in one.own]
                done = await forget(self._generations, self._corpus, self._answering(), own)
            self._untidy = not done

    async def _renew(self, kept: _Kept) -> None:
        """Have the generation answer that is due, if it is another one than does."""
        # Others may have brought the corpus up to date, so what this process applied says nothing.
        current = self._generations.current()
        made_of = (self._corpus.position().sequence, current.pinned, current.told)
        if made_of == kept.made_of and not await self._lost(kept):
            return
        searcher, pinned = await self._next(kept)
        kept.made_of, self._untidy = made_of, True
        before = kept.searcher
        if before is not None and before.identity == searcher.identity:
            return
        kept.searcher, kept.search = searcher, self._around(searcher, kept.bundle)
        log.info("index_switched", index=searcher.identity)
        if not pinned:
            self._generations.note(served=searcher.identity)
        await delete_outdated(self._generations, {searcher.identity, *self._answering()})

    async def _lost(self, kept: _Kept) -> bool:
        """Whether another retriever, with another folder, has deleted on a server what answers."""
        now, searcher = time.monotonic(), kept.searcher
        if self._generations.server is None or searcher is None or now < kept.asked + ASK_S:
            return False
        kept.asked = now
        if await standing(self._of(kept.bundle), searcher.identity):
            return False
        log.warning("index_lost", index=searcher.identity)
        return True

    def _answering(self) -> set[str]:
        return {one.searcher.identity for one in self._kept.values() if one.searcher}

    def _of(self, bundle: Bundle) -> Generations:
        """The generations as this bundle has them embedded."""
        embedder = private_embedder(self._generations.embedder, bundle)
        return replace(self._generations, embedder=embedder)

    async def _next(self, kept: _Kept) -> tuple[Searcher, bool]:
        """The searcher that is due, and whether it is the pinned one."""
        generations = self._of(kept.bundle)
        sources = sources_identity(kept.bundle)
        erasures = self._corpus.erasures()
        pinned = await pinned_generation(generations, sources, erasures)
        if pinned is not None:
            return pinned, True
        content = await asyncio.to_thread(all_documents, kept.own, self._corpus, kept.bundle)
        return await generation(generations, content, sources=sources, erasures=erasures), False
