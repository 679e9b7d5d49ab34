"""Quality: whole documents found, and excerpts covered."""

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.retrieval.beside import plain
from bench.retrieval.collections import COLLECTIONS, Judged
from bench.retrieval.datasets import (
    SOURCE,
    TENANTS,
    Question,
    corpora,
    document,
    ndcg,
    passages_of,
    recall,
)
from bench.retrieval.libraries import LIBRARIES
from interlock.bundles.knowledge import RetrievalSpec
from interlock.retriever.documents import Passage, cut
from interlock.retriever.parts import parts_of
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.retriever.searcher import Searcher
from interlock.retriever.service import embedded_searcher
from interlock.retriever.settings import RetrieverSettings
from interlock.runtime.embedding import TextEmbedder
from interlock.runtime.settings import load_settings
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Ranking

CANDIDATES = 100
"""Passages that each leg gives; with the default of 50, nDCG@10 is the same to .002."""

DEEPEST = 1_000
"""Most that a bundle may ask for."""

KEPT = 5
"""Passages kept of a chunked corpus, as a generator would see them."""

Chunker = Callable[[str, str], list[Passage]]
"""(name of the corpus, text) → its passages."""


LEGS = {"BM25": "keyword", "dense": "dense", "fused": "fused"}
"""The columns that are single lists of a search, by the names they have in the record."""


async def quality_tables(data: Path, console: Console) -> None:
    """nDCG@10 of documents in every collection; recall and precision of excerpts."""
    await documents_table(
        {**{name: partial(make, data) for name, make in COLLECTIONS.items()}, **LIBRARIES}, console
    )
    await _chunking(data, console)


async def documents_table(
    collections: Mapping[str, Callable[[], Judged]], console: Console
) -> None:
    """nDCG@10 of each leg, both fused, and all steps; recall@100 (`first_hundred`) of the last.

    The embedder is the one that INTERLOCK_EMBEDDER and its like name, as a retriever's is.
    """
    embedder = parts_of(load_settings(RetrieverSettings)).embedder
    title = f"Documents found: nDCG@10, with {embedder.name}"
    table = Table("collection", title=title, title_justify="left", box=None)
    for column in ("queries", "tantivy", *LEGS, "Interlock", "recall@100"):
        table.add_column(column, justify="right")
    for name, make in collections.items():
        judged = make()
        passages = passages_of(judged.documents)
        found = await _ours(passages, judged, embedder)
        others = [f"{mean(each):.3f}" for each in (_tantivy(passages, judged), *found.values())]
        table.add_row(name, str(len(judged.queries)), *others)
    console.print(table)


def _figures(pairs: Sequence[tuple[float, float]]) -> tuple[str, str]:
    return tuple(f"{sum(column) / len(pairs):.3f}" for column in zip(*pairs, strict=True))  # type: ignore[return-value]  # two columns


async def _ours(
    passages: Sequence[Passage], judged: Judged, embedder: TextEmbedder
) -> dict[str, list[float]]:
    """Each leg over the whole query alone, both of them fused, and all steps."""
    figures: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        searcher = await embedded_searcher(passages, Path(folder), embedder=embedder)
        for query, relevant in judged.queries:
            result = await ask(searcher, query)
            by_step = {ranking.step: ranking for ranking in result.rankings}
            own = judged.own.get(query)
            for what, step in LEGS.items():
                figures[what].append(ndcg(documents_in(by_step[step], own), relevant))
            names = documents_in(result.rankings[-1], own)
            figures["Interlock"].append(ndcg(names, relevant))
            hundred = await first_hundred(searcher, query, names, own)
            figures["recall@100"].append(recall(hundred, relevant))
    return dict(figures)


def _tantivy(passages: Sequence[Passage], judged: Judged) -> list[float]:
    """Somebody else's BM25, with its English stemmer, over the same passages; NaN without it."""
    if not find_spec("tantivy"):
        return [math.nan]
    library: Any = import_module("tantivy")
    schema = library.SchemaBuilder()
    schema.add_text_field("document", stored=True, tokenizer_name="raw")
    schema.add_text_field("text", tokenizer_name="en_stem")
    index = library.Index(schema.build())
    writer = index.writer(15_000_000, 1)
    for one in passages:
        writer.add_document(library.Document(document=one.document_id, text=one.searchable))
    writer.commit()
    index.reload()
    searcher = index.searcher()
    figures = []
    for query, relevant in judged.queries:
        hits = searcher.search(index.parse_query(plain(query), ["text"]), CANDIDATES).hits
        names = (searcher.doc(place)["document"][0] for _, place in hits)
        kept = [name for name in dict.fromkeys(names) if name != judged.own.get(query)]
        figures.append(ndcg(kept, relevant))
    return figures


