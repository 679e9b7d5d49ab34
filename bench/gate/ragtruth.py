"""Answers that say more than their sources: does the grounding score tell?

`python -m bench.gate.ragtruth --fit PATH` prints the weights of the score, fitted on all of it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.data import dataset
from bench.gate.cases import records
from interlock.contract_validator.checks.grounding import (
    FEATURES,
    INTERCEPT,
    WEIGHTS,
    Sources,
    features,
)
from interlock.contract_validator.checks.values import Given

Array = NDArray[np.float64]
FOLDS = 5
_RIDGE = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One recorded answer: its sentences, their features, and what people marked in it."""

    record: dict[str, Any]
    spans: list[tuple[int, int]]
    rows: Array
    marked: Array


def read(path: Path) -> list[Answer]:
    """Every answer of the data set; a sentence counts as marked from a quarter of it on."""
    found = []
    for record in records(path):
        sources = Sources([record["passages"]], record["question"])
        spans, rows = features(record["response"], sources)
        marked = [float(_overlap(record, a, b) >= min(30.0, 0.25 * (b - a))) for a, b in spans]
        found.append(Answer(record, spans, np.array(rows), np.array(marked)))
    return found


def _overlap(record: dict[str, Any], start: int, end: int) -> int:
    return sum(max(0, min(end, s["end"]) - max(start, s["start"])) for s in record["spans"])


def fit(rows: Array, marked: Array) -> Array:
    """Logistic regression with a ridge on scaled features (Newton); intercept first."""
    mean, scale = rows.mean(0), rows.std(0) + 1e-9
    x = np.hstack([np.ones((len(rows), 1)), (rows - mean) / scale])
    ridge = np.full(x.shape[1], _RIDGE)
    ridge[0] = 0.0
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        weights -= np.linalg.solve(hessian, x.T @ (p - marked) + ridge * weights)
    plain = weights[1:] / scale
    return np.concatenate([[weights[0] - float(plain @ mean)], plain])


def unsupported(answer: Answer, weights: Array) -> Array:
    """The probability of "unsupported" for each sentence."""
    result: Array = 1 / (1 + np.exp(-(weights[0] + answer.rows @ weights[1:])))
    return result


def cross_validated(answers: Sequence[Answer]) -> list[Array]:
    """Each answer judged by weights fitted on the other questions' answers."""
    questions = sorted({answer.record["source_id"] for answer in answers})
    fold = {question: number % FOLDS for number, question in enumerate(questions)}
    weights = {}
    for number in range(FOLDS):
        others = [one for one in answers if fold[one.record["source_id"]] != number]
        rows, marked = [one.rows for one in others], [one.marked for one in others]
        weights[number] = fit(np.vstack(rows), np.concatenate(marked))
    return [unsupported(one, weights[fold[one.record["source_id"]]]) for one in answers]


def auroc(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """Area under the ROC curve: how often a true one scores above a false one (ties half)."""
    values = np.array(scores)
    good, bad = values[np.array(truth)], values[~np.array(truth)]
    order = np.sort(bad)
    below = np.searchsorted(order, good, "left") + np.searchsorted(order, good, "right")
    return float(below.mean() / 2 / len(bad))


def span_f1(answers: Sequence[Answer], scores: Sequence[Array], threshold: float) -> float:
    """F1 over characters: those of sentences at or above the threshold against those marked."""
    hit = said = marked = 0
    for answer, row in zip(answers, scores, strict=True):
        length = len(answer.record["response"])
        gold, found = np.zeros(length, bool), np.zeros(length, bool)
        for span in answer.record["spans"]:
            gold[span["start"] : span["end"]] = True
        for (start, end), value in zip(answer.spans, row, strict=True):
            found[start:end] = value >= threshold
        hit += int((gold & found).sum())
        said += int(found.sum())
        marked += int(gold.sum())
    return 2 * hit / (said + marked)


async def ragtruth_table(data: Path, console: Console) -> None:
    """Response-level AUROC (an answer is as good as its worst sentence) and span F1."""
    answers = read(dataset(data, "ragtruth"))
    truth = [bool(one.record["hallucinated"]) for one in answers]
    shipped = np.array([INTERCEPT, *WEIGHTS])
    ways = {
        "as shipped (fitted on these)": [unsupported(one, shipped) for one in answers],
        f"cross-validated ({FOLDS} folds, by question)": cross_validated(answers),
        "share of new words alone": [one.rows[:, 0] for one in answers],
    }
    table = Table(title="RAGTruth QA", title_justify="left", box=None, pad_edge=False)
    for column in ("score", "answers", "AUROC, answer", "AUROC, sentence", "span F1", "at"):
        table.add_column(column, justify="left" if column == "score" else "right")
    marked = np.concatenate([one.marked for one in answers]).astype(bool).tolist()
    for name, scores in ways.items():
        best_f1, best = max((span_f1(answers, scores, t), t) for t in np.arange(0.1, 0.9, 0.05))
        table.add_row(
            name,
            str(len(answers)),
            f"{auroc(truth, [float(row.max()) for row in scores]):.3f}",
            f"{auroc(marked, np.concatenate(scores).tolist()):.3f}",
            f"{best_f1:.3f}",
            f"{best:.2f}",
        )
    console.print(table)
    flagged = [values_missing(one) for one in answers]
    right = sum(hit and wrong for hit, wrong in zip(flagged, truth, strict=True))
    console.print(
        f"values: given says no to {sum(flagged)} of {len(answers)} answers, "
        f"{right / sum(flagged):.0%} of them marked by people (of all answers "
        f"{sum(truth) / len(truth):.0%})"
    )


def values_missing(answer: Answer) -> bool:
    """Whether a value in it stands neither in the passages nor in the question."""
    record = answer.record
    given = Given([record["passages"], record["question"]])
    return any(any(given.lacks(record["response"][a:b])) for a, b in answer.spans)


if __name__ == "__main__":
    recorded = read(dataset(Path(sys.argv[-1]), "ragtruth"))
    fitted = fit(
        np.vstack([one.rows for one in recorded]), np.concatenate([one.marked for one in recorded])
    )
    print(f"INTERCEPT = {fitted[0]:.4f}")
    for feature, value in zip(FEATURES, fitted[1:], strict=True):
        print(f"    {value:.4f},  # {feature}")
