"""What the embedded index alone promises: files that are only read, and the exact best."""

from pathlib import Path

import numpy as np
import pytest
from tests.integration.test_index_access import WORDS
from tests.support.indexes import DIMENSIONS, IDENTITY, ask, entry, ids, query, vector

from interlock.retriever.engines.embedded import EmbeddedIndex
from interlock.retriever.engines.index import DENSE, KEYWORD


async def test_embedded_index_is_the_same_after_reload(tmp_path: Path) -> None:
    corpus = [
        entry(f"d{number}", " ".join(WORDS[: 1 + number % 5])) for number in range(230)
    ]  # fmt: skip
    index = EmbeddedIndex.create(tmp_path, IDENTITY, DIMENSIONS)
    await index.upsert(corpus)
    index.flush()
    before = await ask(index, "refund battery", limit=20)
    one, other = (EmbeddedIndex.open(tmp_path, IDENTITY) for _ in range(2))
    assert await ask(one, "refund battery", limit=20) == before
    assert await ask(other, "refund battery", limit=20) == before


async def test_an_index_that_was_opened_is_only_read(tmp_path: Path) -> None:
    EmbeddedIndex.create(tmp_path, IDENTITY, DIMENSIONS).flush()
    index = EmbeddedIndex.open(tmp_path, IDENTITY)
    assert [leg.hits for leg in (await ask(index, "refund")).values()] == [(), ()]
    with pytest.raises(RuntimeError, match="only read"):
        await index.upsert([entry("a")])


async def test_the_best_of_many_are_found_exactly(tmp_path: Path) -> None:
    """Among more rows than are looked at one by one, with ties at the cut and rows left out."""
    chance = np.random.default_rng(7)
    corpus = [
        entry(
            f"d{number:04d}",
            " ".join(chance.choice(WORDS, 3)),
            scopes=("staff",) if number % 5 == 0 else (),
        )
        for number in range(3_000)
    ]
    index = EmbeddedIndex.create(tmp_path, IDENTITY, DIMENSIONS)
    await index.upsert(corpus)
    legs = await ask(index, "refund battery", limit=20)
    wanted, near = query("refund battery"), vector("refund battery").astype(float)
    for leg, score in (
        (DENSE, lambda one: float(one.dense.astype(float) @ near)),
        (KEYWORD, lambda one: sum(one.keyword.get(k, 0.0) * v for k, v in wanted.keyword.items())),
    ):
        readable = [one for one in corpus if not one.passage.scopes]
        best = sorted((-round(score(one), 5), one.passage.chunk_id) for one in readable)[:20]
        assert ids(legs[leg]) == [name for _, name in best]
