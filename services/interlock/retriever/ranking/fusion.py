"""From ranked lists to the passages that are kept. Pure, and the same on every engine."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, TypeAdapter

from interlock.bundles.knowledge import RetrievalSpec
from interlock_contracts.retrieval import Dropped, Hit, Ranking

FINE = 10**6
"""Fused scores are rounded to parts of this: equal sums are equal, and events stay small."""

_DROPPED: TypeAdapter[list[Dropped]] = TypeAdapter(list[Dropped])

# Past the model's own `__setattr__`, which refuses: a hit is frozen.
_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
_set_values, _set_named, _set_extra, _set_private = (
    vars(BaseModel)[name].__set__ for name in _SLOTS
)
_NAMED = {"chunk_id", "score"}

FUSED = "fused"
"""The name of the fused list among a record's rankings."""

DENSE_WEIGHTS = {"wordllama": 0.3}
"""The dense leg's share by the first part of an embedder's name, as measured."""

OTHER_DENSE_WEIGHT = 0.5
"""The share of every other embedder: what suited a small transformer (MiniLM)."""


GAP_DEPTH, USUAL_GAP, GAP_SLOPE = 10, 0.3, 5.0
"""How far a dense leg's best usually stands above its tenth, and what more or less is worth."""

USUAL_TERMS, TERMS_SLOPE = 30, 0.8
"""How many different terms a passage usually has, and what half or twice as many are worth."""


def dense_weight(embedder: str) -> float:
    """The dense leg's share for an embedder of this name, of a usual query and passages."""
    return DENSE_WEIGHTS.get(embedder.partition("-")[0], OTHER_DENSE_WEIGHT)


def dense_share(usual: float, dense: Ranking, different_terms: float) -> float:
    """The dense leg's share for one query, from what it found; at least half of the `usual`.

    A dense leg that sets its best apart from its tenth knows something; one whose scores are
    all alike does not. And words say little where passages have few of them (`different_terms`
    on the average of what this reader may read), vectors where they have many. Both move the
    usual share on the scale of its log-odds, as measured over the collections of the bench.
    """
    if not dense.hits or not 0 < usual < 1:
        return usual
    best = dense.hits[0].score
    gap = (best - dense.hits[:GAP_DEPTH][-1].score) / best
    odds = math.log(usual / (1 - usual)) + GAP_SLOPE * (gap - USUAL_GAP)
    odds += TERMS_SLOPE * math.log(USUAL_TERMS / max(different_terms, 1.0))
    return rounded(max(usual / 2, 1 / (1 + math.exp(-odds))), FINE)


def rounded(value: float, parts: int) -> float:
    """A number from 0 on, to the nearest of `parts` in 1; a tenth of the time `round` takes."""
    return int(value * parts + 0.5) / parts


def fuse(legs: Sequence[Ranking], weights: Mapping[str, float], limit: int) -> Ranking:
    """One list of scores in 0..1: the weighted sum of the legs' min-max normalised scores.

    A leg's best becomes 1 and its last 0; a leg that returned fewer than `limit` is counted
    from 0, since nothing was cut off below its last. Equal scores are ordered by id.
    """
    scores: dict[str, float] = {}
    for leg in legs:
        if not leg.hits:
            continue
        top, last = leg.hits[0].score, leg.hits[-1].score
        low = last if len(leg.hits) >= limit and last < top else 0.0
        share = weights[leg.step] / (top - low)
        for hit in leg.hits:
            name = hit.chunk_id
            scores[name] = scores.get(name, 0.0) + share * (hit.score - low)
    return reordered(FUSED, [(name, rounded(score, FINE)) for name, score in scores.items()])


def document_of(chunk_id: str) -> str:
    """The id of the document that a passage was cut from."""
    return chunk_id.rpartition("#")[0]


def ordered(step: str, scored: Iterable[tuple[str, float]], limit: int | None = None) -> Ranking:
    """The best `limit` in the one right order: by score, and by id where scores are equal."""
    rows = sorted([(-score, chunk_id) for chunk_id, score in scored])[:limit]
    hits = tuple([{"chunk_id": name, "score": -low} for low, name in rows])
    # All of them validated in one call: half the time of making them one by one.
    return Ranking.model_validate({"step": step, "hits": hits})


def reordered(step: str, scored: Iterable[tuple[str, float]]) -> Ranking:
    """`ordered`, of ids that are a ranking's already, with scores made here.

    Such hits are not validated again, but put together as `model_construct` does, which takes
    three times as long for looking at the fields of each.
    """
    hits = []
    for low, name in sorted([(-score, chunk_id) for chunk_id, score in scored]):
        hit = Hit.__new__(Hit)
        _set_values(hit, {"chunk_id": name, "score": -low})
        _set_named(hit, _NAMED)
        _set_extra(hit, None)
        _set_private(hit, None)
        hits.append(hit)
    return Ranking(step=step, hits=tuple(hits))


def keep(fused: Ranking, spec: RetrievalSpec) -> tuple[list[Hit], list[Dropped]]:
    """The best `spec.limit`, no more than `spec.per_document` of one document; and the rest."""
    kept: list[Hit] = []
    dropped: list[dict[str, str]] = []
    of_document: Counter[str] = Counter()
    for hit in fused.hits:
        if hit.score < spec.min_score:
            reason = "min_score"
        elif len(kept) >= spec.limit:
            reason = "limit"
        elif of_document[document := document_of(hit.chunk_id)] >= spec.per_document:
            reason = "per_document"
        else:
            kept.append(hit)
            of_document[document] += 1
            continue
        dropped.append({"chunk_id": hit.chunk_id, "reason": reason})
    return kept, _DROPPED.validate_python(dropped)
