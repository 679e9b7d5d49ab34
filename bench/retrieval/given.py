"""Collections that somebody gives: a folder in BEIR's format, or in the bank's.

BEIR (Thakur et al. 2021): `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`,
`text`) and `qrels/test.tsv` (query, document, grade; with a head line). The bank:
`documents.jsonl` (`id`, `title`, `content`) and `queries.jsonl` (`id`, `query`, `relevant`).
"""

import csv
import sys
from pathlib import Path

from bench.retrieval.collections import Judged
from bench.retrieval.datasets import document, lines


def given(folder: Path) -> Judged:
    """The collection in `folder`; ends with a line where there is none.

    A document with the id of a query (ArguAna) is the query itself and is left out of its results.
    """
    if (folder / "corpus.jsonl").is_file():
        return _beir(folder)
    if (folder / "documents.jsonl").is_file():
        return _bank(folder)
    sys.exit(f"{folder}: holds neither corpus.jsonl (BEIR's format) nor documents.jsonl")


def _bank(folder: Path) -> Judged:
    return Judged(
        [
            document(one["id"], one.get("title", ""), one["content"])
            for one in lines(folder / "documents.jsonl")
        ],
        [
            (one["query"], dict.fromkeys(one["relevant"], 1))
            for one in lines(folder / "queries.jsonl")
        ],
    )


def _beir(folder: Path) -> Judged:
    grades: dict[str, dict[str, int]] = {}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as file:
        for query, name, grade in list(csv.reader(file, delimiter="\t"))[1:]:
            if int(grade) > 0:
                grades.setdefault(query, {})[name] = int(grade)
    asked = {one["_id"]: one["text"] for one in lines(folder / "queries.jsonl")}
    corpus = lines(folder / "corpus.jsonl")
    own = {one["_id"] for one in corpus} & asked.keys()
    return Judged(
        [document(one["_id"], one.get("title") or "", one["text"]) for one in corpus],
        [(asked[query], relevant) for query, relevant in grades.items()],
        {asked[name]: name for name in own},
    )
