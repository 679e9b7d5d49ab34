"""What a what-if may be told to run live: questions of a replay process, answered by its parent.

A replay process has no network and no keys. The two things that a user can allow it to use, a
model and an index, are asked for over its pipe, in JSON, and asked by the parent.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from interlock.bundles.errors import BundleRefused, BundleUnknown
from interlock.models.port import ModelRequest, ModelResponse
from interlock.models.routes import ModelRoutes
from interlock.replay.recorded import NotRecorded
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.retriever.searcher import Searcher
from interlock.runtime.errors import RetryLater, UserError
from interlock.runtime.stage import Bundles

Ask = Callable[[str, Any], Any]
"""Asks the parent process: the kind, and what; None where it does not answer that."""

Answer = Callable[[Any], Awaitable[Any]]

_SEARCH: TypeAdapter[SearchRequest] = TypeAdapter(SearchRequest)
_FOUND: TypeAdapter[SearchResult] = TypeAdapter(SearchResult)
_QUESTION: TypeAdapter[ModelRequest] = TypeAdapter(ModelRequest)
_SAID: TypeAdapter[ModelResponse] = TypeAdapter(ModelResponse)


def live_search(ask: Ask, bundle: str, request: SearchRequest) -> SearchResult:
    """The parent's index; raises `NotRecorded` where it does not answer."""
    text = ask("search", [bundle, _SEARCH.dump_json(request).decode()])
    if text is None:
        raise NotRecorded("no index of this bundle answered")
    return _FOUND.validate_json(text)


def live_model(ask: Ask, request: ModelRequest) -> ModelResponse:
    """The parent's model; raises `NotRecorded` where it does not answer."""
    text = ask("model", _QUESTION.dump_json(request).decode())
    if not isinstance(text, str) or not text.startswith("{"):
        raise NotRecorded(f"the model of step {request.step} did not answer: {text}")
    return _SAID.validate_json(text)


def model_answer() -> Answer:
    """Asks the models of a question with this process's keys and network."""
    routes = ModelRoutes()

    async def answer(text: Any) -> str:
        try:
            question = _QUESTION.validate_json(str(text))
            return _SAID.dump_json(await routes.complete(question)).decode()
        except RetryLater as error:
            return error.message
        except ValidationError:
            return "the question could not be read"

    return answer


def search_answer(bundles: Bundles, folders: dict[str, Path], index: Path) -> Answer:
    """Asks an index of a bundle's documents, built below `index` when it is first asked.

    `folders` says by digest where a bundle's documents are; others are not answered.
    """
    built: dict[str, Searcher] = {}

    async def answer(what: Any) -> str | None:
        from interlock.retriever.service import build_index

        digest, text = what
        folder = folders.get(digest)
        try:
            if folder is None:
                return None
            if digest not in built:
                place = index / digest.removeprefix("sha256:")
                built[digest] = await build_index(await bundles.get(digest), folder, place)
            found = await built[digest].search(_SEARCH.validate_json(text))
            return _FOUND.dump_json(found).decode()
        except (BundleUnknown, BundleRefused, RetryLater, UserError, ValidationError):
            return None

    return answer
