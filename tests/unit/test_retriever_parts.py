"""What settings name, and what they may not name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.cli.commands import doctor
from interlock.retriever.models.fast import FastEmbedder, FastReranker
from interlock.retriever.models.hosted import ApiEmbedder, ApiReranker
from interlock.retriever.parts import (
    embedder_of,
    external_of,
    reranker_of,
    rewriter_of,
    server_of,
)
from interlock.retriever.settings import RetrieverSettings
from interlock.runtime.errors import UserError


def settings(**given: Any) -> RetrieverSettings:
    return RetrieverSettings(**given)


def test_nothing_named_is_the_embedded_default() -> None:
    plain = settings()
    assert server_of(plain) is None and reranker_of(plain) is None
    assert rewriter_of(plain) is None and external_of(plain) == {}
    assert embedder_of(plain).name.startswith("wordllama-")


def test_parts_by_api() -> None:
    api = {"embedder": "api:small", "embedder_url": "http://127.0.0.1:9/v1"}
    embedder = embedder_of(settings(**api, embedder_dimensions=64))
    assert isinstance(embedder, ApiEmbedder) and embedder.name == "api-small-64"
    reranker = reranker_of(settings(reranker="api:judge", reranker_url="http://127.0.0.1:9"))
    assert isinstance(reranker, ApiReranker)


def test_parts_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_parts.py").write_text(
        "class Shout:\n    async def rewrite(self, query, turns):\n        return query.upper()\n"
        "shout = Shout()\n"
        "from interlock.retriever.external import External\n"
        "sources = {'outside': External('mine', None)}\n"
    )
    assert rewriter_of(settings(rewriter="own_parts:shout")) is not None
    assert external_of(settings(external_sources="own_parts:sources"))["outside"].name == "mine"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"embedder": "openai"}, "is none of wordllama"),
        ({"embedder": "minilm:large"}, "is none of wordllama, minilm"),
        ({"embedder": "api:small"}, "INTERLOCK_EMBEDDER_URL and"),
        ({"embedder": "fastembed:own/model"}, "how many dimensions|not installed"),
        ({"reranker": "api:judge"}, "INTERLOCK_RERANKER_URL"),
        ({"reranker": "judge"}, "neither fastembed"),
        ({"rewriter": "nowhere"}, "package.module:name"),
        ({"rewriter": "no_such_module:x"}, "nothing at no_such_module:x"),
        ({"rewriter": "json:dumps"}, "no method `rewrite`"),
        ({"external_sources": "json:dumps"}, "no mapping of sources"),
        ({"milvus_uri": "a.db", "elasticsearch_url": "http://x"}, "one place"),
        ({"weaviate_url": "http://x", "qdrant_url": "http://y"}, "one place"),
    ],
)
def test_what_does_not_fit_is_said(given: dict[str, Any], says: str) -> None:
    made = settings(**given)
    with pytest.raises(UserError, match=says):
        for part in (server_of, embedder_of, reranker_of, rewriter_of, external_of):
            part(made)


@pytest.mark.parametrize("broken", ["def", "1 / 0"])
def test_a_module_that_breaks_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_parts.py").write_text(broken)
    with pytest.raises(UserError, match=r"broken_parts cannot be imported: \w+Error: ") as told:
        rewriter_of(settings(rewriter="broken_parts:x"))
    assert len(str(told.value).splitlines()) == 1


def test_doctor_makes_the_embedder_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._embedder().ok
    monkeypatch.setenv("INTERLOCK_EMBEDDER", "api:small")
    found = doctor._embedder()
    assert not found.ok and "INTERLOCK_EMBEDDER_URL" in found.found and found.mend


def test_models_are_never_downloaded(tmp_path: Path) -> None:
    """A model fastembed knows, and one it does not, in a folder where neither is."""
    for given in (
        {"embedder": "fastembed:BAAI/bge-small-en-v1.5"},
        {"embedder": "fastembed:own/model", "embedder_dimensions": 8},
        {"reranker": "fastembed:own/judge"},
    ):
        made = settings(**given, model_folder=tmp_path)
        with pytest.raises(UserError, match="is not in"):
            embedder_of(made)
            reranker_of(made)


class Model:
    """As fastembed's models answer."""

    def embed(self, texts: list[str]) -> Any:
        return (np.array([len(text), 0.0]) for text in texts)

    def rerank(self, query: str, texts: list[str]) -> Any:
        return (float(len(text)) for text in texts)


async def test_what_fastembed_gives_is_made_ours() -> None:
    vectors = FastEmbedder(Model(), "m", 2).embed(["four", " "])
    np.testing.assert_array_equal(vectors, np.array([[1, 0], [0, 0]], np.float32))
    assert await FastReranker(Model(), "m").scores("q", ["a", "bcd"]) == [1.0, 3.0]
