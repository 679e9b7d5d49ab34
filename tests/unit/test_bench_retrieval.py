"""What the retrieval bench counts, on collections small enough to count by hand."""

import json
from collections.abc import Iterable, Mapping
from math import log2
from pathlib import Path

import pytest
from bench.retrieval.datasets import document, ndcg, passages_of, recall
from bench.retrieval.given import given
from bench.retrieval.quality import ask, documents_in, first_hundred

from interlock.retriever.service import embedded_searcher


def write(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")


def test_gains_are_as_graded() -> None:
    graded = {"a": 1, "b": 2}
    assert ndcg(["b", "a"], graded) == 1
    assert ndcg(["a", "x", "b"], graded) == pytest.approx((1 + 2 / 2) / (2 + 1 / log2(3)))
    assert ndcg(["x", "a"], frozenset("ab")) == pytest.approx((1 / log2(3)) / (1 + 1 / log2(3)))
    assert recall(["a", "x"], graded, at=1) == 0.5


async def test_the_first_hundred_are_documents_not_passages(tmp_path: Path) -> None:
    def text(number: int) -> str:
        often = "bicycle " * (9 if number < 20 else 1)
        return "\n\n".join(f"{number} part {part}: {often}" + "word " * 220 for part in range(8))

    passages = passages_of([document(f"d{each}", "", text(each)) for each in range(120)])
    searcher = await embedded_searcher(passages, tmp_path)
    names = documents_in((await ask(searcher, "bicycle")).rankings[-1])
    assert len(names) < 100
    hundred = await first_hundred(searcher, "bicycle", names, None)
    assert len(hundred) == len(set(hundred)) == 100
    few = await embedded_searcher(passages[:8], tmp_path)
    assert len(await first_hundred(few, "bicycle", ["d0"], None)) < 100


def test_a_folder_in_beirs_format_is_read(tmp_path: Path) -> None:
    write(
        tmp_path / "corpus.jsonl",
        [{"_id": "d1", "title": "One", "text": "first"}, {"_id": "d2", "title": "", "text": "two"}],
    )
    write(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "one?"}, {"_id": "d2", "text": "two"}])
    qrels = tmp_path / "qrels" / "test.tsv"
    qrels.parent.mkdir()
    qrels.write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nd2\td1\t1\n")

    judged = given(tmp_path)

    assert [(one.document_id, one.title, one.text) for one in judged.documents] == [
        ("d1", "One", "first"),
        ("d2", "", "two"),
    ]
    assert judged.queries == [("one?", {"d1": 2}), ("two", {"d1": 1})]
    assert judged.own == {"two": "d2"}


def test_a_folder_like_the_banks_is_read(tmp_path: Path) -> None:
    write(tmp_path / "documents.jsonl", [{"id": "d1", "title": "One", "content": "first"}])
    write(tmp_path / "queries.jsonl", [{"id": "q1", "query": "one?", "relevant": ["d1"]}])
    assert given(tmp_path).queries == [("one?", {"d1": 1})]


def test_any_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="neither corpus"):
        given(tmp_path)
