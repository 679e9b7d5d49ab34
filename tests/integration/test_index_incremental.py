"""A generation made of the one before is the one made from nothing, for less work."""

import asyncio
import random
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.test_index_build import Words
from tests.support.indexes import WARNINGS, MakeServer, servers

from interlock.bundles.knowledge import RetrievalSpec
from interlock.retriever.corpus import Corpus
from interlock.retriever.documents import Document, Passage, cut
from interlock.retriever.engines.server import Server
from interlock.retriever.generations.building import (
    delete_outdated,
    generation,
    generation_again,
)
from interlock.retriever.generations.content import Content
from interlock.retriever.generations.folder import PARTS_LOCK, Generations
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.retriever.searcher import Searcher
from interlock.runtime.embedding import Vectors
from interlock.runtime.errors import RetryLater, UserError
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Trust

pytestmark = WARNINGS

WORDS = ("refund", "parcel", "battery", "invoice", "A-1001", "warranty")


@dataclass(frozen=True)
class Said:
    """What a document says, and who may read it."""

    words: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    tenant: str = "acme"


World = Mapping[int, Said]
"""The documents that stand, by number."""


def content(world: World) -> Content:
    passages: list[Passage] = []
    for number, said in world.items():
        text = " ".join(said.words)
        passages += cut(
            Document(
                document_id=f"{said.tenant}/help/d{number}",
                version=digest_bytes(text.encode()),
                tenant=said.tenant,
                source="help",
                trust=Trust.TRUSTED,
                scopes=said.scopes,
                title=f"Document {number}",
                url=None,
                text=text,
            )
        )
    return Content.of(passages)


def worlds() -> st.SearchStrategy[list[World]]:
    """Up to six states of up to eight documents, each differing from the one before."""
    said = st.builds(
        Said,
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(tuple),
        st.sampled_from([(), ("staff",)]),
        st.sampled_from(["acme", "globex"]),
    )
    change = st.dictionaries(st.integers(0, 7), st.none() | said, max_size=4)

    def states(changes: Sequence[Mapping[int, Said | None]]) -> list[World]:
        now: dict[int, Said] = {}
        found: list[World] = []
        for one in changes:
            both = {**now, **one}
            now = {number: said for number, said in both.items() if said is not None}
            found.append(now)
        return found

    return st.lists(change, min_size=2, max_size=6).map(states)


async def answers(searcher: Searcher) -> list[SearchResult]:
    """To every reader, of lists that are shorter than what there is."""
    spec = RetrievalSpec(candidates=3, limit=3)
    found = []
    for tenant, scopes in (("acme", ()), ("acme", ("staff",)), ("globex", ("staff",))):
        for query in ("refund battery", "A-1001", "Document 3"):
            asked = SearchRequest(
                query=query, tenant=tenant, scopes=scopes, sources=("help",), spec=spec
            )
            found.append(replace(await searcher.search(asked), timings={}))
    return found


async def agree(states: Sequence[World], server: Server | None, folder: Path) -> None:
    """Each state after the others gives what it gives alone."""
    one = Generations(folder / "one", Words(), server=server, keep=2, installation="one")
    for number, world in enumerate(states):
        searcher = await generation(one, content(world))
        one.note(served=searcher.identity)
        await delete_outdated(one, {searcher.identity})
        alone = replace(one, folder=folder / f"alone-{number}", installation=f"alone-{number}")
        anew = await generation(alone, content(world))
        assert searcher.identity == anew.identity
        assert await answers(searcher) == await answers(anew)
        made, whole = (its.manifest(anew.identity) for its in (one, alone))
        assert (made.documents, made.passages) == (whole.documents, whole.passages)
        assert made.audiences == whole.audiences


