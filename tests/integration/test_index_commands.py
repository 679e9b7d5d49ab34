"""`ingest`, `retrieve` and `index` beside a running system: what an operator sees of it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration.test_replay import World, running_world
from tests.integration.test_stage_filter import Piped, call

from interlock.retriever.generations.folder import Generations
from interlock.retriever.ranking.pooled import load_pooled

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUERY = "Which glue mends a cracked terracotta pot?"
TEXT = "For a cracked terracotta pot take the two-component glue {number}, never hot glue."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One system for the module."""
    async with running_world(tmp_path_factory.mktemp("world")) as running:
        yield running


async def cli(world: World, *arguments: str) -> Piped:
    where = ("--state", str(world.settings.state))
    return await asyncio.to_thread(call, (*arguments, *where))


async def retrieve(world: World, *more: str) -> Piped:
    return await cli(world, "retrieve", QUERY, "--tenant", "acme", *more)


async def ingest(world: World, folder: Path, number: int, *more: str) -> None:
    """Put the document in this version."""
    path = folder / "pots.md"
    path.write_text(TEXT.format(number=number))
    arguments = ("--tenant", "acme", "--source", "public_help", *more)
    assert (await cli(world, "ingest", str(path), *arguments)).status == 0


async def answering(world: World) -> str:
    return str((await cli(world, "index", "status", "--json")).lines[0]["answering"])


async def switched(world: World, before: str) -> str:
    """Wait until another index answers."""
    async with asyncio.timeout(20):
        while True:
            now = await answering(world)
            if now != before:
                return now
            await asyncio.sleep(0.05)  # as an operator would


async def test_a_search_again_is_the_same_and_a_changed_index_is_named(
    world: World, tmp_path: Path
) -> None:
    request = world.requests["cited"]
    again = await cli(world, "replay", request, world.requests["status"], "--search", "--json")
    assert again.status == 0 and all(one["identical"] for one in again.lines)

    # Documents changed since; what it was answered from is kept, and found again by name.
    before = await answering(world)
    await ingest(world, tmp_path, 0)
    after = await switched(world, before)
    assert (await cli(world, "replay", request, "--search")).status == 0

    generations = Generations(world.settings.state / "index", load_pooled())
    generations.remove(generations.folder_of(before))
    gone = await cli(world, "replay", request, "--search", "--json")
    assert gone.status == 1
    (found,) = gone.lines[0]["divergences"]
    assert (found["stage"], found["pointer"]) == ("retriever", "/context/record/index")
    assert (found["recorded"], found["replayed"]) == (before, after)
    told = await cli(world, "replay", request, "--search")
    assert before in told.out and after in told.out and "not kept here any more" in told.out
    assert (await cli(world, "replay", request)).status == 0
    refused = await cli(world, "replay", request, "--search", "--with", "model=a:b")
    assert refused.status == 1 and "no --with" in refused.err
    await cli(world, "ingest", str(tmp_path), "--tenant", "acme", "--source", "public_help")
    (tmp_path / "pots.md").unlink()
    empty = ("--tenant", "acme", "--source", "public_help", "--delete", "--empty")
    assert (await cli(world, "ingest", str(tmp_path), *empty)).status == 0
    await switched(world, after)


