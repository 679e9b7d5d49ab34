"""The texts that routing is measured on: the splits of CLINC150."""

import json
from dataclasses import dataclass
from pathlib import Path

from bench.data import dataset


@dataclass(frozen=True, slots=True)
class Text:
    """One line of the data set; `intent` is `oos` out of scope."""

    text: str
    intent: str
    split: str


def load(data: Path) -> list[Text]:
    """The splits of CLINC150 below `data`."""
    with dataset(data, "clinc150").open(encoding="utf-8") as lines:
        return [Text(r["text"], r["intent"], r["split"]) for r in map(json.loads, lines)]
