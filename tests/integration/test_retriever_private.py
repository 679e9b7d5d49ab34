"""Bundles with and without a privacy section over the same documents, embedded by an API."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient
from tests.support.documents import BUNDLE, World, ask, opened
from tests.support.indexes import WARNINGS
from tests.support.texts_api import texts_api

from interlock.bundles.privacy import PrivacySpec
from interlock.retriever.corpus import Corpus
from interlock.retriever.engines.qdrant import QdrantServer
from interlock.retriever.generations.folder import Generations
from interlock.retriever.live import LiveSearch
from interlock.retriever.parts import parts_of
from interlock.retriever.settings import RetrieverSettings
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.errors import UserError

pytestmark = WARNINGS

PRIVATE = BUNDLE.model_copy(update={"version": "2", "privacy": PrivacySpec()})


@pytest.fixture
async def world(fresh_broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(fresh_broker, tmp_path / "world") as made:
        yield made


async def test_a_bundle_with_a_privacy_section_has_an_index_of_its_own(world: World) -> None:
    with texts_api() as server:
        parts = parts_of(
            RetrieverSettings(
                embedder="api:small",
                embedder_url=server.url,
                embedder_dimensions=3,
                reranker="api:judge",
                reranker_url=server.url,
            )
        )

        async def live() -> LiveSearch:
            folder = world.root / "index"
            made = LiveSearch(
                world.root,
                world.events,
                Generations(folder, parts.embedder, Corpus(folder)),
                lambda searcher, bundle: parts.of(bundle).around(searcher),
            )
            await made.start()
            return made

        def sent() -> bool:
            return "ana@example.com" in json.dumps([body for _, body, _ in server.seen])

        await world.put("refunds", "A refund is paid by ana@example.com.")
        search = await live()
        hidden = await ask(search, "who pays a refund", bundle=PRIVATE)
        assert [one.text for one in hidden.chunks] == ["A refund is paid by ana@example.com."]
        assert not sent()
        plain = await ask(search, "who pays a refund")
        assert sent() and plain.index != hidden.index
        server.seen.clear()
        # What was embedded for one is not taken for the other, not after a restart either.
        again = await ask(await live(), "who pays a refund", bundle=PRIVATE)
        assert again.index == hidden.index and not sent()
        Generations(world.root / "index", parts.embedder).note(pinned=plain.index)
        with pytest.raises(UserError, match="their vectors do not compare"):
            await (await live()).open(PRIVATE)


async def test_an_index_of_such_a_bundle_on_a_server_is_looked_after_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its embedder has another name than the installation's, also when it is asked for again."""
    monkeypatch.setattr("interlock.retriever.live.ASK_S", 0.0)
    with texts_api() as api:
        parts = parts_of(
            RetrieverSettings(embedder="api:small", embedder_url=api.url, embedder_dimensions=3)
        )
        client, folder = AsyncQdrantClient(":memory:"), world.root / "index"
        generations = Generations(folder, parts.embedder, Corpus(folder), QdrantServer(client))
        search = LiveSearch(
            world.root,
            world.events,
            generations,
            lambda searcher, bundle: parts.of(bundle).around(searcher),
        )
        await search.start()
        for text in ("A refund is paid by ana@example.com.", "A refund is paid by the desk."):
            await world.put("refunds", text)
            await search.open(PRIVATE)
            await search.look()
            await search.look()
            found = await ask(search, "who pays a refund", bundle=PRIVATE)
            assert [one.text for one in found.chunks] == [text]
        await client.close()
