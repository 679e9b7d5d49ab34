"""In-scope accuracy and out-of-scope recall at one threshold; ten examples; harm; speed.

The threshold on the calibrated confidence is chosen on the validation split: the one that keeps
to both goals, an accuracy of 0.93 and a recall of 0.75, by the widest margin. An
in-scope request that is turned away counts as wrong, as in the paper's table.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.routing.evidence import add_parts, add_signals
from bench.routing.texts import Text, load
from interlock.bundles.model import Bundle, Intent, RouterSpec
from interlock.intent_router.classification import Classification
from interlock.intent_router.classifier import Classifier

_WRITES = """
    accept_reservations application balance_transfer book_flight book_hotel calendar_update
    cancel cancel_reservation car_rental card_declined credit_limit_change damaged_card
    direct_deposit freeze_account make_call new_card order order_checks pay_bill pin_change
    pto_request redeem_rewards reminder_update replacement_card_duration report_fraud
    report_lost_card restaurant_reservation rollover_401k schedule_maintenance schedule_meeting
    shopping_list_update smart_home sync_device text todo_list_update transfer uber
    update_playlist
"""
WRITES = frozenset(_WRITES.split())
"""Intents behind which a deployed assistant would change something; our own reading of names."""

LEAST_ACCURACY = 0.93
LEAST_RECALL = 0.75


def bundle_of(texts: Sequence[Text], confidence: float = 0.0) -> Bundle:
    """A bundle whose examples these are."""
    examples: dict[str, list[str]] = {}
    for one in texts:
        examples.setdefault(one.intent, []).append(one.text)
    return Bundle(
        name="clinc150",
        version="1",
        intents={name: Intent(examples=tuple(own)) for name, own in examples.items()},
        router=RouterSpec(threshold=0.0, fallback="oos", confidence=confidence),
    )


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was found for each text; `seconds` is one time per decision, `cpu` all CPU time."""

    found: Sequence[Classification]
    expected: Sequence[str]
    seconds: NDArray[np.float64]
    cpu: float

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The confidence of each decision; 0 where no intent was taken at all."""
        return np.array([0.0 if one.failure else one.confidence for one in self.found])

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the intent is the expected one."""
        pairs = zip(self.found, self.expected, strict=True)
        return np.array([one.intent == intent for one, intent in pairs])

    def share(self, threshold: float, *, right: bool) -> float:
        """Share of texts that are taken (and right) at this threshold."""
        taken = self.confidence >= threshold
        return float((taken & self.right if right else taken).mean())


def decide(classifier: Classifier, texts: Sequence[Text]) -> Decisions:
    """One decision after the other, on this thread, each timed."""
    found: list[Classification] = []
    seconds: list[float] = []
    cpu = time.process_time()
    for one in texts:
        started = time.perf_counter()
        found.append(classifier.classify(one.text))
        seconds.append(time.perf_counter() - started)
    cpu = time.process_time() - cpu
    return Decisions(found, [one.intent for one in texts], np.array(seconds), cpu)


def choose_threshold(inside: Decisions, outside: Decisions) -> float:
    """The threshold that keeps to both goals by the widest margin; ties go to the lowest.

    A margin counts in standard errors of its share, for it is to hold on texts not seen yet.
    """

    def margin(threshold: float) -> float:
        accuracy = inside.share(threshold, right=True)
        recall = 1 - outside.share(threshold, right=False)
        return min(
            _errors(accuracy - LEAST_ACCURACY, accuracy, len(inside.found)),
            _errors(recall - LEAST_RECALL, recall, len(outside.found)),
        )

    candidates = np.unique(np.quantile(inside.confidence, np.linspace(0, 0.4, 401)))
    return float(max(candidates, key=lambda one: (margin(float(one)), -one)))


def _errors(distance: float, share: float, count: int) -> float:
    return distance / max(math.sqrt(share * (1 - share) / count), 1e-9)