async def test_from_ingest_to_retrieve_and_back(world: World, tmp_path: Path) -> None:
    nothing = await retrieve(world, "--explain", "pots")
    assert nothing.status == 1
    assert "nothing_indexed" in nothing.out and "no passage has this document id" in nothing.out

    before = await answering(world)
    await ingest(world, tmp_path, 1)
    first = await switched(world, before)
    found = await retrieve(world)
    assert found.status == 0 and "two-component glue 1" in found.out
    explained = (await retrieve(world, "--explain", "pots", "--json")).lines[0]
    assert (explained["outcome"], explained["reason"]) == ("found", "in the context")
    assert explained["document_id"] == "acme/public_help/pots"
    assert {place["step"] for place in explained["passages"][0]["places"]} >= {"keyword", "dense"}

    # An evaluation finds documents of the log, too.
    (tmp_path / "cracked.md").write_text("You can return a cracked pot within 77 days.")
    arguments = ("--tenant", "acme", "--source", "public_help")
    await cli(world, "ingest", str(tmp_path / "cracked.md"), *arguments)
    first = await switched(world, first)
    text = "How many days do I have to return a cracked pot?"
    case = {"id": "pots", "tenant": "acme", "user": "maria", "role": "customer", "text": text}
    wanted = {"outcome": "answered", "documents": ["acme/public_help/cracked"]}
    (tmp_path / "gold").write_text(json.dumps(case | wanted))
    gold = ("--gold", str(tmp_path / "gold"), "--bundle", "examples/support")
    judged = await cli(world, "eval", "run", *gold, "--json")
    assert judged.lines[-1]["passed"] == 1, judged.lines

    await ingest(world, tmp_path, 2)
    second = await switched(world, first)
    rolled = await cli(world, "index", "rollback", "--json")
    assert rolled.lines == [{"pinned": first, "before": second}]
    shown = (await cli(world, "index", "status")).out
    assert "pinned" in shown and "on the log: acme/public_help 2 documents" in shown

    again = await cli(world, "index", "reindex", "--json")
    assert again.status == 0 and again.lines[0]["identity"] == second
    assert await answering(world) == second
    status = (await cli(world, "index", "status", "--json")).lines[0]
    assert not status["pinned"]
    assert status["documents_on_the_log"] == {"acme/public_help": 2}
    assert all(one["bytes"] > 0 for one in status["generations"])


@pytest.mark.parametrize(
    ("options", "outcome", "reason"),
    [
        (("--source", "runbooks"), "filtered_out", "its source 'public_help' is not among"),
        (("--at", "2001-01-01"), "filtered_out", "not valid at that time: from 2002-02-02"),
    ],
)
async def test_what_was_filtered_out_says_by_what(
    world: World, tmp_path: Path, options: tuple[str, ...], outcome: str, reason: str
) -> None:
    before = await answering(world)
    (tmp_path / "dated.md").write_text(f"---\nvalid_from: 2002-02-02\n---\n{options} dated pot")
    arguments = ("--tenant", "acme", "--source", "public_help")
    await cli(world, "ingest", str(tmp_path / "dated.md"), *arguments)
    await switched(world, before)
    told = await retrieve(world, "--explain", "dated", *options)
    assert told.status == 1
    assert outcome in told.out and reason in told.out


async def test_scopes_that_are_missing_are_named(world: World) -> None:
    runbook = "acme/runbooks/refund-approval"
    told = await retrieve(world, "--explain", runbook)
    assert told.status == 1 and "scopes not held: staff" in told.out


async def test_the_record_is_for_machines(world: World) -> None:
    found = (await retrieve(world, "--json", "--scope", "staff")).lines[0]
    assert set(found) == {"outcome", "index", "queries", "chunks", "rankings", "dropped"}
    assert json.dumps(found["rankings"])


async def test_a_what_if_searches_the_documents_of_the_log_too(
    world: World, tmp_path: Path
) -> None:
    before = await answering(world)
    (tmp_path / "pots.md").write_text("# Pots\nYou can return a terracotta pot within 97 days.")
    arguments = ("--tenant", "acme", "--source", "public_help")
    assert (await cli(world, "ingest", str(tmp_path / "pots.md"), *arguments)).status == 0
    await switched(world, before)
    asked = await cli(world, "ask", "How many days do I have to return a terracotta pot?", "--json")
    answer = asked.lines[-1]["data"]
    assert "97 days" in answer["text"]
    other = tmp_path / "support"
    shutil.copytree("examples/support", other, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "other.yaml").write_text(
        'extends: bundle.yaml\nversion: "1.0.0-other"\nretrieval: {limit: 3}\n'
    )
    bundle = f"bundle={other / 'other.yaml'}"
    told = (await cli(world, "replay", answer["request_id"], "--with", bundle, "--json")).lines[0]
    assert (told["change"], told["after"]["text"]) == ("same", answer["text"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("retrieve", "x", "--tenant", "acme", "--source", "publik"), "no source 'publik'"),
        (("index", "rollback", "--to", "abc"), "no index to go back to"),
    ],
)
async def test_mistakes_are_one_line(world: World, arguments: tuple[str, ...], said: str) -> None:
    told = await cli(world, *arguments)
    assert told.status == 1
    assert said in told.err and len(told.err.strip().splitlines()) == 1
