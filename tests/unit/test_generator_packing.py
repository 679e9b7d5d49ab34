"""Prompts that fit: counting, leaving out by rule, recording what was left out; plans."""

from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from tests.support.generator import ZERO, FakeLog, bundle, case, given, proposal_of
from tests.unit.test_models_choice import EMBEDDED, Models, answer, decided, hosted, record

from interlock.bundles.routes import ModelCandidate, ModelRoute
from interlock.generator.stage import Capabilities, decide
from interlock.models.packing import pack
from interlock.models.routes import ModelRoutes
from interlock.models.tokens import ESTIMATE, LLAMA, counter_of
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Turn
from interlock_contracts.retrieval import Chunk, Context, RetrievalOutcome

PASSAGES = ("Returns take thirty days. " * 10, "Spades are blue. " * 10, "We are closed. " * 10)


def full(turns: int = 6) -> Case:
    chunks = tuple(
        Chunk(
            handle=f"c{number}",
            chunk_id=f"k{number}",
            document_id="d",
            version=ZERO,
            digest=digest_bytes(text.encode()),
            source="help",
            tenant="acme",
            text=text,
            score=1.0 / number,
        )
        for number, text in enumerate(PASSAGES, 1)
    )
    known = case()
    history = tuple(Turn(role="user", text=f"Turn {n} about a spade.") for n in range(turns))
    return known.model_copy(
        update={
            "request": known.request.model_copy(update={"history": history}),
            "context": Context(outcome=RetrievalOutcome.FOUND, chunks=chunks),
        }
    )


def route(*candidates: ModelCandidate, **more: Any) -> ModelRoute:
    return ModelRoute(candidates=candidates or (hosted(),), **more)


def render(known: Case) -> str:
    assert known.context is not None
    turns = "\n".join(turn.text for turn in known.request.history)
    return turns + "\n" + "\n".join(chunk.text for chunk in known.context.chunks)


# counting


def test_the_tokenizer_is_the_real_one_of_its_family() -> None:
    # As in the model's own documentation: "▁Hello", ",", "▁world", "!".
    assert LLAMA.count("Hello, world!") == 4
    assert LLAMA.count("") == 0
    assert LLAMA.count("日本語") >= 3
    assert ESTIMATE.count("Hello, world!") == 5


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("openai", "llama2:13b", "llama-2"),
        ("openai", "gpt-4o", "llama-2 x 1.1"),
        ("anthropic", "claude-opus-4-6", "llama-2 x 1.4"),
        ("bedrock", "eu.anthropic.claude-sonnet-4-5", "llama-2 x 1.4"),
        ("extractive", "extractive-1", "llama-2"),
    ],
)
def test_each_family_has_its_counter(provider: str, model: str, name: str) -> None:
    candidate = ModelCandidate(provider=provider, model=model)
    assert counter_of([candidate]).name == name
    recorded = ModelCandidate(provider="record", model=model, options={"of": provider})
    assert counter_of([recorded]).name == name


def test_a_route_is_counted_for_its_finest_cut() -> None:
    claude = ModelCandidate(provider="anthropic", model="claude-opus-4-6")
    assert counter_of([EMBEDDED, hosted(), claude]).name == "llama-2 x 1.4"


# leaving out


def test_what_fits_is_left_as_it_is() -> None:
    packed = pack(full(), route(prompt_tokens=10_000), LLAMA, render)
    assert packed.prompt == render(full())
    assert packed.packing is not None
    assert (packed.packing.turns, packed.packing.chunks, packed.fits) == (0, (), True)


def test_old_turns_go_before_chunks_and_the_worst_chunk_before_the_best() -> None:
    known = full(turns=30)
    tokens = LLAMA.count(render(known))
    less = pack(known, route(prompt_tokens=tokens - 5), LLAMA, render)
    assert less.packing is not None
    assert (less.packing.turns, less.packing.chunks) == (1, ())
    assert "Turn 0" not in less.prompt
    assert "Turn 1 " in less.prompt
    far_less = pack(known, route(prompt_tokens=110), LLAMA, render)
    assert far_less.packing is not None
    assert far_less.packing.chunks == ("c2", "c3")
    assert "Turn 29" in far_less.prompt
    assert far_less.packing.tokens == LLAMA.count(far_less.prompt) <= 110


def test_the_history_has_a_window() -> None:
    packed = pack(full(), route(history_turns=2), LLAMA, render)
    assert "Turn 3" not in packed.prompt
    assert "Turn 4" in packed.prompt
    assert packed.packing is None
    none = pack(full(), route(history_turns=0), LLAMA, render)
    assert "Turn" not in none.prompt


@for_all(limit=st.integers(1, 700), turns=st.integers(0, 40))
def test_it_fits_or_nothing_is_left_to_leave_out(limit: int, turns: int) -> None:
    known = full(turns)
    packed = pack(known, route(prompt_tokens=limit), LLAMA, render)
    assert packed == pack(known, route(prompt_tokens=limit), LLAMA, render)
    assert packed.packing is not None
    assert packed.packing.tokens == LLAMA.count(packed.prompt)
    if packed.fits:
        assert packed.packing.tokens <= limit
    else:
        assert packed.packing.turns == turns
        assert packed.packing.chunks == ("c1", "c2", "c3")


async def test_what_was_left_out_stands_in_the_proposal() -> None:
    models = Models()
    limited = bundle(hosted()).model_copy(update={"models": {"default": route(prompt_tokens=110)}})
    kept = record(await decided(full(), limited, models)).packing
    assert kept is not None
    assert (kept.counter, kept.limit, kept.chunks) == ("llama-2 x 1.1", 110, ("c2", "c3"))
    assert PASSAGES[0] in models.asked[0].prompt
    assert PASSAGES[1] not in models.asked[0].prompt


async def test_a_request_too_long_for_any_model_ends_so() -> None:
    limited = bundle(hosted(), prompt="{{ request.text * 20 }}").model_copy(
        update={"models": {"default": route(prompt_tokens=20)}}
    )
    ended = answer(await decided(full(), limited))
    assert ended.failures[0].code is FailureCode.BUDGET_EXCEEDED
    assert "nothing left to leave out" in ended.failures[0].message


# plans


async def test_a_plan_is_told_and_nothing_is_called() -> None:
    known = case("Where is A-1001?")
    assert known.route is not None
    planning = known.model_copy(
        update={"route": known.route.model_copy(update={"plans": ("get_order",)})}
    )
    using = Capabilities(models=ModelRoutes().complete, log=FakeLog())
    (draft,) = await decide(given(planning, bundle()), using)
    planned = proposal_of(draft)
    assert (planned.calls, planned.model.task) == ((), "plan")
    assert [(call.tool, call.arguments) for call in planned.plan] == [
        ("get_order", {"order_id": "A-1001"})
    ]
    assert planned.text == "This would be done, and has not been: look up order A-1001."
    acting = known.model_copy(
        update={"route": known.route.model_copy(update={"tools": ("get_order",)})}
    )
    (draft,) = await decide(given(acting, bundle()), using)
    assert (len(proposal_of(draft).calls), proposal_of(draft).plan) == (1, ())
