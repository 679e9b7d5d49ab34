"""Embeddings and rerankers behind an HTTP API, in the forms that most servers speak.

Embeddings: OpenAI's `POST /embeddings` (OpenAI, vLLM, Ollama, text-embeddings-inference,
llama.cpp and others). Reranking: `POST /rerank` as Cohere, Jina and vLLM have it.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from interlock.runtime.embedding import Vectors
from interlock.runtime.errors import RetryLater, UserError
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.failures import FailureCode

BATCH = 64
"""Texts per call."""

ATTEMPTS = 5
"""Tries of one call, the first included."""

LONGEST_WAIT_S = 20.0
"""However long a server asks to be left alone, this is what is waited before the next try."""

REMEMBERED = 4_096
"""Vectors that are kept in memory, by the digest of their text."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an API processes what it is sent, and the classes of data it may have: your own word.

    `setting` is what the settings of the part begin with, for messages.
    """

    setting: str = ""
    region: str | None = None
    data_classes: tuple[str, ...] = ()


class _Again(Exception):
    """A call that may go well another time; `after` is what the server asked for, in seconds."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Api:
    """JSON over HTTP: retried where that helps, and no faster than the server allows."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        per_minute: int | None = None,
        timeout: float = 30.0,
        first_wait: float = 0.5,
    ) -> None:
        """`per_minute` bounds the calls of this process; times in seconds."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=timeout)
        self._between = 60 / per_minute if per_minute else 0.0
        self._first_wait = first_wait
        self._next = 0.0
        self._lock = threading.Lock()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer; `UserError` for what no retry mends, `RetryLater` when all tries failed."""
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=self._wait,
            retry=retry_if_exception_type(_Again),
            reraise=True,
        )
        try:
            return retrying(self._once, path, body)
        except _Again as error:
            message = f"{self._client.base_url.host} does not answer: {error}"
            raise RetryLater(FailureCode.STAGE_FAILED, message) from None

    def _once(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._take_turn()
        try:
            response = self._client.post(path, json=body)
        except httpx.TransportError as error:
            raise _Again(type(error).__name__) from None
        if response.status_code == 429 or response.status_code >= 500:
            raise _Again(f"status {response.status_code}", _asked_to_wait(response))
        if response.status_code in (401, 403):
            raise UserError(f"{self._client.base_url.host} refuses the key; check its variable")
        if response.status_code >= 400:
            raise UserError(
                f"{self._client.base_url.host} answers {response.status_code} to {path}: "
                "check the address and the model's name"
            )
        try:
            found = response.json()
        except ValueError:
            raise _Again("no JSON") from None
        if not isinstance(found, dict):
            raise _Again("no JSON object")
        return found

    def _take_turn(self) -> None:
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._between
        if turn > now:
            time.sleep(turn - now)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _Again) and error.after is not None:
            return min(error.after, LONGEST_WAIT_S)
        return wait_exponential_jitter(self._first_wait, LONGEST_WAIT_S, jitter=self._first_wait)(
            state
        )


def _asked_to_wait(response: httpx.Response) -> float | None:
    """Seconds of a `Retry-After`, which is a number or a date (RFC 9110 §10.2.3)."""
    said = response.headers.get("retry-after", "")
    if said.isdigit():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None


class ApiEmbedder:
    """A `TextEmbedder` behind an embeddings API: what it is given goes `outside`.

    It `waits`: it is called in a thread.
    """

    waits = True
    outside = True

    def __init__(self, api: Api, model: str, dimensions: int, place: Place | None = None) -> None:
        """`dimensions` is what the model gives; another number is a `UserError` at first use."""
        self.name = f"api-{model}-{dimensions}"
        self.dimensions = dimensions
        self.place = place or Place()
        self._api = api
        self._model = model
        self._known: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, shape `(len(texts), dimensions)`, of unit length.

        A text is sent once, in batches; blank ones are not sent and have a row of zeros.
        """
        names = [digest_bytes(text.encode()) for text in texts]
        with self._lock:
            found = {name: self._known[name] for name in names if name in self._known}
        missing = {
            name: text
            for name, text in zip(names, texts, strict=True)
            if text.strip() and name not in found
        }
        for batch in _batches(list(missing.items())):
            vectors = self._ask([text for _, text in batch])
            found |= {name: row for (name, _), row in zip(batch, vectors, strict=True)}
        self._remember(found)
        zeros = np.zeros(self.dimensions, np.float32)
        rows = [found.get(name, zeros) for name in names]
        return np.stack(rows) if rows else np.zeros((0, self.dimensions), np.float32)

    def _remember(self, vectors: dict[str, Vectors]) -> None:
        with self._lock:
            self._known |= vectors
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def _ask(self, texts: list[str]) -> Vectors:
        answer = self._api.post("embeddings", {"model": self._model, "input": texts})
        rows = sorted(answer.get("data", ()), key=lambda row: int(row["index"]))
        vectors = np.array([row["embedding"] for row in rows], np.float32)
        if vectors.shape != (len(texts), self.dimensions):
            raise UserError(
                f"{self._model} gives vectors of shape {vectors.shape} for {len(texts)} texts, "
                f"not of {self.dimensions} dimensions: set the number it really has"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


class ApiReranker:
    """A `Reranker` behind an API: what it is given goes `outside`."""

    outside = True

    def __init__(self, api: Api, model: str, place: Place | None = None) -> None:
        self.name = f"api-{model}"
        self.place = place or Place()
        self._api = api
        self._model = model

    async def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """The server's relevance scores, in the order of `texts`."""
        body = {"model": self._model, "query": query, "documents": list(texts)}
        answer = await asyncio.to_thread(self._api.post, "rerank", body)
        by_place = {
            int(one["index"]): float(one["relevance_score"]) for one in answer.get("results", ())
        }
        if set(by_place) != set(range(len(texts))):
            raise RetryLater(FailureCode.STAGE_FAILED, f"{self._model} left out some texts")
        return [by_place[place] for place in range(len(texts))]


def _batches(items: list[tuple[str, str]]) -> Iterable[list[tuple[str, str]]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
