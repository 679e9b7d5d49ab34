"""How the gate's JSON Schema library does on the JSON Schema Test Suite, draft 2020-12."""

import json
from collections import Counter
from pathlib import Path

import jsonschema_rs
from rich.console import Console
from rich.table import Table

from bench.data import dataset


def schemas_table(data: Path, console: Console) -> None:
    """Print how many of the suite's tests the gate judges as the suite does, and which not.

    The library is set up as in the gate: formats are held to, nothing is fetched.
    """
    counts: Counter[str] = Counter()
    exceptions: Counter[str] = Counter()
    with (dataset(data, "json_schema_suite") / "tests.jsonl").open(encoding="utf-8") as lines:
        for group in map(json.loads, lines):
            try:
                validator = jsonschema_rs.Draft202012Validator(
                    group["schema"], validate_formats=True, offline=True
                )
            except ValueError:
                counts["refused: refers to another document"] += len(group["tests"])
                exceptions[f"{group['file']}: refused"] += len(group["tests"])
                continue
            for test in group["tests"]:
                same = validator.is_valid(test["data"]) == test["valid"]
                counts["as the suite says" if same else "otherwise"] += 1
                if not same:
                    exceptions[f"{group['file']}: otherwise"] += 1
    table = Table(title="JSON Schema Test Suite", title_justify="left", box=None, pad_edge=False)
    table.add_column("outcome")
    table.add_column("tests", justify="right")
    for name, number in [*counts.most_common(), *exceptions.most_common()]:
        table.add_row(name, f"{number:,}")
    console.print(table)
