"""Beside the intent: requests that ask for two things, and signs of an injection in plain ones.

A pair of requests of the data set, joined, asks for two things; each by itself asks for one. All of
them are benign: what is taken for a sign of an injection is a mistake.
"""

import random
from collections.abc import Sequence

from rich.table import Table

from bench.routing.texts import Text
from interlock.intent_router.classifier import Classifier
from interlock.runtime.signals import signals_in

JOINTS = (" and {}", ". {}", ", and also {}", "? {}")
PAIRS = 250
"""For each joint; the same ones every time."""


def add_parts(table: Table, classifier: Classifier, inside: Sequence[Text], by: str = "") -> None:
    """Rows on requests that ask for one thing and for two; `by` says by which examples."""
    cut = sum(bool(classifier.parts(one.text)) for one in inside)
    table.add_row(f"{by}one request taken for several", f"{cut / len(inside):.4f}", "")
    chance = random.Random(0)
    split = both = total = 0
    for joint in JOINTS:
        for _ in range(PAIRS):
            first, second = chance.sample(inside, 2)
            if first.intent == second.intent:
                continue
            found = classifier.parts(first.text + joint.format(second.text))
            total += 1
            split += bool(found)
            both += {one.found.intent for one in found} == {first.intent, second.intent}
    table.add_row(f"{by}two joined requests taken for several", f"{split / total:.3f}", "")
    table.add_row(f"{by}two joined requests, both intents right", f"{both / total:.3f}", "")


def add_signals(table: Table, texts: Sequence[Text]) -> None:
    """The row on signs of an injection in requests that hold none."""
    wrong = sum(any(True for _ in signals_in(one.text)) for one in texts)
    table.add_row(
        "a sign of an injection in a plain request", f"{wrong / len(texts):.5f} ({wrong})", ""
    )