async def first_hundred(
    searcher: Searcher, query: str, names: list[str], without: str | None
) -> list[str]:
    """The first 100 documents; `names` are those of a search with `CANDIDATES`.

    Candidates are passages: where documents are cut into several, so many passages are of fewer
    documents. Then as many candidates are asked for as it takes, twice as many each time.
    """
    depth = CANDIDATES
    while len(names) < 100 and depth < DEEPEST:
        depth = min(2 * depth, DEEPEST)
        result = await ask(searcher, query, candidates=depth)
        found = documents_in(result.rankings[-1], without)
        if len(found) <= len(names):  # there are no more
            break
        names = found
    return names[:100]


async def ask(
    searcher: Searcher, query: str, *, limit: int = 10, candidates: int = CANDIDATES
) -> SearchResult:
    """Search as the first tenant would."""
    return await searcher.search(
        SearchRequest(
            query=query,
            tenant=TENANTS[0],
            scopes=(),
            sources=(SOURCE,),
            spec=RetrievalSpec(candidates=candidates, limit=limit, per_document=50),
        )
    )


def documents_in(ranking: Ranking, without: str | None = None) -> list[str]:
    """The documents of a ranking of passages, each where its best passage stands."""
    names = dict.fromkeys(hit.chunk_id.rpartition("#")[0] for hit in ranking.hits)
    return [name for name in names if name != without]


def headings(name: str, text: str) -> list[Passage]:
    """The default chunker."""
    return list(cut(document(name, "", text)))


def fixed(characters: int) -> Chunker:
    """Cut every so many characters, between words: the yardstick."""

    def chunk(name: str, text: str) -> list[Passage]:
        stops = [0]
        while len(text) - stops[-1] > characters:
            blank = text.rfind(" ", stops[-1] + 1, stops[-1] + characters)
            stops.append(blank if blank > 0 else stops[-1] + characters)
        whole = next(cut(document(name, "", text)))
        spans = pairwise([*stops, len(text)])
        return [
            replace(
                whole, chunk_id=f"{name}#{start}", text=text[start:end], heading="",
                digest=digest_bytes(text[start:end].encode()),
            )
            for start, end in spans
        ]  # fmt: skip

    return chunk


CHUNKERS: dict[str, Chunker] = {
    "headings, 200–1,200 characters (default)": headings,
    "fixed, 400 characters": fixed(400),
    "fixed, 1,200 characters": fixed(1_200),
}


async def _chunking(data: Path, console: Console) -> None:
    texts, questions = corpora(data)
    title = f"Excerpts covered by the first {KEPT} passages (characters)"
    table = Table("chunker", title=title, title_justify="left", box=None)
    for column in ("passages", "recall", "precision"):
        table.add_column(column, justify="right")
    for name, chunker in CHUNKERS.items():
        passages = [one for corpus, text in texts.items() for one in chunker(corpus, text)]
        with tempfile.TemporaryDirectory() as folder:
            searcher = await embedded_searcher(passages, Path(folder))
            covered = [await _covered(searcher, texts, question) for question in questions]
        table.add_row(name, str(len(passages)), *_figures(covered))
    console.print(table)


async def _covered(
    searcher: Searcher, texts: dict[str, str], question: Question
) -> tuple[float, float]:
    result = await ask(searcher, question.text, limit=KEPT)
    found: set[int] = set()
    read = 0
    for chunk in result.chunks:
        read += len(chunk.text)
        if chunk.document_id == question.corpus:
            start = texts[question.corpus].find(chunk.text)
            found.update(range(start, start + len(chunk.text)))
    wanted = set(_positions(question.excerpts))
    return len(found & wanted) / len(wanted), len(found & wanted) / max(read, 1)


def _positions(spans: Iterable[tuple[int, int]]) -> Iterable[int]:
    return (position for span in spans for position in range(*span))
