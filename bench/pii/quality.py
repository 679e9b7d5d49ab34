"""F2 over characters-overlapping spans, of any kind and of the same kind, and what leaks.

A labelled span counts as found when findings cover at least half of its characters, a finding
as right when labelled spans cover at least half of its. F2 weighs recall four times: what is
missed leaves the cell, what is taken for a name by mistake only becomes a placeholder. A leak
is a labelled card, IBAN, mail address or telephone number that is still whole in the redacted
text.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.data import dataset
from interlock.runtime.privacy import Finding, detect, redact

SAME = {
    "PERSON": "NAME",
    "ORGANIZATION": "NAME",
    "GPE": "NAME",
    "NRP": "NAME",
    "STREET_ADDRESS": "ADDRESS",
    "CREDIT_CARD": "CARD",
    "DATE_TIME": "DATE",
    "PHONE_NUMBER": "PHONE",
    "EMAIL_ADDRESS": "EMAIL",
    "ZIP_CODE": "ADDRESS",
    "DOMAIN_NAME": "URL",
    "IBAN_CODE": "IBAN",
    "US_SSN": "SSN",
    "IP_ADDRESS": "IP",
    "US_DRIVER_LICENSE": "LICENCE",
}
"""Our kind for each of the data set's; names of people, firms and places are one kind,
streets and postal codes another."""

NEVER = {"CREDIT_CARD", "IBAN_CODE", "EMAIL_ADDRESS", "PHONE_NUMBER"}


def _covered(start: int, end: int, by: Sequence[tuple[int, int]]) -> bool:
    inside = {i for low, high in by for i in range(max(start, low), min(end, high))}
    return 2 * len(inside) >= end - start


def f_score(precision: float, recall: float, beta: float = 2.0) -> float:
    """The weighted harmonic mean of both."""
    square = beta * beta
    return (1 + square) * precision * recall / max(1e-9, square * precision + recall)


def _kinds(findings: Sequence[Finding], kind: str | None) -> list[tuple[int, int]]:
    return [(one.start, one.end) for one in findings if kind is None or one.kind == kind]


def run_pii(data: Path, console: Console) -> None:
    """Print the table; `data` is the folder of the data set."""
    with dataset(data, "pii").open(encoding="utf-8") as lines:
        texts = [json.loads(line) for line in lines]
    started = time.perf_counter()
    found = [detect(one["text"]) for one in texts]
    each = (time.perf_counter() - started) / len(texts)
    table = Table(title="Personal data: presidio-research", title_justify="left", box=None)
    for column in ("what", "precision", "recall", "F2"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, typed in (("of any kind", False), ("of the same kind", True)):
        right = wrong = hit = missed = 0
        for one, findings in zip(texts, found, strict=True):
            spans = [(s["start"], s["end"], SAME.get(s["type"], s["type"])) for s in one["spans"]]
            for start, end, kind in spans:
                ok = _covered(start, end, _kinds(findings, kind if typed else None))
                hit, missed = hit + ok, missed + (not ok)
            for finding in findings:
                same = [(s, e) for s, e, k in spans if not typed or k == finding.kind]
                ok = _covered(finding.start, finding.end, same)
                right, wrong = right + ok, wrong + (not ok)
        precision, recall = right / max(1, right + wrong), hit / max(1, hit + missed)
        score = f_score(precision, recall)
        table.add_row(name, f"{precision:.3f}", f"{recall:.3f}", f"{score:.3f}")
    console.print(table)
    _by_kind(texts, found, console)
    console.print(f"detection: {each * 1e3:.2f} ms a text")


def _by_kind(
    texts: Sequence[dict[str, object]], found: Sequence[Sequence[Finding]], console: Console
) -> None:
    total: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    leaks: list[str] = []
    for one, findings in zip(texts, found, strict=True):
        redacted = redact(str(one["text"])).text
        spans = one["spans"]
        assert isinstance(spans, list)
        for span in spans:
            total[span["type"]] += 1
            hit[span["type"]] += _covered(span["start"], span["end"], _kinds(findings, None))
            if span["type"] in NEVER and span["text"] in redacted:
                leaks.append(span["type"])
    shares = ", ".join(f"{kind} {hit[kind]}/{count}" for kind, count in total.most_common())
    console.print(f"found, by the data set's kind: {shares}")
    console.print(f"leaks of card, IBAN, mail, telephone: {len(leaks)} (goal 0) {Counter(leaks)}")
