"""`interlock audit erase --document` over a running system: gone everywhere, and still provable.

The tests of this module build on each other, in order.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.integration.test_index_build import Words
from tests.integration.test_stage_filter import Piped, call
from tests.support.broker import connected
from tests.support.system import logged, running_system, sdk

from interlock.audit_sink.custody import Custodian
from interlock.audit_sink.documents import DocumentEraser, DocumentErasure
from interlock.audit_sink.keys import KeyStore
from interlock.audit_sink.places import open_for_custody, open_reader
from interlock.audit_sink.query import Query
from interlock.cli.system import System
from interlock.retriever.engines.embedded import PASSAGES
from interlock.retriever.generations.folder import Generations
from interlock.runtime.broker.permissions import ERASER
from interlock.runtime.errors import UserError
from interlock.sdk import Documents
from interlock_contracts.answer import Answer
from interlock_contracts.documents import document_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "swordfish-4711"
RUNBOOK = "acme/public_help/wheelbarrow"
QUESTION = "How long is the warranty on the wheelbarrow?"


@dataclass
class World:
    """A running system, and a request that was answered out of the document."""

    system: System
    state: Path
    documents: Documents
    request: str = ""

    async def command(self, *arguments: str) -> Piped:
        return await asyncio.to_thread(call, (*arguments, "--state", str(self.state)))

    async def erase(self, *arguments: str) -> Piped:
        return await self.command("audit", "erase", "--document", RUNBOOK, *arguments)

    async def put(self, text: str, name: str = "wheelbarrow") -> None:
        await self.documents.put(self.documents.describe("public_help", name), text)

    async def ask(self, user: str = "maria") -> Answer:
        async with await sdk(self.system.broker) as producer:
            request = producer.request(QUESTION, user=user, role="customer", timeout=60)
            self.request = request.request_id
            await producer.submit(request)
            return await producer.answer(request.request_id, timeout=60)

    async def indexed(self, words: str, *, there: bool = True) -> None:
        """Wait until what answers questions holds these words, or holds them no more."""
        generations = Generations(self.state / "index", Words())

        def so() -> bool:
            served = generations.current().served
            if not served:
                return False
            try:
                folders = [generations.segment(one.name) for one in generations.parts(served[-1])]
                return any(words in (one / PASSAGES).read_text() for one in folders) is there
            except FileNotFoundError:  # it was just deleted
                return False

        await _until(so)

    def holding(self) -> list[str]:
        """The files of the whole installation that hold the secret in the clear."""
        files = (one for one in self.state.rglob("*") if one.is_file())
        return [
            str(one.relative_to(self.state)) for one in files if SECRET.encode() in one.read_bytes()
        ]

    async def recorded(self) -> None:
        """Wait until the audit sink has everything that is on the log."""
        async with connected(self.system.broker, ERASER) as client:
            with open_for_custody(self.system.settings) as (database, keys):
                await Custodian(client, "ev", database, keys).caught_up()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    state = tmp_path_factory.mktemp("erased")
    async with (
        running_system(state) as system,
        await Documents.connect(
            system.broker.url, state / "credentials/ingest-acme.nk"
        ) as documents,
    ):
        yield World(system, state, documents)


async def test_before_it_is_nearly_everywhere(world: World) -> None:
    await world.put(f"The warranty on the wheelbarrow is ten years. Its code is {SECRET}.")
    await world.put(f"The warranty on the wheelbarrow is ten years, with the code {SECRET}.")
    await world.indexed(SECRET)
    answer = await world.ask()
    assert SECRET in answer.text, answer
    await world.recorded()
    assert {one.split("/")[0] for one in world.holding()} == {"broker", "index"}
    export = str(world.state.with_name("acme.jsonl"))
    assert (await world.command("audit", "export", export, "--tenant", "acme")).status == 0
    assert SECRET in (await world.command("audit", "open", export)).out


async def test_mistakes_are_one_line(world: World) -> None:
    for arguments, said in (
        (("--subject", "acme/maria", "--document", RUNBOOK), "name one of"),
        ((), "name one of"),
        (("--subject", "acme/maria", "--requests"), "goes with --document"),
        (("--document", "wheelbarrow"), "TENANT/SOURCE/NAME"),
        (("--document", "acme/public_help/no-such"), "there is no acme/public_help/no-such"),
        (("--document", "nobody/public_help/x"), "ingest-nobody.nk"),
    ):
        told = await world.command("audit", "erase", *arguments)
        assert (told.status, said in told.err) == (1, True), told.err
        assert len(told.err.strip().splitlines()) == 1, told.err
    with open_reader(world.system.settings) as reader:
        (whose,) = {
            one.data_subject for one in reader.select(Query(event="document", tenant="acme"))
        }
    told = await world.command("audit", "erase", "--subject", f"acme/{whose}")
    assert (told.status, "--document" in told.err) == (1, True), told.err


async def test_a_dry_run_names_what_used_it_and_touches_nothing(world: World) -> None:
    told = await world.erase("--dry-run", "--json")
    assert told.lines[0]["versions"] == told.lines[0]["messages"] == 2
    assert told.lines[0]["used_by"] == [world.request]
    assert SECRET in (await world.command("events", world.request, "--json")).out
    assert not await logged(world.system.broker, "ev.custody.>")


async def test_a_hold_on_the_tenant_forbids_it(world: World) -> None:
    held = await world.command("audit", "hold", "--tenant", "acme", "--reason", "court", "--json")
    refused = await world.erase()
    assert (refused.status, "a hold stands" in refused.err) == (1, True)
    await world.command("audit", "release", held.lines[0]["hold"])


async def test_an_erasure_that_is_cut_off_anywhere_is_given_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def again() -> DocumentErasure:
        with open_for_custody(world.system.settings) as (database, keys):
            async with connected(world.system.broker, ERASER) as client:
                custodian = Custodian(client, "ev", database, keys)
                eraser = DocumentEraser(custodian, world.documents)
                return await eraser.erase(RUNBOOK, "jo", "leaked", requests=False, dry_run=False)

    def cut_off(*_: Any) -> Any:
        raise UserError("cut off")

    steps: tuple[tuple[type, str], ...] = (
        (Documents, "bury"), (Custodian, "order"), (Custodian, "take_out"), (KeyStore, "destroy"),
    )  # fmt: skip
    for owner, step in steps:
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, cut_off)
            with pytest.raises(UserError, match="cut off"):
                await again()
    await again()
    await world.recorded()
    left = await logged(world.system.broker, "ev.document.acme.*.*")
    assert [message.subject.split(".")[-1] for message in left] == ["3-0"]
    orders = await logged(world.system.broker, "ev.custody.acme.*.*")
    (order,) = [message for message in orders if b'"erased"' in message.body]
    assert b"leaked" in order.body and RUNBOOK.encode() in order.body
    with open_for_custody(world.system.settings) as (_, keys):
        assert len(keys.destroyed()) == 1
    assert (await world.command("audit", "verify")).status == 0


async def test_the_index_forgets_it_and_requests_that_used_it_are_named(world: World) -> None:
    await world.indexed(SECRET, there=False)
    await _until(lambda: not any(one.startswith("index/") for one in world.holding()))
    assert {one.split("/")[0] for one in world.holding()} == {"broker"}  # the request's own events
    told = await world.erase()
    assert told.status == 0, told.err
    assert "0 versions (0 messages) erased" in told.out
    assert "1 requests used it" in told.err and world.request in told.err
    replayed = await world.command("replay", world.request)
    assert (replayed.status, "identical" in replayed.out) == (0, True)


async def test_with_its_requests_no_byte_of_it_is_left(world: World) -> None:
    hold = await world.command(
        "audit", "hold", "--tenant", "acme", "--user", "maria", "--reason", "court", "--json"
    )
    held = await world.erase("--requests", "--json")
    assert (held.lines[0]["held"], held.lines[0]["requests"]) == ([world.request], [])
    await world.command("audit", "release", hold.lines[0]["hold"])

    told = await world.erase("--requests", "--reason", "leaked", "--json")
    assert told.lines[0]["requests"] == [world.request]
    assert told.lines[0]["contents"] >= 4
    assert world.holding() == []
    again = await world.erase("--requests", "--json")
    assert again.lines[0]["used_by"] == []
    await world.recorded()
    for arguments in ((), ("--sealed",)):
        report = await world.command("audit", "verify", "--json", *arguments)
        assert report.lines[0]["ok"] is True, report.out
    opened = await world.command("audit", "open", str(world.state.with_name("acme.jsonl")))
    versions = [one for one in opened.lines if ".document." in one["subject"]]
    assert versions and {one["state"] for one in versions} == {"erased"}


async def test_what_happened_is_still_told(world: World) -> None:
    replayed = await world.command("replay", world.request)
    assert (replayed.status, f"document erased: {RUNBOOK}" in replayed.out) == (0, True)
    machine = (await world.command("replay", world.request, "--json")).lines[0]
    assert (machine["identical"], machine["reproduced"]) == (True, 1)
    assert (machine["erased_documents"], machine["pending"]) == ([RUNBOOK], [])
    assert "led to, erased by" in (await world.command("events", world.request)).out
    story = (await world.command("audit", "lineage", "--request", world.request)).out
    assert QUESTION in story and f"had the words of {RUNBOOK} erased: leaked" in story
    touched = await world.command("audit", "lineage", "--document", RUNBOOK, "--json")
    assert {one["request_id"] for one in touched.lines} == {world.request}
    whole = await world.command("replay", "--since", "1")
    assert whole.status == 0, whole.out


async def test_a_document_of_that_name_may_come_again(world: World, tmp_path: Path) -> None:
    file = tmp_path / "wheelbarrow.md"
    file.write_text("The warranty on the wheelbarrow is ten years, with the code in the vault.")
    ingest = ("ingest", str(file), "--tenant", "acme", "--source", "public_help")
    for more in ((), ("--dry-run",)):
        refused = await world.command(*ingest, *more)
        assert (refused.status, "it was erased" in refused.err) == (1, True), refused.err
    assert (await world.command(*ingest, "--again")).status == 0
    assert (await world.command(*ingest)).status == 0
    await world.indexed("in the vault")
    assert "in the vault" in (await world.ask()).text
    policy = tmp_path / "policy.yaml"
    policy.write_text("'*': {document: 30}")
    assert (await world.command("audit", "expire", "--policy", str(policy))).status == 1
    policy.write_text("'*': {conversation: 30}")
    assert (await world.command("audit", "expire", "--policy", str(policy))).status == 0
    key = document_key("public_help", "wheelbarrow")
    left = await logged(world.system.broker, f"ev.document.acme.{key}.*")
    assert [message.subject.split(".")[-1] for message in left] == ["3-0", "4-0"]
    await world.recorded()
    found = await world.command("audit", "query", "--request", key, "--event", "document", "--json")
    assert [one["state"] for one in found.lines] == ["erased", "erased", "erased", "readable"]
    assert (await world.command("audit", "verify")).status == 0


async def _until(holds: Callable[[], bool]) -> None:
    """Wait for what a service does to files, which say nothing when they change."""
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110  # nothing to wait for
            await asyncio.sleep(0.05)
