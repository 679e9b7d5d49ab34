"""`interlock ingest` against a real broker: what it says, writes, and leaves alone."""

import asyncio
from pathlib import Path

import pytest
from tests.integration.test_stage_filter import Piped, call
from tests.support.broker import connected

from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.log import JetStreamLog
from interlock.sdk.documents import standing
from interlock_contracts.documents import Document

HELP = {
    "returns.md": "---\ntitle: Returns\nscopes: [vip]\n---\nThirty days for a return, as always.",
    "deep/shipping.html": "<title>Shipping</title><body><p>Six days to Canada.</p></body>",
    "faq.jsonl": '{"name": "q1", "text": "Yes."}\n{"name": "q2", "text": "No."}',
    "notes.txt": "Thirty days for a return, as always.",
    "scan.pdf": "%PDF-1.4 broken",
    "returns.txt": "the same name as returns.md",
    ".git/config.txt": "hidden",
    "logo.png": "not a document",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, text in HELP.items():
        file = tmp_path / "documents" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "documents"


async def ingest(broker: EmbeddedBroker, *arguments: str, source: str = "help") -> Piped:
    options = ("--tenant", "acme", "--source", source, "--state", str(broker.state))
    return await asyncio.to_thread(call, ("ingest", *arguments, *options))


async def there(broker: EmbeddedBroker, source: str = "help") -> dict[str, Document]:
    async with connected(broker, "operator") as client:
        found = await standing(JetStreamLog(client, "ev"), "acme")
    return {one.name: one for one in found if one.source == source}


async def test_a_folder_from_first_to_last(fresh_broker: EmbeddedBroker, folder: Path) -> None:
    dry = await ingest(fresh_broker, str(folder), "--dry-run")
    assert "would be: 5 added, 0 changed, 0 unchanged, 0 removed, 2 skipped" in dry.out
    assert await there(fresh_broker) == {}

    first = await ingest(fresh_broker, str(folder), "--language", "en")
    assert first.status == 1
    assert "5 added, 0 changed, 0 unchanged, 0 removed, 2 skipped, 1 near duplicates" in first.out
    assert "nearly the same (100%): notes, returns" in first.out
    assert f"skipped {folder / 'scan.pdf'}: a broken PDF" in first.err
    assert f"skipped {folder / 'returns.txt'}" in first.err
    found = await there(fresh_broker)
    assert sorted(found) == ["deep/shipping", "notes", "q1", "q2", "returns"]
    assert found["returns"].title == "Returns"
    assert (found["returns"].scopes, found["returns"].language) == (("vip",), "en")
    assert found["notes"].title == "notes"

    (folder / "scan.pdf").unlink()
    (folder / "returns.txt").unlink()
    (folder / "notes.txt").write_text("Forty days.")
    (folder / "faq.jsonl").write_text('{"name": "q1", "text": "Yes."}')
    again = await ingest(fresh_broker, str(folder), "--language", "en", "--delete", "--json")
    assert again.status == 0
    assert again.lines[-1]["summary"] == {
        "added": 0, "changed": 1, "unchanged": 3, "removed": 1, "skipped": 0, "near_duplicates": 0
    }  # fmt: skip
    assert {"q1", "notes"} <= set(await there(fresh_broker))
    assert "q2" not in await there(fresh_broker)


async def test_delete_leaves_other_sources_alone(
    fresh_broker: EmbeddedBroker, folder: Path
) -> None:
    (folder / "one.md").write_text("One.")
    await ingest(fresh_broker, str(folder / "one.md"), source="runbooks")
    await ingest(fresh_broker, str(folder / "notes.txt"), "--delete")
    assert list(await there(fresh_broker, "runbooks")) == ["one"]
    assert list(await there(fresh_broker)) == ["notes"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing",), "there is no missing"),
        (("--url", "https://x.example", "."), "--url is of a single document"),
        (("--scope", "a b", "."), "scopes"),
    ],
)
async def test_mistakes_are_one_line(
    broker: EmbeddedBroker, arguments: tuple[str, ...], said: str
) -> None:
    told = await ingest(broker, *arguments)
    assert told.status == 1
    assert said in told.err
    assert len(told.err.strip().splitlines()) == 1


async def test_a_tenant_without_a_credential_is_told_so(broker: EmbeddedBroker) -> None:
    arguments = ("ingest", ".", "--tenant", "nobody", "--source", "help")
    told = await asyncio.to_thread(call, (*arguments, "--state", str(broker.state)))
    assert told.status == 1
    assert "ingest-nobody.nk" in told.err
