"""What is searched: the development collections, and synthetic passages in any number."""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any

from bench.data import dataset
from interlock.retriever.documents import Document, Passage, cut
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Trust

TENANTS = ("acme", "globex")
SOURCE = "help"
STAFF = "staff"
Relevant = Set[str] | Mapping[str, int]
"""The documents that answer a query; with grades above zero where somebody gave them."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one corpus, answered by these (start, end) of its text."""

    corpus: str
    text: str
    excerpts: tuple[tuple[int, int], ...]


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON lines file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def document(name: str, title: str, text: str) -> Document:
    """A document that the first tenant may read whole."""
    return Document(
        document_id=name,
        version=digest_bytes(text.encode()),
        tenant=TENANTS[0],
        source=SOURCE,
        trust=Trust.TRUSTED,
        scopes=(),
        title=title,
        url=None,
        text=text,
    )


def corpora(data: Path) -> tuple[dict[str, str], list[Question]]:
    """`chunking…/`: the texts by name, and the questions."""
    folder = dataset(data, "chunking")
    texts = {}
    for path in sorted(folder.glob("*.md")):
        with path.open(encoding="utf-8", newline="") as file:
            texts[path.stem] = file.read()
    questions = [
        Question(
            one["corpus"],
            one["question"],
            tuple((excerpt["start"], excerpt["end"]) for excerpt in one["excerpts"]),
        )
        for one in lines(folder / "questions.jsonl")
    ]
    return texts, questions


def passages_of(documents: Sequence[Document]) -> list[Passage]:
    """All passages, by the default chunker."""
    return [passage for one in documents for passage in cut(one)]


def synthetic(data: Path, count: int) -> Iterator[Passage]:
    """`count` passages of five sentences each, drawn from the bank's documents.

    Half belong to either tenant; a quarter of each tenant's are for staff alone.
    """
    sentences = sentences_of(data)
    chance = random.Random(7)
    for number in range(count):
        text = " ".join([*chance.choices(sentences, k=5), f"Reference R-{number}."])
        name = f"d{number // 4:06d}"
        own = digest_bytes(text.encode())
        tenant = TENANTS[number % 2]
        yield Passage(
            chunk_id=f"{tenant}/{SOURCE}/{name}#{number}",
            document_id=f"{tenant}/{SOURCE}/{name}",
            version=own,
            digest=own,
            tenant=tenant,
            source=SOURCE,
            trust="trusted",
            scopes=(STAFF,) if number // 2 % 4 == 0 else (),
            title=f"Document {name}",
            url=None,
            heading="",
            text=text,
        )


def synthetic_queries(data: Path, count: int) -> list[str]:
    """Questions of eight words out of the same sentences, never a whole one."""
    chance = random.Random(11)
    long = [words for one in sentences_of(data) if len(words := one.split()) > 12]
    return [" ".join(chance.choice(long)[2:10]) for _ in range(count)]


def sentences_of(data: Path) -> list[str]:
    """The sentences of the bank's documents."""
    documents = lines(dataset(data, "bank_kb") / "documents.jsonl")
    found = (part for one in documents for part in _SENTENCE.split(one["content"]))
    return [part for part in found if 40 <= len(part) <= 300]


def ndcg(ranked: Sequence[str], relevant: Relevant, at: int = 10) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002), gains as graded.

    As trec_eval and BEIR count it; without grades every relevant document is worth one.
    """
    grades = relevant if isinstance(relevant, Mapping) else dict.fromkeys(relevant, 1)
    best = sorted(grades.values(), reverse=True)[:at]
    return _gain([grades.get(name, 0) for name in ranked[:at]]) / _gain(best)


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / log2(rank + 2) for rank, grade in enumerate(grades))


def recall(ranked: Sequence[str], relevant: Relevant, at: int = 100) -> float:
    """The share of what is relevant that is among the first `at`."""
    return len(set(ranked[:at]) & set(relevant)) / len(relevant)
