"""What a replay may be told to ask again: questions of a replay process, answered by its parent.

A replay process has no network and no keys. The two things that a user can allow it to use, a
model and an index, are asked for over its pipe, in JSON, and asked by the parent.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from interlock.bundles.errors import BundleRefused, BundleUnknown
from interlock.models.port import ModelRequest, ModelResponse
from interlock.models.routes import ModelRoutes
from interlock.replay.log import MemoryLog
from interlock.replay.recorded import NotRecorded, recorded_search
from interlock.retriever import stage as retriever
from interlock.retriever.search import Search, SearchRequest, SearchResult
from interlock.runtime.errors import RetryLater, UserError
from interlock.runtime.settings import Settings
from interlock.runtime.stage import Bundles, Decide
from interlock_contracts.failures import FailureCode
from interlock_contracts.subjects import Subject

Ask = Callable[[str, Any], Any]
"""Asks the parent process: the kind, and what; None where it does not answer that."""

Answer = Callable[[Any], Awaitable[Any]]

AGAIN = "search-again"
"""The kind of the question for a search that is compared with its record."""

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


def searching_stage(ask: Ask, log: MemoryLog) -> Decide:
    """The retriever's stage with searches asked again of the parent (`again_answer`)."""
    return lambda given: retriever.decide(
        given, _SearchAgain(ask, log, given.event.subject, given.bundle.digest)
    )


@dataclass(frozen=True, slots=True)
class _SearchAgain:
    """The search of one request, of the index that its record names; timings are the record's."""

    ask: Ask
    log: MemoryLog
    about: Subject
    bundle: str

    async def search(self, request: SearchRequest) -> SearchResult:
        """What is found; raises `RetryLater` where no index answers, or nothing was recorded."""
        at = self.about
        try:
            then = await recorded_search(self.log, at.tenant, at.request_id, request)
        except NotRecorded as error:
            raise RetryLater(FailureCode.STAGE_FAILED, str(error)) from None
        asked = [self.bundle, then.index, _SEARCH.dump_json(request).decode()]
        text = self.ask(AGAIN, asked)
        if text is None:
            raise RetryLater(FailureCode.STAGE_FAILED, "no index here answered")
        return replace(_FOUND.validate_json(text), timings=then.timings)


def again_answer(bundles: Bundles, settings: Settings) -> Answer:
    """Asks the index that a search names, if it is kept here, else the one that answers now."""
    opened: dict[tuple[str, str], Search] = {}

    async def answer(what: Any) -> str | None:
        from interlock.replay.live import search_kept

        digest, identity, text = what
        try:
            if (digest, identity) not in opened:
                bundle = await bundles.get(digest)
                opened[digest, identity] = await search_kept(bundle, settings, identity)
            found = await opened[digest, identity].search(_SEARCH.validate_json(text))
        except (BundleUnknown, BundleRefused, RetryLater, UserError, ValidationError):
            return None
        return _FOUND.dump_json(found).decode()

    return answer


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


def search_answer(
    bundles: Bundles, folders: dict[str, Path], settings: Settings, index: Path | None
) -> Answer:
    """Asks an index of a bundle's documents, made when it is first asked, as the retriever would.

    `folders` says by digest where a bundle's documents are; others are not answered. The documents
    of the installation's log are searched, too; but with a folder of its own for the `index`, as a
    case file has, only those of the bundle are.
    """
    made: dict[str, Search] = {}

    async def answer(what: Any) -> str | None:
        from interlock.replay.live import search_over

        digest, text = what
        folder = folders.get(digest)
        try:
            if folder is None:
                return None
            if digest not in made:
                bundle = await bundles.get(digest)
                place = (
                    index / digest.removeprefix("sha256:") if index else settings.state / "index"
                )
                made[digest] = await search_over(
                    bundle, folder, settings, place, served=index is None
                )
            found = await made[digest].search(_SEARCH.validate_json(text))
            return _FOUND.dump_json(found).decode()
        except (BundleUnknown, BundleRefused, RetryLater, UserError, ValidationError):
            return None

    return answer
