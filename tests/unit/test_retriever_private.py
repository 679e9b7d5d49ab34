"""What is personal in documents and queries never reaches an embedder or a reranker by API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.texts_api import TextsApi, texts_api

from interlock.bundles.knowledge import KnowledgeSource, RetrievalSpec
from interlock.bundles.model import Bundle, Intent
from interlock.bundles.privacy import PrivacySpec, Recogniser
from interlock.retriever.generations.building import generation_again
from interlock.retriever.generations.folder import Generations
from interlock.retriever.parts import Parts, parts_of
from interlock.retriever.private import (
    PrivateEmbedder,
    PrivateReranker,
    hiding,
    let_out,
    private_embedder,
)
from interlock.retriever.search import Recorded, SearchRequest, SearchResult
from interlock.retriever.service import build_index
from interlock.retriever.settings import RetrieverSettings
from interlock.retriever.stage import to_context
from interlock.runtime.embedding import load_wordllama
from interlock.runtime.errors import UserError
from interlock_contracts.retrieval import Trust

VALUES = (
    "ana@example.com",
    "4111 1111 1111 1111",
    "DE89370400440532013000",
    "905-674-3793",
    "soy 54362315-K"[4:],
    "106.31.73.20",
    "M-12345678",
)
DOCUMENT = "# Refunds\n\nRefunds are paid by hand. Ask " + ", ".join(VALUES) + " about a refund.\n"
PRIVACY = PrivacySpec(recognisers=(Recogniser(kind="MEMBER", pattern=r"M-\d{8}"),))
PRIVATE = Bundle(name="test", version="1", privacy=PRIVACY)


@pytest.fixture
def server() -> Iterator[TextsApi]:
    with texts_api() as made:
        yield made


def parts(server: TextsApi, **more: str) -> Parts:
    api = {"embedder_url": server.url, "reranker_url": server.url, "embedder_dimensions": "3"}
    given = {"embedder": "api:small", "reranker": "api:judge", **api, **more}
    return parts_of(RetrieverSettings.model_validate(given))


def bundle_in(root: Path, privacy: PrivacySpec | None) -> Bundle:
    folder = root / "docs/acme"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "refunds.md").write_text(DOCUMENT)
    sources = {"help": KnowledgeSource(path="docs/{tenant}", trust=Trust.TRUSTED)}
    return Bundle(name="test", version="1", sources=sources, privacy=privacy)


async def searched(server: TextsApi, root: Path, privacy: PrivacySpec | None) -> SearchResult:
    bundle = bundle_in(root, privacy)
    used = parts(server).of(bundle)
    made = await build_index(bundle, root, root / "index", embedder=used.embedder)
    return await used.around(made).search(request(f"who pays a refund to {VALUES[0]}"))


def request(query: str) -> SearchRequest:
    return SearchRequest(
        query=query, tenant="acme", scopes=(), sources=("help",), spec=RetrievalSpec()
    )


def sent(server: TextsApi) -> list[str]:
    """The values that were sent, of all that there are."""
    bodies = json.dumps([body for _, body, _ in server.seen], ensure_ascii=False)
    return [value for value in VALUES if value in bodies]


async def test_no_value_of_a_document_or_a_query_leaves(server: TextsApi, tmp_path: Path) -> None:
    found = await searched(server, tmp_path, PRIVACY)
    assert {path for path, _, _ in server.seen} == {"/v1/embeddings", "/v1/rerank"}
    assert sent(server) == []
    said = json.dumps([body for _, body, _ in server.seen])
    for kind in ("EMAIL", "CARD", "IBAN", "PHONE", "NATIONAL_ID", "IP", "MEMBER"):
        assert f"[{kind}]" in said
    # Here everything is as it is: what is found, cited and searched by words.
    assert all(value in found.chunks[0].text for value in VALUES)


async def test_without_a_privacy_section_documents_go_as_they_are(
    server: TextsApi, tmp_path: Path
) -> None:
    await searched(server, tmp_path, None)
    assert sent(server) == list(VALUES)


async def test_who_was_given_texts_is_on_record(server: TextsApi, tmp_path: Path) -> None:
    hidden = await searched(server, tmp_path, PRIVACY)
    plain = await searched(server, tmp_path, None)
    assert plain.outside == ("api-small-3", "api-judge")
    assert [name.rpartition("-")[0] for name in hidden.outside] == [
        "api-small-3-redacted",
        "api-judge-redacted",
    ]
    context = to_context(request(f"who pays a refund to {VALUES[0]}"), hidden)
    assert context.record is not None and context.record.outside == hidden.outside
    again = await Recorded(context).search(request(f"who pays a refund to {VALUES[0]}"))
    assert again.outside == hidden.outside


async def test_redacted_and_other_vectors_never_mix(server: TextsApi, tmp_path: Path) -> None:
    plain = await searched(server, tmp_path, None)
    other = PRIVACY.model_copy(update={"kinds": ("EMAIL",)})
    identities = [
        (await searched(server, tmp_path, privacy)).index for privacy in (PRIVACY, other, PRIVACY)
    ]
    assert len({plain.index, *identities}) == 3 and identities[0] == identities[2]
    generations = Generations(tmp_path / "index", private_embedder(parts(server).embedder, PRIVATE))
    with pytest.raises(UserError, match="their vectors do not compare"):
        await generation_again(generations, plain.index)


async def test_a_text_is_redacted_the_same_way_every_time(server: TextsApi) -> None:
    hide = hiding(PRIVACY)
    assert hide("a@x.com to b@x.com, [EMAIL_7]") == "[EMAIL] to [EMAIL], [EMAIL]"
    assert hide("a@x.com to b@x.com, [EMAIL_7]") == hiding(PRIVACY)("c@x.com to d@x.com, e@x.com")
    assert hide("") == "" and hide("where is my parcel") == "where is my parcel"


def test_what_runs_here_is_left_alone(server: TextsApi, tmp_path: Path) -> None:
    here = load_wordllama()
    assert private_embedder(here, PRIVATE) is here
    by_api = parts(server)
    assert by_api.of(bundle_in(tmp_path, None)).embedder is by_api.embedder
    private = by_api.of(bundle_in(tmp_path, PRIVACY))
    assert isinstance(private.embedder, PrivateEmbedder) and private.embedder.waits
    assert isinstance(private.reranker, PrivateReranker)


def test_a_text_that_takes_too_long_is_sent_nowhere(server: TextsApi) -> None:
    hostile = PrivacySpec(recognisers=(Recogniser(kind="X", pattern=r"(a|aa|aaa)+$"),))
    bundle = PRIVATE.model_copy(update={"privacy": hostile})
    embedder = private_embedder(parts(server).embedder, bundle)
    with pytest.raises(UserError, match=r"privacy: .* took longer .* sent nowhere"):
        embedder.embed(["a" * 10_000 + "b"])
    assert server.seen == []


@pytest.mark.parametrize("part", ["embedder", "reranker"])
async def test_data_goes_only_where_residency_and_data_class_let_it(
    server: TextsApi, part: str
) -> None:
    other = "reranker" if part == "embedder" else "embedder"
    held = Bundle(
        name="test",
        version="1",
        residency={"acme": ("eu", "uk")},
        intents={
            "medical": Intent(sources=("help",), data_class="health"),
            "unsearched": Intent(data_class="payment"),
        },
    )
    well = {f"{other}_region": "eu", f"{other}_data_classes": "health"}
    setting = f"INTERLOCK_{part.upper()}"
    for given, says in (
        ({}, f"data of acme may go to eu, uk, .* in an unknown region: .* {setting}_REGION"),
        ({f"{part}_region": "us"}, "is in us"),
        ({f"{part}_region": "eu"}, f"medical are of class health, .* {setting}_DATA_CLASSES"),
    ):
        with pytest.raises(UserError, match=says):
            parts(server, **well, **given).of(held)
    allowed = {f"{part}_region": "uk", f"{part}_data_classes": "legal,health"}
    assert parts(server, **well, **allowed).of(held).embedder.name == "api-small-3"
    assert server.seen == []


def test_bundles_that_let_out_otherwise_do_not_share_an_index() -> None:
    strict = PRIVATE.model_copy(update={"residency": {"acme": ("eu",)}})
    assert let_out(PRIVATE) == let_out(PRIVATE.model_copy(update={"version": "2"}))
    assert let_out(PRIVATE) != let_out(strict)
