"""Speed: one engine search with tenant and scope filter, and the whole stage."""

import resource
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.retrieval.beside import beside
from bench.retrieval.datasets import SOURCE, TENANTS, synthetic, synthetic_queries
from interlock.bundles.knowledge import KnowledgeSource
from interlock.bundles.model import Bundle
from interlock.retriever.documents import Passage
from interlock.retriever.engines.embedded import EmbeddedIndex
from interlock.retriever.engines.entries import entries
from interlock.retriever.engines.index import DENSE, Entry, Index, Query, half
from interlock.retriever.parts import parts_of
from interlock.retriever.ranking.keywords import query_weights, terms
from interlock.retriever.ranking.pooled import load_pooled
from interlock.retriever.searcher import Searcher
from interlock.retriever.service import embedded_searcher
from interlock.retriever.settings import RetrieverSettings
from interlock.retriever.stage import decide
from interlock.runtime.garbage import settle_garbage_collection
from interlock.runtime.settings import load_settings
from interlock.runtime.stage import Input
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.request import Principal, Request
from interlock_contracts.routing import Risk, Route
from interlock_contracts.subjects import Subject

QUERIES = 300
FEWER = 50
LIMIT = 50


async def speed_tables(
    data: Path, console: Console, sizes: Sequence[int], *, alternatives: int
) -> None:
    """One table per size; beside ours the `alternatives`, up to so many passages."""
    for size in sizes:
        table = Table("engine", title=f"{size:,} passages", title_justify="left", box=None)
        for column in ("build s", "p50 ms", "p99 ms", "recall@10"):
            table.add_column(column, justify="right")
        made = entries(list(synthetic(data, size)), load_pooled())
        queries = [query_of(text) for text in synthetic_queries(data, QUERIES)]
        exact = exactly(made, queries)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            index = EmbeddedIndex.create(Path(folder) / "index", f"sha256:{'0' * 64}", 256)
            await index.upsert(made)
            index.flush()
            built = time.perf_counter() - started
            table.add_row(
                "Interlock, embedded", f"{built:.1f}", *await figures(index, queries, exact)
            )
        if size <= alternatives:
            async for name, seconds, other in beside(made):
                # Fewer: one of them takes a second for each.
                some = await figures(other, queries[:FEWER], exact[:FEWER])
                table.add_row(name, f"{seconds:.1f}", *some)
        console.print(table)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        console.print(f"peak memory of this process so far: {peak:,.0f} MB\n")


def query_of(text: str) -> Query:
    """A question in every form an engine may want."""
    return Query(text, half(load_pooled().embed([text]))[0], query_weights(terms(text)))


def exactly(made: Sequence[Entry], queries: Sequence[Query]) -> list[set[str]]:
    """The ten nearest readable passages of each query: brute force, single precision."""
    readable = [one for one in made if one.passage.tenant == TENANTS[0] and not one.passage.scopes]
    vectors = np.stack([one.dense for one in readable])
    nearest = []
    for query in queries:
        assert query.dense is not None
        best = np.argsort(-(vectors @ query.dense), kind="stable")[:10]
        nearest.append({readable[place].passage.chunk_id for place in best})
    return nearest


async def figures(
    index: Index, queries: Sequence[Query], exact: Sequence[set[str]]
) -> tuple[str, str, str]:
    """p50 and p99 of both legs together, and the dense leg's recall@10 against exact."""
    times, hits = [], 0
    for query, nearest in zip(queries, exact, strict=True):
        started = time.perf_counter()
        legs = await index.search(
            query, tenant=TENANTS[0], scopes=(), sources=(SOURCE,), limit=LIMIT
        )
        times.append(time.perf_counter() - started)
        dense = next(leg for leg in legs if leg.step == DENSE)
        hits += len(nearest & {hit.chunk_id for hit in dense.hits[:10]})
    times.sort()
    return (
        f"{times[len(times) // 2] * 1e3:.2f}",
        f"{times[int(len(times) * 0.99)] * 1e3:.2f}",
        f"{hits / 10 / len(exact):.3f}",
    )


async def throughput_table(data: Path, console: Console, size: int) -> None:
    """The stage as the runtime calls it, one request after the other, one process.

    The embedder is the one that INTERLOCK_EMBEDDER and its like name, as a retriever's is.
    """
    embedder = parts_of(load_settings(RetrieverSettings)).embedder
    passages: list[Passage] = list(synthetic(data, size))
    bundle = Bundle(name="bench", version="1", sources={SOURCE: KnowledgeSource(path="{tenant}")})
    with tempfile.TemporaryDirectory() as folder:
        started, cpu = time.perf_counter(), time.process_time()
        searcher = await embedded_searcher(passages, Path(folder), embedder=embedder)
        built, built_cpu = time.perf_counter() - started, time.process_time() - cpu
        inputs = [stage_input(bundle, text) for text in synthetic_queries(data, QUERIES)]
        settle_garbage_collection()  # as a service does
        times, cpu = await _run(searcher, inputs)
    p50, p99 = (sorted(times)[int(len(times) * part)] * 1e3 for part in (0.5, 0.99))
    console.print(
        f"stage, {size:,} passages, {embedder.name}: embedded and indexed in {built:.1f} s "
        f"({built_cpu:.1f} s CPU); {len(times) / sum(times):,.0f} requests/s in one process, "
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, {cpu / len(times) * 1e3:.2f} ms CPU a request\n"
    )


async def _run(searcher: Searcher, inputs: Sequence[Input]) -> tuple[list[float], float]:
    """The seconds of each, and the CPU seconds of all."""
    for each in inputs[:20]:
        await decide(each, searcher)
    times = []
    cpu = time.process_time()
    for each in inputs:
        started = time.perf_counter()
        await decide(each, searcher)
        times.append(time.perf_counter() - started)
    return times, time.process_time() - cpu


def stage_input(bundle: Bundle, text: str) -> Input:
    """A `route` event of a customer who asks this."""
    request = Request(
        request_id="01JD0000000000000000000000",
        tenant=TENANTS[0],
        principal=Principal(user="ann", role="customer"),
        text=text,
    )
    route = Route(
        intent="ask", risk=Risk.LOW, confidence=1.0, margin=1.0, sources=(SOURCE,), tools=(),
        output="default", model_route="default",
    )  # fmt: skip
    case = Case(request=request, bundle=bundle.digest, route=route)
    now = datetime(2026, 1, 2, tzinfo=UTC)
    event = Event(
        subject=Subject("ev", "route", TENANTS[0], request.request_id, "0"), data=case, id="e1",
        source="/intent-router", time=now,
    )  # fmt: skip
    return Input(event=event, bundle=bundle, now=now, known_case=case)
