"""Recorded histories of every release are read, and come to the same outcome, offline."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from interlock.replay.case import read_case
from interlock.replay.log import Unreadable
from interlock.replay.outcome import outcome_of
from interlock.replay.verify import verify_request
from interlock.replay.whatif import Setup, WhatIf, compare

HISTORIES = Path(__file__).parents[1] / "histories"
CASES = sorted(HISTORIES.glob("v*/*.tar.gz"))
NO_REQUEST = {"nonsense"}
"""Their request is no event at all: nothing but its dead letter can be made again."""


def recorded(case: Path) -> dict[str, Any]:
    """What was written down beside the cases when they were recorded."""
    outcomes = json.loads((case.parent / "outcomes.json").read_text())
    return dict(outcomes[case.name.removesuffix(".tar.gz")])


def test_there_is_a_history_of_every_released_version() -> None:
    released = Path(__file__).parents[2] / "contracts/schemas/released"
    assert {one.name for one in released.iterdir()} == {one.parent.name for one in CASES}
    for version in released.iterdir():
        outcomes = json.loads((HISTORIES / version.name / "outcomes.json").read_text())
        assert {f"{name}.tar.gz" for name in outcomes} == {
            one.name for one in CASES if one.parent.name == version.name
        }


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem[:-4]}")
def test_a_recorded_history_comes_to_its_recorded_outcome(path: Path) -> None:
    """If it does not, old logs are read otherwise than they were meant: mend the code.

    Before the release it is of, a history may be recorded again (tests/histories/record.py).
    """
    case, wanted = read_case(path), recorded(path)
    entries = [message.entry() for message in case.messages]
    unreadable = sum(isinstance(one, Unreadable) for one in entries)
    assert unreadable == wanted["unreadable"]
    then = outcome_of(entries)
    assert {"status": then.status, "codes": list(then.codes)} == {
        name: wanted[name] for name in ("status", "codes")
    }
    assert [[one.tool, one.decision, one.effect] for one in then.actions] == wanted["actions"]
    if path.name.removesuffix(".tar.gz") in NO_REQUEST:
        found = asyncio.run(verify_request(entries, case))
        assert [str(one) for one in found.divergences] == []
        return
    now = asyncio.run(WhatIf(case, None).run(entries, Setup()))
    assert compare(then, now)["change"] == "same", compare(then, now)