@settings(max_examples=60, derandomize=True)
@given(states=worlds())
def test_embedded_generations_are_what_they_would_be_alone(states: list[World]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(agree(states, None, Path(folder)))


def some_states(seed: int) -> list[World]:
    """Three states, each differing in a few documents from the one before."""
    chance = random.Random(seed)
    now: dict[int, Said] = {}
    found: list[World] = []
    for _ in range(3):
        for number in chance.sample(range(8), 5):
            words = tuple(chance.choices(WORDS, k=chance.randrange(1, 4)))
            scopes = chance.choice([(), ("staff",)])
            now[number] = Said(words, scopes, chance.choice(["acme", "globex"]))
        now.pop(chance.randrange(8), None)
        found.append(dict(now))
    return found


@servers
async def test_generations_on_a_server_are_what_they_would_be_alone(
    make: MakeServer, tmp_path: Path
) -> None:
    async with make() as server:
        for seed in range(3):
            await agree(some_states(seed), server, tmp_path / str(seed))


class Counting(Words):
    """An embedder that counts the texts it is given."""

    def __init__(self) -> None:
        self.texts = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += len(texts)
        return super().embed(texts)


HUNDRED = {number: Said((WORDS[number % 5], f"n{number}")) for number in range(100)}


@asynccontextmanager
async def nowhere():  # type: ignore[no-untyped-def]  # as a MakeServer
    """No server: an embedded index."""
    yield None


@pytest.mark.parametrize("make", [pytest.param(nowhere, id="embedded"), *servers.args[1]])
async def test_one_document_that_changed_is_all_that_is_made(
    make: MakeServer, tmp_path: Path
) -> None:
    async with make() as server:
        embedder = Counting()
        generations = Generations(tmp_path, embedder, server=server)
        first = await generation(generations, content(HUNDRED))
        assert generations.manifest(first.identity).indexed == embedder.texts == 100
        changed = {**HUNDRED, 7: Said(("warranty",))}
        embedder.texts = 0
        second = await generation(generations, content(changed))
        assert generations.manifest(second.identity).indexed == embedder.texts == 1
        for searcher, found in ((first, []), (second, ["warranty"])):
            asked = SearchRequest(
                query="warranty", tenant="acme", scopes=(), sources=("help",), spec=RetrievalSpec()
            )
            best = (await searcher.search(asked)).chunks[:1]
            assert [one.text for one in best if "warranty" in one.text] == found
        embedder.texts = 0
        fewer = {number: said for number, said in HUNDRED.items() if number != 7}
        third = await generation(generations, content(fewer))
        assert generations.manifest(third.identity).indexed == embedder.texts == 0
        assert len(await answers(third)) == 9


@servers
async def test_what_another_retriever_sent_is_not_sent_again(
    make: MakeServer, tmp_path: Path
) -> None:
    """Nor embedded: replicas on several machines have folders of their own."""
    async with make() as server:
        one = Generations(tmp_path / "one", Counting(), server=server)
        made = await generation(one, content(HUNDRED))
        embedder = Counting()
        other = Generations(tmp_path / "other", embedder, server=server)
        again = await generation(other, content(HUNDRED))
        assert (again.identity, embedder.texts) == (made.identity, 0)
        assert await answers(again) == await answers(made)
        # What one deletes because it is old the other sends again where it needs it.
        for number in range(3):
            last = await generation(one, content({**HUNDRED, 1: Said((f"v{number}",))}))
            one.note(served=last.identity)
        await delete_outdated(replace(one, keep=1), ())
        back = await generation(other, content({**HUNDRED, 1: Said(("v0",))}))
        assert "v0" in {chunk.text for chunk in (await asked_for("v0", back)).chunks}


async def asked_for(query: str, searcher: Searcher) -> SearchResult:
    request = SearchRequest(
        query=query, tenant="acme", scopes=(), sources=("help",), spec=RetrievalSpec()
    )
    return await searcher.search(request)


def holding(folder: Path) -> bool:
    """Whether a file below a folder has the word."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return any(b"swordfish" in path.read_bytes() for path in files)


async def test_what_was_erased_is_in_no_segment(tmp_path: Path) -> None:
    """Also of a generation with the same documents, whose segments still held it."""
    generations = Generations(tmp_path, Words(), Corpus(tmp_path), keep=2)
    with_secret = {**HUNDRED, 200: Said(("swordfish",))}
    await generation(generations, content(with_secret))
    without = await generation(generations, content(HUNDRED))
    assert holding(tmp_path)
    again = await generation(generations, content(HUNDRED), erasures=1)
    assert again.identity == without.identity
    assert await delete_outdated(generations, {again.identity}, 1)
    assert not holding(tmp_path)
    assert await answers(again) == await answers(without)


async def test_documents_that_change_as_they_are_read_are_read_again_later(tmp_path: Path) -> None:
    before, after = content({1: Said(("refund",))}), content({1: Said(("parcel",))})
    torn = replace(before, read=after.read)
    generations = Generations(tmp_path, Words())
    with pytest.raises(RetryLater, match="changed as they were read"):
        await generation(generations, torn)
    assert generations.manifests() == []


async def test_what_is_deleted_meanwhile_is_no_error(tmp_path: Path) -> None:
    """A list of generations is old as soon as it is made; one that is opened stays until then."""
    generations = Generations(tmp_path, Words())
    made = await generation(generations, content(HUNDRED))
    assert generations.size(made.identity) > 0
    with generations.locked(PARTS_LOCK, shared=True):
        assert not await delete_outdated(generations, (), erasures=1)
    assert await answers(await generation_again(generations, made.identity))
    assert await delete_outdated(generations, (), erasures=1)
    assert generations.size(made.identity) == 0
    with pytest.raises(UserError, match="there is no index"):
        await generation_again(generations, made.identity)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_what_a_crash_left_is_swept_away(tmp_path: Path) -> None:
    generations = Generations(tmp_path, Words())
    made = await generation(generations, content(HUNDRED))
    for name in (".building-x", "segments/.before-y", "segments/" + "0" * 32, "1" * 32):
        (tmp_path / name).mkdir()
    await delete_outdated(generations, {made.identity})
    left = names_in(tmp_path) | names_in(tmp_path / "segments")
    kept = {generations.folder_of(made.identity).name, "segments"}
    kept |= {one.name for one in generations.parts(made.identity)}
    assert {name for name in left if not name.startswith(".lock")} == kept
