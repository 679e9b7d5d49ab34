"""The retriever's decision, with a search that is handed to it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from interlock.bundles.knowledge import KnowledgeSource, RetrievalSpec
from interlock.bundles.model import Bundle, Intent
from interlock.bundles.policies import check_policies
from interlock.retriever.search import Recorded, SearchRequest, SearchResult
from interlock.retriever.stage import decide, query_text
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Input
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.retrieval import (
    Chunk,
    Context,
    Dropped,
    Hit,
    Ranking,
    RetrievalOutcome,
)
from interlock_contracts.routing import Risk, Route
from interlock_contracts.subjects import Subject

NOW = datetime(2026, 1, 2, tzinfo=UTC)
BUNDLE = Bundle(name="test", version="1", retrieval=RetrievalSpec(limit=3))
REQUEST_ID = "01JD0000000000000000000000"


def asked(text: str, history: tuple[Turn, ...] = ()) -> Request:
    return Request(
        request_id=REQUEST_ID,
        tenant="acme",
        principal=Principal(user="ann", role="customer", scopes=("vip", "c-17", "vip")),
        text=text,
        history=history,
    )


def given(request: Request, sources: tuple[str, ...] = ("notes", "help")) -> Input:
    route = Route(
        intent="ask", risk=Risk.LOW, confidence=1.0, margin=1.0, sources=sources, tools=(),
        output="default", model_route="default",
    )  # fmt: skip
    case = Case(request=request, bundle=BUNDLE.digest, route=route)
    event = Event(
        subject=Subject("ev", "route", "acme", REQUEST_ID, "0"), data=case, id="e1",
        source="/intent-router", time=NOW,
    )  # fmt: skip
    return Input(event=event, bundle=BUNDLE, now=NOW, known_case=case)


def chunk(name: str, **other: Any) -> Chunk:
    fields: dict[str, Any] = {
        "handle": "c9", "chunk_id": f"acme/help/{name}#1", "document_id": f"acme/help/{name}",
        "version": digest_bytes(b"v"), "digest": digest_bytes(b"d"), "source": "help",
        "tenant": "acme", "text": "Thirty days.", "score": 0.5,
    }  # fmt: skip
    return Chunk(**{**fields, **other})


class Canned:
    """A search that returns what it was made with, and remembers what it was asked."""

    def __init__(self, chunks: Sequence[Chunk] = ()) -> None:
        outcome = RetrievalOutcome.FOUND if chunks else RetrievalOutcome.NOT_RETRIEVED
        hits = tuple(Hit(chunk_id=one.chunk_id, score=one.score) for one in chunks)
        self.asked: list[SearchRequest] = []
        self.result = SearchResult(
            index=digest_bytes(b"index"),
            outcome=outcome,
            rankings=(Ranking(step="keyword", hits=hits), Ranking(step="fused", hits=hits)),
            dropped=(Dropped(chunk_id="acme/help/z#1", reason="limit"),),
            chunks=tuple(chunks),
        )

    async def search(self, request: SearchRequest) -> SearchResult:
        self.asked.append(request)
        return self.result


async def context(stage_input: Input, search: Canned | Recorded) -> Context:
    (draft,) = await decide(stage_input, search)
    assert (draft.event, draft.step, draft.tail) == ("context", "0", None)
    assert isinstance(draft.data, Case)
    assert draft.data.context is not None
    assert draft.data.model_copy(update={"context": None}) == stage_input.case
    return draft.data.context


async def test_asks_for_this_tenant_scopes_and_sources_and_records_it() -> None:
    search = Canned([chunk("a"), chunk("b", scopes=("vip",))])
    found = await context(given(asked("How long may I keep a pruner before returning?")), search)
    (request,) = search.asked
    assert (request.tenant, request.scopes) == ("acme", ("c-17", "vip"))
    assert request.sources == ("help", "notes")
    assert request.spec == BUNDLE.retrieval
    assert [one.handle for one in found.chunks] == ["c1", "c2"]
    assert found.outcome is RetrievalOutcome.FOUND
    record = found.record
    assert record is not None
    assert (record.queries, record.tenants) == ((request.query,), ("acme",))
    assert (record.scopes, record.sources) == (request.scopes, request.sources)
    assert record.index == search.result.index
    assert record.rankings == search.result.rankings
    assert record.dropped == search.result.dropped


async def test_without_sources_nothing_is_searched() -> None:
    search = Canned([chunk("a")])
    found = await context(given(asked("Cancel it"), sources=()), search)
    assert found == Context(outcome=RetrievalOutcome.NOT_NEEDED)
    assert search.asked == []


async def test_a_case_without_a_route_is_never_retried() -> None:
    lost = given(asked("x"))
    lost = replace(lost, known_case=lost.case.model_copy(update={"route": None}))
    with pytest.raises(NeverRetry, match="without a route"):
        await decide(lost, Canned())


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"tenant": "globex", "chunk_id": "globex/help/x#1"}, "tenant_boundary"),
        ({"scopes": ("vip", "staff")}, "scope_missing"),
        ({"source": "runbooks"}, "scope_missing"),
    ],
)
async def test_what_the_engine_should_not_have_returned_goes_nowhere(
    other: dict[str, Any], reason: str
) -> None:
    leaked = chunk("secret", **{"text": "the secret", "title": "Secret", **other})
    found = await context(given(asked("Tell me")), Canned([leaked, chunk("a")]))
    assert [(one.handle, one.document_id) for one in found.chunks] == [("c1", "acme/help/a")]
    assert found.record is not None
    assert found.record.dropped[0].reason == reason
    written = found.model_dump_json()
    assert leaked.chunk_id not in written
    assert "secret" not in written.lower()
    alone = await context(given(asked("Tell me")), Canned([leaked]))
    assert (alone.outcome, alone.chunks) == (RetrievalOutcome.FILTERED_OUT, ())


@pytest.mark.parametrize(
    "chunks", [(), (chunk("a"), chunk("b")), (chunk("a"), chunk("x", tenant="globex"))]
)
async def test_a_replay_from_the_record_gives_the_same_context(chunks: tuple[Chunk, ...]) -> None:
    stage_input = given(asked("How long may I keep a pruner before returning?"))
    first = await context(stage_input, Canned(chunks))
    logged = Context.model_validate_json(first.model_dump_json())
    assert await context(stage_input, Recorded(logged)) == first


async def test_a_record_does_not_answer_another_question() -> None:
    logged = await context(given(asked("How long may I keep a pruner?")), Canned([chunk("a")]))
    with pytest.raises(LookupError):
        await decide(given(asked("How long may I keep a spade, please?")), Recorded(logged))
    with pytest.raises(LookupError):
        await decide(given(asked("How long may I keep a pruner?"), ("help",)), Recorded(logged))
    with pytest.raises(ValueError, match="no record"):
        Recorded(Context(outcome=RetrievalOutcome.NOT_NEEDED))


HISTORY = (
    Turn(role="user", text="Hello"),
    Turn(role="user", text="Do you ship batteries to Canada?"),
    Turn(role="assistant", text="We do."),
)


@pytest.mark.parametrize(
    ("text", "history", "expected"),
    [
        ("And to Norway?", HISTORY, "And to Norway?\nDo you ship batteries to Canada?"),
        ("And to Norway?", (), "And to Norway?"),
        ("And to Norway?", HISTORY[2:], "And to Norway?"),
        ("Is the hedge trimmer warranty transferable?", HISTORY, None),
    ],
)
def test_a_short_follow_up_is_searched_with_the_turn_before(
    text: str, history: tuple[Turn, ...], expected: str | None
) -> None:
    assert query_text(asked(text, history)) == (expected or text)


def test_a_very_long_text_is_searched_whole() -> None:
    text = "beginning " + "x " * 4_000 + "middle " + "x " * 3_900 + "end"
    assert query_text(asked(text)) == text


async def test_an_intent_may_search_otherwise() -> None:
    own = BUNDLE.model_copy(update={"intents": {"ask": Intent(retrieval={"diversity": 0.4})}})
    stage_input = given(asked("How long may I keep a pruner before returning?", HISTORY))
    search = Canned([chunk("a")])
    await decide(replace(stage_input, bundle=own), search)
    (request,) = search.asked
    assert (request.spec.limit, request.spec.diversity) == (3, 0.4)
    assert request.turns == ("Hello", "Do you ship batteries to Canada?")


GOVERNED = BUNDLE.model_copy(
    update={
        "sources": {
            "help": KnowledgeSource(path="{tenant}/help"),
            "notes": KnowledgeSource(path="{tenant}/notes", governed=True),
        },
        "policies": {
            "reading.cedar": (
                '@id("vips-read-notes") permit(principal, action == '
                'Interlock::Action::"read:notes", resource) '
                'when { principal.scopes.contains("vip") && context.request.intent == "ask" };'
                '@id("not-eve") forbid(principal, action == Interlock::Action::"read:notes", '
                'resource) when { principal.user == "eve" };'
            )
        },
    }
)


@pytest.mark.parametrize(
    ("user", "scopes", "searched"),
    [
        ("ann", ("vip",), ("help", "notes")),
        ("ann", ("c-17",), ("help",)),
        ("eve", ("vip",), ("help",)),
    ],
)
async def test_of_governed_sources_the_policies_decide(
    user: str, scopes: tuple[str, ...], searched: tuple[str, ...]
) -> None:
    principal = Principal(user=user, role="customer", scopes=scopes)
    request = asked("How long may I keep a pruner?").model_copy(update={"principal": principal})
    search = Canned([chunk("a")])
    found = await context(replace(given(request), bundle=GOVERNED), search)
    assert [one.sources for one in search.asked] == [searched]
    assert found.record is not None and found.record.sources == searched
    named = [one for one in found.record.dropped if one.chunk_id == "source-notes"]
    assert [one.reason for one in named] == ["policy_forbids"] * (2 - len(searched))
    assert await context(replace(given(request), bundle=GOVERNED), Recorded(found)) == found


async def test_where_all_sources_are_withheld_nothing_is_searched() -> None:
    search = Canned([chunk("a")])
    principal = Principal(user="eve", role="customer", scopes=())
    request = asked("How long may I keep a pruner?").model_copy(update={"principal": principal})
    found = await context(replace(given(request, ("notes",)), bundle=GOVERNED), search)
    assert (found.outcome, search.asked) == (RetrievalOutcome.FILTERED_OUT, [])


def test_a_policy_about_a_source_that_is_not_governed_is_a_problem() -> None:
    free = {"notes": KnowledgeSource(path="{tenant}/notes")}
    assert check_policies(GOVERNED) == []
    assert check_policies(GOVERNED.model_copy(update={"sources": free}))


def test_placeholders_are_not_searched_for() -> None:
    assert query_text(asked("Write to [EMAIL_1] about the long returns policy of spades")) == (
        "Write to   about the long returns policy of spades"
    )
    before = Turn(role="user", text="I am [NAME_1] and ask about returns")
    found = query_text(asked("[EMAIL_1] please", (before,)))
    assert "_1" not in found
    assert found.endswith("ask about returns")
