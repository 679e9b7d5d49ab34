"""Whatever the gate can say no with is explained, with what to do about it."""

import re
from pathlib import Path

from interlock_contracts.failures import FailureCode

PAGE = Path("docs/how-to/why-was-this-refused.md")
GATE = Path("services/interlock/contract_validator")


def test_every_code_of_the_gate_is_on_the_page() -> None:
    used = {
        FailureCode[name].value
        for file in GATE.rglob("*.py")
        for name in re.findall(r"FailureCode\.([A-Z_]+)", file.read_text())
    }
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    told = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row[1])}
    assert len(used) > 30
    assert used - told == set()
    assert told <= {code.value for code in FailureCode}
    assert [row for row in rows if len(row) != 5 or not row[3].strip()] == []
