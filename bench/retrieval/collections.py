"""Collections with known answers, made of whatever the data at hand says about itself.

Each asks in another way: whole stories, questions, headings, sentences, long texts, a name. No
ranking may know which one it is working on.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data import dataset
from bench.retrieval.datasets import Relevant, corpora, document, lines
from interlock.retriever.documents import Document, cut
from interlock.retriever.ranking.keywords import terms

MOST = 300
"""No more queries than this of one collection, drawn at random."""

SHORTEST = 300
"""A text of fewer characters is too short to be taken apart."""

SAME = 0.4
"""Two texts that share more of their terms than this (Jaccard) are one text, repeated."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Judged:
    """Documents, and queries with the ids of the documents that are relevant, or their grades.

    `own` names the document that is a query itself, by the query's text: never one of its results.
    """

    documents: list[Document]
    queries: Sequence[tuple[str, Relevant]]
    own: Mapping[str, str] = field(default_factory=dict)


def bank(data: Path) -> Judged:
    """A bank's support documents; customers' stories of hundreds of words."""
    return Judged(
        [document(one["id"], one["title"], one["content"]) for one in _bank(data)],
        [
            (one["query"], frozenset(one["relevant"]))
            for one in lines(dataset(data, "bank_kb") / "queries.jsonl")
        ],
    )


def bank_titles(data: Path) -> Judged:
    """A document's title asks for its text, which is indexed without it."""
    kept = [one for one in _bank(data) if len(one["content"]) >= SHORTEST]
    return Judged(
        [document(one["id"], "", one["content"]) for one in kept],
        drawn([(one["title"], frozenset({one["id"]})) for one in kept]),
    )


def bank_sentences(data: Path) -> Judged:
    """A sentence taken out of a document asks for the rest of it."""
    chance = random.Random(3)
    documents, queries = [], []
    for one in _bank(data):
        sentences = _SENTENCE.split(one["content"])
        places = [place for place, each in enumerate(sentences) if 60 <= len(each) <= 300]
        if len(sentences) < 4 or not places:
            continue
        taken = sentences.pop(chance.choice(places))
        documents.append(document(one["id"], "", " ".join(sentences)))
        queries.append((taken, frozenset({one["id"]})))
    return Judged(documents, drawn(queries))


def bank_halves(data: Path) -> Judged:
    """The first half of a document asks for the second: queries as long as documents."""
    documents, queries = [], []
    for one in _bank(data):
        sentences = _SENTENCE.split(one["content"])
        if len(sentences) < 6:
            continue
        middle = len(sentences) // 2
        documents.append(document(one["id"], "", " ".join(sentences[middle:])))
        queries.append((" ".join(sentences[:middle]), frozenset({one["id"]})))
    return Judged(documents, drawn(queries))


def chunk_questions(data: Path) -> Judged:
    """Questions about two long texts; the passages that hold most of an excerpt are relevant."""
    texts, questions = corpora(data)
    documents: list[Document] = []
    spans: list[tuple[str, str, int, int]] = []
    for corpus, text in texts.items():
        for number, one in enumerate(cut(document(corpus, "", text))):
            start = text.index(one.text)
            documents.append(document(f"{corpus}-{number}", one.heading, one.text))
            spans.append((corpus, f"{corpus}-{number}", start, start + len(one.text)))
    queries = []
    for question in questions:
        relevant = frozenset(
            name
            for corpus, name, start, end in spans
            for first, last in question.excerpts
            if corpus == question.corpus and (min(end, last) - max(start, first)) * 2 > last - first
        )
        if relevant:
            queries.append((question.text, relevant))
    return Judged(documents, queries)


def web_questions(data: Path) -> Judged:
    """Short questions to a search engine, each with its own three passages."""
    documents: list[Document] = []
    queries: list[tuple[str, frozenset[str]]] = []
    for question, parts in _ragtruth(data):
        made = [document(f"{len(queries)}-{number}", "", part) for number, part in enumerate(parts)]
        documents += made
        queries.append((question, frozenset(one.document_id for one in made)))
    return Judged(documents, queries)


