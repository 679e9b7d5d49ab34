"""Quality: whole documents found, and excerpts covered."""

import math
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.retrieval.datasets import (
    SOURCE,
    TENANTS,
    Judged,
    Question,
    bank,
    corpora,
    document,
    ndcg,
    passages_of,
    ragtruth,
    recall,
)
from interlock.bundles.model import RetrievalSpec
from interlock.retriever.documents import Passage, cut
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.retriever.searcher import Searcher
from interlock.retriever.service import embedded_searcher
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Ranking

CANDIDATES = 100
KEPT = 5
"""Passages kept of a chunked corpus, as a generator would see them."""

Chunker = Callable[[str, str], list[Passage]]
"""(name of the corpus, text) → its passages."""


async def quality_tables(data: Path, console: Console) -> None:
    """nDCG@10 and recall@100 of documents; recall and precision of excerpts."""
    table = Table("collection", "what", title="Documents found", title_justify="left", box=None)
    for column in ("nDCG@10", "recall@100"):
        table.add_column(column, justify="right")
    for name, judged in (("bank_kb_dev", bank(data)), ("ragtruth_dev", ragtruth(data))):
        table.add_row(name, "BM25, plain words, whole documents", *_figures(_plain(judged)))
        for what, figures in (await _ours(judged)).items():
            table.add_row(name, what, *_figures(figures))
    console.print(table)
    await _chunking(data, console)


def _figures(pairs: Sequence[tuple[float, float]]) -> tuple[str, str]:
    return tuple(f"{sum(column) / len(pairs):.3f}" for column in zip(*pairs, strict=True))  # type: ignore[return-value]  # two columns


async def _ours(judged: Judged) -> dict[str, list[tuple[float, float]]]:
    """The first ranking of a search is the keyword leg over the whole query: BM25 alone."""
    figures: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        searcher = await embedded_searcher(passages_of(judged.documents), Path(folder))
        for query, relevant in judged.queries:
            result = await ask(searcher, query)
            by_step = {ranking.step: ranking for ranking in result.rankings}
            for what, ranking in (
                ("BM25 leg alone", by_step["keyword"]),
                ("dense leg alone", by_step["dense"]),
                ("both legs fused, nothing else", by_step["fused"]),
                ("Interlock, defaults", result.rankings[-1]),
            ):
                names = documents_in(ranking)
                figures[what].append((ndcg(names, relevant), recall(names, relevant)))
    return dict(figures)


async def ask(searcher: Searcher, query: str, *, limit: int = 10) -> SearchResult:
    """Search as the first tenant would; as many candidates as recall@100 wants."""
    return await searcher.search(
        SearchRequest(
            query=query,
            tenant=TENANTS[0],
            scopes=(),
            sources=(SOURCE,),
            spec=RetrievalSpec(candidates=CANDIDATES, limit=limit, per_document=50),
        )
    )


def documents_in(ranking: Ranking) -> list[str]:
    """The documents of a ranking of passages, each where its best passage stands."""
    return list(dict.fromkeys(hit.chunk_id.rpartition("#")[0] for hit in ranking.hits))


def _plain(judged: Judged) -> list[tuple[float, float]]:
    """Textbook BM25 over lower-cased words of whole documents: no stopwords, no stemming."""
    words = [_words(f"{one.title}\n{one.text}") for one in judged.documents]
    counts = [Counter(each) for each in words]
    frequency = Counter(word for each in counts for word in each)
    average = sum(map(len, words)) / len(words)
    total = len(words)
    figures = []
    for query, relevant in judged.queries:
        scored: list[tuple[float, str]] = []
        wanted = Counter(_words(query))
        for one, of, length in zip(judged.documents, counts, map(len, words), strict=True):
            norm = 1.2 * (0.25 + 0.75 * length / average)
            score = sum(
                times
                * math.log(1 + (total - frequency[word] + 0.5) / (frequency[word] + 0.5))
                * (of[word] * 2.2 / (of[word] + norm))
                for word, times in wanted.items()
                if word in of
            )
            if score > 0:
                scored.append((-score, one.document_id))
        names = [name for _, name in sorted(scored)]
        figures.append((ndcg(names, relevant), recall(names, relevant)))
    return figures


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


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