def calibration_error(found: Decisions, bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence to accuracy, by ten bins."""
    where = np.minimum((found.confidence * bins).astype(int), bins - 1)
    total = 0.0
    for place in range(bins):
        own = where == place
        if own.any():
            distance = abs(found.right[own].mean() - found.confidence[own].mean())
            total += float(own.mean()) * float(distance)
    return total


def run_routing(data: Path, console: Console) -> None:
    """Print the table; `data` is the folder of the data set."""
    texts = load(data)
    train = [one for one in texts if one.split == "train"]
    inside = [one for one in texts if one.split == "val" and one.intent != "oos"]
    outside = [one for one in texts if one.split == "val" and one.intent == "oos"]
    table = Table(title="Routing: CLINC150, train → validation", title_justify="left", box=None)
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("goal", justify="right")
    classifier, threshold = _whole(table, train, inside, outside)
    _checked(table, classifier, threshold, [one for one in texts if one.split == "test"])
    for seed in range(3):
        few = sample(train, 10, seed)
        by_few = Classifier(bundle_of(few))
        accuracy = decide(by_few, inside).share(0.0, right=True)
        table.add_row(f"10 examples an intent, sample {seed}", f"{accuracy:.3f}", "≥ 0.85")
        if seed == 0:
            add_parts(table, by_few, inside, "10 examples: ")
    add_signals(table, texts)
    console.print(table)


def _whole(
    table: Table, train: Sequence[Text], inside: Sequence[Text], outside: Sequence[Text]
) -> tuple[Classifier, float]:
    started, cpu = time.perf_counter(), time.process_time()
    classifier = Classifier(bundle_of(train))
    table.add_row(
        f"fit, {len(train):,} examples, s (CPU s)",
        f"{time.perf_counter() - started:.1f} ({time.process_time() - cpu:.1f})",
        "≤ 60",
    )
    known, strange = decide(classifier, inside), decide(classifier, outside)
    threshold = choose_threshold(known, strange)
    taken = [one for one in strange.found if not one.failure and one.confidence >= threshold]
    harm = sum(one.intent in WRITES for one in taken) / len(outside)
    recall = 1 - strange.share(threshold, right=False)
    table.add_row("threshold, chosen on validation", f"{threshold:.4f}", "")
    table.add_row("in-scope accuracy", f"{known.share(threshold, right=True):.4f}", "≥ 0.93")
    table.add_row("out-of-scope recall", f"{recall:.3f}", "≥ 0.75")
    table.add_row(
        "in-scope accuracy, nothing turned away", f"{known.share(0.0, right=True):.4f}", ""
    )
    table.add_row("harm rate: out of scope to an intent that writes", f"{harm:.3f}", "")
    table.add_row("calibration error, in scope", f"{calibration_error(known):.3f}", "")
    table.add_row("a decision, p50 ms", f"{np.median(known.seconds) * 1e3:.3f}", "≤ 2")
    table.add_row("a decision, p99 ms", f"{np.quantile(known.seconds, 0.99) * 1e3:.3f}", "≤ 2")
    rate, cpu_rate = 1 / known.seconds.mean(), len(inside) / known.cpu
    table.add_row("decisions a second of one core's time", f"{cpu_rate:,.0f}", "≥ 1,500")
    table.add_row("decisions a second, as the machine was", f"{rate:,.0f}", "")
    add_parts(table, classifier, inside)
    return classifier, threshold


def _checked(table: Table, classifier: Classifier, threshold: float, test: Sequence[Text]) -> None:
    """The same on the test split, where the data has it, at the threshold of validation."""
    inside = [one for one in test if one.intent != "oos"]
    outside = [one for one in test if one.intent == "oos"]
    if not inside or not outside:
        return
    accuracy = decide(classifier, inside).share(threshold, right=True)
    recall = 1 - decide(classifier, outside).share(threshold, right=False)
    table.add_row("test: in-scope accuracy", f"{accuracy:.4f}", "≥ 0.93")
    table.add_row("test: out-of-scope recall", f"{recall:.3f}", "≥ 0.75")


def sample(train: Sequence[Text], each: int, seed: int) -> list[Text]:
    """So many examples of every intent, chosen by `seed`; none that are out of scope."""
    chance = np.random.default_rng(seed)
    chosen: list[Text] = []
    for intent in sorted({one.intent for one in train} - {"oos"}):
        own = [one for one in train if one.intent == intent]
        chosen += [own[i] for i in chance.choice(len(own), each, replace=False)]
    return chosen