def counterparts(data: Path) -> Judged:
    """A passage asks for what other pages say about the same; repeats of it are left out."""
    documents: list[Document] = []
    queries: list[tuple[str, frozenset[str]]] = []
    for number, (_, parts) in enumerate(_ragtruth(data)):
        others = [part for part in parts[1:] if not _same(parts[0], part)]
        made = [document(f"{number}-{place}", "", part) for place, part in enumerate(others)]
        documents += made
        if made:
            queries.append((parts[0], frozenset(one.document_id for one in made)))
    return Judged(documents, drawn(queries))


def utterances(data: Path) -> Judged:
    """What somebody says to an assistant asks for how others said the same (150 intents)."""
    chance = random.Random(5)
    by_intent: dict[str, list[str]] = {}
    asked: list[tuple[str, str]] = []
    for one in lines(dataset(data, "clinc150")):
        if not one["in_scope"]:
            continue
        if one["split"] == "train":
            by_intent.setdefault(one["intent"], []).append(one["text"])
        else:
            asked.append((one["text"], one["intent"]))
    documents, of = [], {}
    for intent, texts in sorted(by_intent.items()):
        made = [
            document(f"{intent}-{number}", "", text)
            for number, text in enumerate(chance.sample(texts, 10))
        ]
        documents += made
        of[intent] = frozenset(one.document_id for one in made)
    return Judged(documents, drawn([(text, of[intent]) for text, intent in asked]))


def topics(data: Path) -> Judged:
    """Two or three words ask for the many short texts that are about them."""
    judged = utterances(data)
    of: dict[str, set[str]] = {}
    for one in judged.documents:
        of.setdefault(one.document_id.rpartition("/")[2].rpartition("-")[0], set()).add(
            one.document_id
        )
    return Judged(
        judged.documents, [(name.replace("_", " "), frozenset(ids)) for name, ids in of.items()]
    )


def answers(data: Path) -> Judged:
    """A sentence in the middle of a model's answer asks for the passages it was written from."""
    said = {one["question"]: one["response"] for one in lines(dataset(data, "ragtruth"))}
    documents: list[Document] = []
    queries: list[tuple[str, frozenset[str]]] = []
    for number, (question, parts) in enumerate(_ragtruth(data)):
        made = [document(f"{number}-{place}", "", part) for place, part in enumerate(parts)]
        documents += made
        sentences = [
            one
            for one in re.split(r"(?<=[.!?])\s+|\n+", said[question])
            if 60 <= len(one) <= 300 and "passage" not in one.lower()
        ]
        if sentences:
            relevant = frozenset(one.document_id for one in made)
            queries.append((sentences[len(sentences) // 2], relevant))
    return Judged(documents, drawn(queries))


COLLECTIONS: dict[str, Callable[[Path], Judged]] = {
    "bank: stories": bank,
    "bank: title → text": bank_titles,
    "bank: sentence → rest": bank_sentences,
    "bank: half → half": bank_halves,
    "chunk questions": chunk_questions,
    "web questions": web_questions,
    "passage → counterpart": counterparts,
    "utterance → same intent": utterances,
    "topic → utterances": topics,
    "answer → passages": answers,
}


def _bank(data: Path) -> list[dict[str, Any]]:
    return lines(dataset(data, "bank_kb") / "documents.jsonl")


def _ragtruth(data: Path) -> Iterator[tuple[str, list[str]]]:
    """Each question once, with its passages."""
    seen = set()
    for one in lines(dataset(data, "ragtruth")):
        if one["question"] not in seen:
            seen.add(one["question"])
            parts = (part.strip() for part in re.split(r"passage \d+:", one["passages"]))
            yield one["question"], [part for part in parts if part]


def _same(one: str, other: str) -> bool:
    first, second = set(terms(one)), set(terms(other))
    return len(first & second) > SAME * len(first | second)


def drawn(queries: list[tuple[str, frozenset[str]]]) -> list[tuple[str, frozenset[str]]]:
    """No more than `MOST` of them."""
    return random.Random(1).sample(queries, min(MOST, len(queries)))
