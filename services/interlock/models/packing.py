"""Making a prompt fit: a window of the conversation, and chunks by rank, in a number of tokens.

Deterministic, and recorded: what was left out of a prompt stands in the proposal.
"""

from collections.abc import Callable
from dataclasses import dataclass

from interlock.bundles.routes import ModelRoute
from interlock.models.tokens import Counter
from interlock_contracts.case import Case
from interlock_contracts.proposal import Packing
from interlock_contracts.retrieval import Chunk

HISTORY_SHARE = 0.25
"""Of the room of a prompt, earlier turns may have this much before chunks are left out."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A rendered prompt, and what was left out of it. `fits` is False if it is still too long."""

    prompt: str
    packing: Packing | None = None
    fits: bool = True


def pack(case: Case, route: ModelRoute, counter: Counter, render: Callable[[Case], str]) -> Packed:
    """Render the case's prompt so that it has at most `route.prompt_tokens` tokens.

    Left out, until it fits: the oldest turns as long as all turns together have more than their
    share, then the worst chunks but the best one, then the turns that are left, then that chunk.
    """
    before = case
    if route.history_turns is not None:
        case = _with_turns(case, route.history_turns)
    if route.prompt_tokens is None:
        return Packed(render(case))
    limit = route.prompt_tokens
    prompt = render(case)
    while (tokens := counter.count(prompt)) > limit:
        smaller = _smaller(case, tokens - limit, limit, counter)
        if smaller is None:
            break
        case = smaller
        prompt = render(case)
    left_out = set(_chunks(before)) - set(_chunks(case))
    packing = Packing(
        counter=counter.name,
        limit=limit,
        tokens=tokens,
        turns=len(before.request.history) - len(case.request.history),
        chunks=tuple(one.handle for one in _chunks(before) if one in left_out),
    )
    return Packed(prompt, packing, tokens <= limit)


def _smaller(case: Case, excess: int, limit: int, counter: Counter) -> Case | None:
    """The case without enough of its next things to leave out to save about `excess` tokens."""
    turns = [counter.count(turn.text) for turn in case.request.history]
    chunks = [counter.count(chunk.text) for chunk in _chunks(case)]
    share = int(limit * HISTORY_SHARE)
    if sum(turns) > share:
        dropped = 0
        while dropped < len(turns) and excess > 0 and sum(turns[dropped:]) > share:
            excess -= turns[dropped]
            dropped += 1
        return _with_turns(case, len(turns) - dropped)
    if len(chunks) > 1:
        kept = len(chunks)
        while kept > 1 and excess > 0:
            kept -= 1
            excess -= chunks[kept]
        return _with_chunks(case, kept)
    if turns:
        return _with_turns(case, len(turns) - 1)
    return _with_chunks(case, 0) if chunks else None


def _chunks(case: Case) -> tuple[Chunk, ...]:
    return case.context.chunks if case.context is not None else ()


def _with_turns(case: Case, latest: int) -> Case:
    history = case.request.history
    if len(history) <= latest:
        return case
    kept = history[len(history) - latest :]
    return case.model_copy(update={"request": case.request.model_copy(update={"history": kept})})


def _with_chunks(case: Case, best: int) -> Case:
    assert case.context is not None
    kept = case.context.chunks[:best]
    return case.model_copy(update={"context": case.context.model_copy(update={"chunks": kept})})
