"""The SDK's documents on a real broker: versions, conflicts, parts, permissions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from tests.support.broker import connected

from interlock.runtime.broker.connect import PermissionDenied
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.log import JetStreamLog
from interlock.sdk import Change, DocumentRejected, Documents, Written
from interlock.sdk.documents import standing
from interlock_contracts.documents import (
    MAX_DOCUMENT_CHARS,
    MAX_PART_CHARS,
    DocumentEvent,
    document_digest,
    document_key,
)

NUMBERS = count()


@asynccontextmanager
async def writing(broker: EmbeddedBroker, tenant: str = "acme") -> AsyncIterator[Documents]:
    path = broker.state / "credentials" / f"ingest-{tenant}.nk"
    async with await Documents.connect(broker.url, path) as documents:
        yield documents


@pytest.fixture
def name() -> str:
    """A document's name that no other test has used."""
    return f"folder/doc {next(NUMBERS)}"


async def versions(broker: EmbeddedBroker, name: str) -> list[DocumentEvent]:
    """What is on the log of one document, in order."""
    async with connected(broker, "operator") as client:
        found = [
            message.event().data
            async for message in JetStreamLog(client, "ev").matching(
                f"ev.document.acme.{document_key('help', name)}.*"
            )
        ]
    assert all(isinstance(event, DocumentEvent) for event in found)
    return found  # type: ignore[return-value]  # just checked


async def test_added_unchanged_changed_removed(broker: EmbeddedBroker, name: str) -> None:
    async with writing(broker) as documents:
        about = documents.describe("help", name, title="Returns", scopes=["vip"])
        assert await documents.remove("help", name) == Written(Change.UNCHANGED, 0)
        assert await documents.would(about, "one") is Change.ADDED
        assert await documents.put(about, "one") == Written(Change.ADDED, 1)
        assert await documents.put(about, "one") == Written(Change.UNCHANGED, 1)
        assert await documents.would(about, "two") is Change.CHANGED
        assert await documents.put(about, "two") == Written(Change.CHANGED, 2)
        retitled = about.model_copy(update={"title": "Sending back"})
        assert await documents.put(retitled, "two") == Written(Change.CHANGED, 3)
        assert await documents.would(about, None) is Change.REMOVED
        assert await documents.remove("help", name) == Written(Change.REMOVED, 4)
        assert await documents.remove("help", name) == Written(Change.UNCHANGED, 4)
        assert await documents.put(about, "two") == Written(Change.ADDED, 5)
    logged = await versions(broker, name)
    assert [(event.version, event.removed, event.text) for event in logged] == [
        *((1, False, "one"), (2, False, "two"), (3, False, "two"), (4, True, "")),
        (5, False, "two"),
    ]
    assert logged[0].digest == document_digest(about, "one")


async def test_a_long_document_is_all_its_parts_or_nothing(
    broker: EmbeddedBroker, name: str
) -> None:
    text = "".join(chr(0x1F600 + number % 64) for number in range(MAX_PART_CHARS * 2 + 17))
    async with writing(broker) as documents:
        about = documents.describe("help", name)
        assert await documents.put(about, text) == Written(Change.ADDED, 1)
        assert await documents.put(about, text) == Written(Change.UNCHANGED, 1)
        assert await documents.put(about, "short") == Written(Change.CHANGED, 2)
        with pytest.raises(DocumentRejected, match="characters of text"):
            await documents.put(about, "x" * (MAX_DOCUMENT_CHARS + 1))
    parts = await versions(broker, name)
    assert [event.part for event in parts] == [0, 1, 2, 0]
    assert "".join(event.text for event in parts[:3]) == text


async def test_ten_writers_of_one_document_come_one_after_the_other(
    broker: EmbeddedBroker, name: str
) -> None:
    async def write(number: int) -> Written:
        async with writing(broker) as documents:
            return await documents.put(documents.describe("help", name), f"by {number}")

    written = await asyncio.gather(*map(write, range(10)))
    logged = await versions(broker, name)
    assert sorted(one.version for one in written) == [event.version for event in logged]
    assert len({event.text for event in logged}) == 10


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": "a b"}, "source"),
        ({"name": "x" * 120}, "characters"),
        ({"name": ""}, "name"),
        ({"scopes": ["a b"]}, "scopes"),
        ({"title": "a\x00b"}, "title"),
    ],
)
async def test_what_breaks_the_contract_is_not_sent(
    broker: EmbeddedBroker, change: dict[str, Any], reason: str
) -> None:
    async with writing(broker) as documents:
        with pytest.raises(DocumentRejected, match=reason):
            documents.describe(**{"source": "help", "name": "n", **change})
        with pytest.raises(DocumentRejected, match="text"):
            await documents.put(documents.describe("help", "n"), "a\x00b")


async def test_nobody_writes_or_reads_documents_of_another_tenant(
    broker: EmbeddedBroker, name: str
) -> None:
    path = broker.state / "credentials" / "ingest-globex.nk"
    async with writing(broker) as documents:
        await documents.put(documents.describe("help", name), "of acme")
        with pytest.raises(DocumentRejected, match="tenant acme"):
            foreign = documents.describe("help", name).model_copy(update={"tenant": "globex"})
            await documents.put(foreign, "x")
    async with await Documents.connect(broker.url, path, tenant="acme") as documents:
        with pytest.raises(PermissionDenied):
            await documents.head("help", name)
        with pytest.raises(PermissionDenied):
            await documents.put(documents.describe("help", name), "of globex")
    assert len(await versions(broker, name)) == 1


async def test_operators_list_what_stands(broker: EmbeddedBroker, name: str) -> None:
    async with writing(broker) as documents:
        await documents.put(documents.describe("help", name, title="There"), "text")
        await documents.put(documents.describe("help", f"{name} gone"), "text")
        await documents.remove("help", f"{name} gone")
    async with connected(broker, "operator") as client:
        there = await standing(JetStreamLog(client, "ev"), "acme")
    assert [one.title for one in there if one.name.startswith(name)] == ["There"]
