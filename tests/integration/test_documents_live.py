"""From the log to answers: what is put, changed and removed is found so, and never by halves."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.broker import connected
from tests.support.documents import BUNDLE, World, ask, identity, opened, texts

from interlock.bundles.knowledge import KnowledgeSource, RetrievalSpec
from interlock.bundles.model import Bundle
from interlock.retriever.search import SearchRequest
from interlock.runtime.broker.server import EmbeddedBroker
from interlock_contracts.documents import document_events, document_key
from interlock_contracts.retrieval import Trust


@pytest.fixture
async def world(fresh_broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(fresh_broker, tmp_path / "world") as made:
        yield made


async def test_added_changed_and_removed_documents(world: World) -> None:
    live = await world.search()
    assert await texts(live, "days for a return") == []
    await world.put("returns", "You have thirty days for a return.", title="Returns")
    assert await texts(live, "days for a return") == []
    await live.look()
    (found,) = (await ask(live, "days for a return")).chunks
    assert (found.document_id, found.title, found.trust) == (
        *("acme/help/returns", "Returns"),
        Trust.TRUSTED,
    )
    await world.put("returns", "You have forty days for a return.")
    await live.look()
    assert await texts(live, "days for a return") == ["You have forty days for a return."]
    await world.documents.remove("help", "returns")
    await live.look()
    assert await texts(live, "days for a return") == []


async def test_nothing_new_is_no_work(world: World) -> None:
    await world.put("returns", "You have thirty days for a return.")
    live = await world.search()
    before = identity(live)
    world.embedded.clear()
    await live.look()
    await world.put("returns", "You have thirty days for a return.")
    await live.look()
    assert identity(live) == before
    await world.put("shipping", "Six days to Canada.")
    await live.look()
    assert world.embedded == ["shipping\nSix days to Canada."]


async def test_the_log_goes_before_the_folder(world: World) -> None:
    folder = world.root / "docs/acme/help"
    (folder / "returns.md").write_text("You have ten days for a return.")
    (folder / "hours.txt").write_text("Open at nine for a return.")
    live = await world.search()
    assert len(await texts(live, "return")) == 2
    await world.put("returns", "You have thirty days for a return.")
    await world.documents.remove("help", "hours")
    await live.look()
    assert "You have thirty days for a return." in await texts(live, "return")
    assert len(await texts(live, "return")) == 2  # what was never on the log cannot be removed
    await world.put("hours", "x")
    await world.documents.remove("help", "hours")
    await live.look()
    assert await texts(live, "return") == ["You have thirty days for a return."]


async def test_scopes_and_trust_can_only_narrow_the_source(world: World) -> None:
    await world.put("a", "Secret of the staff.", "notes", trust=Trust.TRUSTED)
    await world.put("b", "Secret of the lead.", "notes", scopes=["lead"])
    await world.put("c", "Public secret.", trust=Trust.UNTRUSTED)
    live = await world.search()
    assert await texts(live, "secret") == ["Public secret."]
    found = (await ask(live, "secret", scopes=("staff",))).chunks
    assert {(chunk.text, chunk.trust) for chunk in found} == {
        ("Public secret.", Trust.UNTRUSTED),
        ("Secret of the staff.", Trust.UNTRUSTED),
    }
    assert len(await texts(live, "secret", scopes=("staff", "lead"))) == 3


async def test_only_what_is_valid_at_the_time_is_found(world: World) -> None:
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    await world.put("old", "Ten days for a return.", valid_until=new_year)
    await world.put("new", "Thirty days for a return.", valid_from=new_year)
    live = await world.search()
    before = datetime(2025, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert await texts(live, "return", at=before) == ["Ten days for a return."]
    assert await texts(live, "return", at=new_year) == ["Thirty days for a return."]
    assert len(await texts(live, "return")) == 2


async def test_documents_of_an_unknown_source_wait_for_a_bundle_that_has_it(world: World) -> None:
    await world.put("a", "Of the wiki.", "wiki")
    live = await world.search()
    assert await texts(live, "wiki") == []
    sources = {**BUNDLE.sources, "help": KnowledgeSource(), "wiki": KnowledgeSource()}
    world.bundle = Bundle(name="test", version="2", sources=sources)
    request = SearchRequest(
        query="wiki", tenant="acme", scopes=(), sources=("wiki",), spec=RetrievalSpec()
    )
    found = await (await live.of(world.bundle)).search(request)
    assert [chunk.text for chunk in found.chunks] == ["Of the wiki."]
    assert await texts(live, "wiki") == []
    await world.put("b", "More of the wiki.", "wiki")
    await live.look()
    found = await (await live.of(world.bundle)).search(request)
    assert len(found.chunks) == 2


async def test_parts_are_nothing_until_they_are_whole(world: World) -> None:
    about = world.documents.describe("help", "long")
    parts = [
        event.model_copy(update={"part": part, "parts": 2, "text": text})
        for part, text in enumerate(("First half of a return. ", "Second half of a return."))
        for event in document_events(about, "whole", 1)
    ]
    live = await world.search()
    async with connected(world.broker, "ingest-acme") as client:
        for part in (1, 0):
            await live.look()
            assert await texts(live, "return") == []
            subject = f"ev.document.acme.{document_key('help', 'long')}.1-{part}"
            await client.request(subject, parts[part].model_dump_json().encode())
    await live.look()
    assert await texts(live, "return") == ["First half of a return. Second half of a return."]


async def test_what_is_no_document_is_passed_over(world: World) -> None:
    async with connected(world.broker, "ingest-acme") as client:
        await client.request("ev.document.acme.key.1-0", b"{}")
    await world.put("returns", "Thirty days.")
    assert await texts(await world.search(), "days") == ["Thirty days."]


SECTIONS = 3


def sections(marker: str) -> str:
    """A document of three passages, all of which say the same marker."""
    return "\n".join(
        f"# Section {section}\nAbout a return, {marker}. " + "And so on, at some length. " * 9
        for section in range(SECTIONS)
    )


async def test_ten_writers_and_ten_readers_at_once(world: World) -> None:
    """Every answer has all passages of a document in one version, or none of them."""
    live = await world.search()
    done = asyncio.Event()
    seen: set[str] = set()

    async def write(number: int, version: int) -> None:
        await world.put(f"d{number}", sections(f"of {number} in version {version}"))

    async def look() -> None:
        by_document: dict[str, list[str]] = {}
        for chunk in (await ask(live, "about a return")).chunks:
            by_document.setdefault(chunk.document_id, []).append(chunk.version)
        for versions in by_document.values():
            assert len(versions) == SECTIONS and len(set(versions)) == 1
            seen.update(versions)

    async def read() -> None:
        while not done.is_set():
            await look()
            await asyncio.sleep(0)

    keeping_up = asyncio.create_task(live.keep_up())
    readers = [asyncio.create_task(read()) for _ in range(10)]
    for version in range(4):
        await asyncio.gather(*(write(number, version) for number in range(10)))
        await live.look()
        await look()
    done.set()
    await asyncio.gather(*readers)
    keeping_up.cancel()
    final = await texts(live, "about a return")
    assert len(final) == 10 * SECTIONS
    assert all("in version 3" in text for text in final)
    assert len(seen) >= 40
