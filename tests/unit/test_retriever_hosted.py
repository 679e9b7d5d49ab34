"""Embeddings and reranking by API, against a server that speaks it."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.support.texts_api import TextsApi, texts_api

from interlock.retriever.models.hosted import BATCH, Api, ApiEmbedder, ApiReranker
from interlock.runtime.errors import RetryLater, UserError

KEY = "secret-key-of-the-test"


@pytest.fixture
def server() -> Iterator[TextsApi]:
    with texts_api() as made:
        yield made


def api(server: TextsApi, **more: Any) -> Api:
    return Api(server.url, KEY, first_wait=0.001, **more)


def test_the_request_is_the_documented_one(server: TextsApi) -> None:
    vectors = ApiEmbedder(api(server), "small", 3).embed(["a refund", "", "a parcel is late"])
    path, body, authorization = server.seen[0]
    assert (path, authorization) == ("/v1/embeddings", f"Bearer {KEY}")
    assert body == {"model": "small", "input": ["a refund", "a parcel is late"]}
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], rtol=1e-6)
    # In the order of the texts, whatever the order of the answer.
    assert vectors[0][0] / vectors[0][1] == pytest.approx(8)
    assert vectors[2][0] / vectors[2][1] == pytest.approx(16)


def test_a_text_is_sent_once_and_in_batches(server: TextsApi) -> None:
    embedder = ApiEmbedder(api(server), "small", 3)
    texts = [f"text {number}" for number in range(BATCH + 3)] + ["text 0"]
    first = embedder.embed(texts)
    assert [len(body["input"]) for _, body, _ in server.seen] == [BATCH, 3]
    np.testing.assert_array_equal(embedder.embed(texts[:5]), first[:5])
    assert len(server.seen) == 2
    assert embedder.embed([]).shape == (0, 3)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(server: TextsApi, status: int) -> None:
    server.failing = [(status, {"retry-after": "0"}), (status, {})]
    assert ApiEmbedder(api(server), "small", 3).embed(["a"]).shape == (1, 3)
    assert len(server.seen) == 3


def test_what_does_not_pass_is_said(server: TextsApi) -> None:
    server.failing = [(503, {})] * 10
    with pytest.raises(RetryLater, match="does not answer: status 503"):
        ApiEmbedder(api(server), "small", 3).embed(["a"])
    with pytest.raises(RetryLater, match="ConnectError"):
        ApiEmbedder(Api("http://127.0.0.1:1", first_wait=0.001), "small", 3).embed(["a"])


@pytest.mark.parametrize(("status", "says"), [(401, "refuses the key"), (404, "model's name")])
def test_what_no_retry_mends_is_tried_once(server: TextsApi, status: int, says: str) -> None:
    server.failing = [(status, {})]
    with pytest.raises(UserError, match=says) as caught:
        ApiEmbedder(api(server), "small", 3).embed(["a"])
    assert len(server.seen) == 1
    assert KEY not in str(caught.value)


def test_a_model_of_another_size_is_refused(server: TextsApi) -> None:
    with pytest.raises(UserError, match="not of 4 dimensions"):
        ApiEmbedder(api(server), "small", 4).embed(["a"])


def test_calls_keep_to_the_rate(server: TextsApi) -> None:
    embedder = ApiEmbedder(api(server, per_minute=1_200), "small", 3)
    started = time.monotonic()
    for text in ("a", "b", "c"):
        embedder.embed([text])
    assert time.monotonic() - started >= 0.1


async def test_reranking(server: TextsApi) -> None:
    reranker = ApiReranker(api(server), "judge")
    assert await reranker.scores("why", ["short", "quite long"]) == [0.05, 0.1]
    assert server.seen[0][:2] == (
        "/v1/rerank",
        {"model": "judge", "query": "why", "documents": ["short", "quite long"]},
    )
    server.answer = lambda path, body: {"results": [{"index": 0, "relevance_score": 1.0}]}
    with pytest.raises(RetryLater, match="left out"):
        await reranker.scores("why", ["short", "quite long"])
