"""`interlock ingest` where things go wrong: odd files, folders that are gone, no broker."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_ingest_command import ingest, there

from interlock.cli.commands import ingest as command
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.errors import RetryLater
from interlock.sdk import Documents
from interlock_contracts.documents import MAX_DOCUMENT_CHARS
from interlock_contracts.failures import FailureCode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "good.md").write_text("Thirty days for a return.")
    return made


def reasons(lines: list[dict[str, Any]]) -> dict[str, str]:
    """Why each file was skipped, by its name."""
    return {
        Path(one["path"]).name: one["reason"] for one in lines if one.get("change") == "skipped"
    }


async def test_odd_files_are_skipped_aloud_and_a_dry_run_says_the_same(
    fresh_broker: EmbeddedBroker, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere.md").write_text("Not of this folder.")
    (folder / "out.md").symlink_to(tmp_path / "elsewhere.md")
    (folder / "within.md").symlink_to(folder / "good.md")
    (folder / "nothing.md").symlink_to("no-such.md")
    (folder / "circle.md").symlink_to("circle.md")
    (folder / "loop").symlink_to(folder)
    (folder / "empty.txt").write_text("")
    (folder / "two\nlines.md").write_text("x")
    (folder / "odd näme “q” 漢字 🙂.md").write_text("An odd name is one all the same.")
    (folder / "long.txt").write_text("word " * (MAX_DOCUMENT_CHARS // 5 + 1))
    (folder / os.fsdecode(b"\xff.md")).write_text("x")
    os.mkfifo(folder / "pipe.md")
    (folder / "lines.jsonl").write_text(
        '{"id": "a", "text": "nul \\u0000"}\n{"id": "b", "text": "half \\ud800"}\n'
    )
    dry = await ingest(fresh_broker, str(folder), "--dry-run", "--json")
    done = await ingest(fresh_broker, str(folder), "--json")
    assert (dry.status, done.status) == (1, 1)
    assert dry.lines[-1]["summary"] == done.lines[-1]["summary"]
    assert reasons(dry.lines) == reasons(done.lines)
    said = reasons(done.lines)
    assert said.pop("out.md") == f"leads out of the folder, to {tmp_path / 'elsewhere.md'}"
    assert said.pop("nothing.md") == "No such file or directory"
    assert "symbolic links" in said.pop("circle.md")
    assert "no text" in said.pop("empty.txt")
    assert "control characters" in said.pop("two\\x0alines.md")
    assert "not UTF-8" in said.pop("\\xff.md")
    assert said.pop("long.txt").endswith(f"at most {MAX_DOCUMENT_CHARS:,}: split it")
    assert said.pop("lines.jsonl") == "line 2: text: it holds half of a surrogate pair"
    assert said == {}
    assert sorted(await there(fresh_broker)) == ["good", "odd näme “q” 漢字 🙂", "within"]


async def test_a_folder_that_cannot_be_opened_is_no_empty_one(
    fresh_broker: EmbeddedBroker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "closed").mkdir()
    (folder / "closed/inner.md").write_text("Six days to Canada.")
    assert (await ingest(fresh_broker, str(folder))).status == 0
    scandir = os.scandir

    def refused(path: str) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refused)
        told = await ingest(fresh_broker, str(folder), "--delete")
    assert told.status == 1
    assert "closed: Permission denied" in told.err
    assert "nothing is removed" in told.err
    assert sorted(await there(fresh_broker)) == ["closed/inner", "good"]


async def test_an_empty_folder_does_not_empty_the_source_unasked(
    fresh_broker: EmbeddedBroker, folder: Path, tmp_path: Path
) -> None:
    assert (await ingest(fresh_broker, str(folder))).status == 0
    (tmp_path / "unmounted").mkdir()
    refused = await ingest(fresh_broker, str(tmp_path / "unmounted"), "--delete")
    assert (refused.status, "--delete would remove all 1 of acme/help" in refused.err) == (1, True)
    assert await there(fresh_broker)
    meant = await ingest(fresh_broker, str(tmp_path / "unmounted"), "--delete", "--empty")
    assert (meant.status, await there(fresh_broker)) == (0, {})


async def test_a_broker_that_comes_back_is_waited_for(
    fresh_broker: EmbeddedBroker, folder: Path
) -> None:
    for number in range(400):
        (folder / f"d{number}.md").write_text(f"Document {number} about a return.")
    running = asyncio.create_task(ingest(fresh_broker, str(folder)))
    async for _ in _until_some(fresh_broker):
        pass
    await fresh_broker.kill()
    await fresh_broker.ready()
    done = await running
    assert done.status == 0, done.err
    assert len(await there(fresh_broker)) == 401


async def _until_some(broker: EmbeddedBroker) -> AsyncIterator[None]:
    """Goes on until the first documents are on the log."""
    while not await there(broker):
        yield


async def test_a_broker_that_stays_away_is_one_line_and_what_was_done(
    fresh_broker: EmbeddedBroker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Documents.put

    async def away(self: Documents, document: Any, text: str, **_: bool) -> Any:
        if document.name == "good":
            return await put(self, document, text)
        raise RetryLater(FailureCode.STAGE_FAILED, "the log did not answer")

    (folder / "later.md").write_text("x")
    monkeypatch.setattr(command, "PATIENCE_S", 0.5)
    monkeypatch.setattr(Documents, "put", away)
    told = await ingest(fresh_broker, str(folder))
    assert told.status == 1
    assert "1 added" in told.out
    assert "run it again" in told.err and "did not answer for" in told.err
    assert "Traceback" not in told.err


async def test_a_source_that_can_be_none_is_said_once(broker: EmbeddedBroker, folder: Path) -> None:
    told = await ingest(broker, str(folder), source="no source")
    assert (told.status, len(told.err.strip().splitlines())) == (1, 1)
    assert "--source" in told.err
