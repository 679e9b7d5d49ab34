"""Injected instructions: do attacks get through, and is honest work left alone?"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.data import dataset
from bench.gate.cases import Conversation, load, output_of, records
from interlock.contract_validator.gate import Gate
from interlock_contracts.request import Principal
from interlock_contracts.verdict import Decision, Verdict

SUITES = {
    "banking": ("bank", "customer"),
    "slack": ("workspace", "member"),
}
"""The bundle and the principal's role for each suite of the recordings."""

_USER = re.compile(r"user's name is (\w+(?: \w+)?)")


def principal_of(record: dict[str, Any]) -> Principal:
    """Whose session it is, as the operator's own words (the system prompt) say."""
    system = next(m["content"] for m in record["messages"] if m["role"] == "system")
    named = _USER.search(system or "")
    return Principal(user=named[1] if named else "user", role=SUITES[record["suite"]][1])


_ORDER = (Decision.REFUSE, Decision.REPAIR, Decision.REVIEW, Decision.CONFIRM, Decision.APPROVE)


@dataclass(slots=True)
class Run:
    """One recorded run and what the gate decided of each of its calls."""

    record: dict[str, Any]
    decisions: dict[int, Decision] = field(default_factory=dict)
    verdicts: dict[int, Verdict] = field(default_factory=dict)

    def worst(self, calls: list[dict[str, Any]]) -> Decision | None:
        """The strictest decision over these calls; None where there are none."""
        found = {self.decisions[call["index"]] for call in calls}
        return next((decision for decision in _ORDER if decision in found), None)

    def side_effects(self, *labels: str) -> list[dict[str, Any]]:
        """The run's calls with a side effect; with labels, those that have one of them."""
        return [
            call
            for call in self.record["calls"]
            if call["side_effect"] and (not labels or call["label"] in labels)
        ]


async def replay(record: dict[str, Any], gate: Gate) -> Run:
    """Judge every call of a run in the state the recording had before it."""
    run = Run(record)
    conversation = Conversation(gate, principal_of(record))
    actions: dict[int, Any] = {}
    for message in record["messages"]:
        if message["role"] == "tool":
            result = record["results"][message["result"]]
            action = actions.get(result["call"])
            if action is not None:
                output = output_of(result["text"])
                conversation.returned(action, output, result["error"])
            continue
        conversation.says(message["role"], message["content"])
        calls = [record["calls"][index] for index in message.get("calls", ())]
        if calls:
            verdict = await conversation.proposes([(one["tool"], one["args"]) for one in calls])
            for call, action in zip(calls, verdict.actions, strict=True):
                actions[call["index"]] = action
                run.decisions[call["index"]] = action.decision
                run.verdicts[call["index"]] = verdict
    return run


async def agentdojo_runs(data: Path) -> list[Run]:
    """Every recorded run, judged."""
    gates = {suite: Gate(load(name)) for suite, (name, _) in SUITES.items()}
    return [
        await replay(record, gates[record["suite"]])
        for record in records(data / "runs.jsonl")
        if record["suite"] in gates
    ]


def attacks(runs: list[Run]) -> Counter[str]:
    """Of the attacks that succeeded, how the strictest and the mildest call was decided.

    `automatic` is counted where any injected call would run without a person.
    """
    found: Counter[str] = Counter()
    for run in runs:
        if not run.record["injection_succeeded"]:
            continue
        injected = [call for call in run.record["calls"] if call["label"] == "injected"]
        automatic = any(run.decisions[c["index"]] is Decision.APPROVE for c in injected)
        found["automatic" if automatic else str(run.worst(injected))] += 1
        found["all"] += 1
    return found


def benign(runs: list[Run], *labels: str) -> Counter[str]:
    """Useful benign runs with a side effect, by the strictest decision over those calls."""
    found: Counter[str] = Counter()
    for run in runs:
        record = run.record
        if record["injection_task"] is not None or not record["utility"]:
            continue
        worst = run.worst(run.side_effects(*labels))
        if worst is not None:
            found["automatic" if worst is Decision.APPROVE else worst.value] += 1
            found["all"] += 1
    return found


async def agentdojo_table(data: Path, console: Console) -> None:
    """The table of the issue, by suite and over all."""
    runs = await agentdojo_runs(dataset(data, "agentdojo"))
    table = Table(title="AgentDojo recordings", title_justify="left", box=None, pad_edge=False)
    for column in ("what", "suite", "runs", "automatic", "confirm", "refused"):
        table.add_column(column, justify="left" if column in ("what", "suite") else "right")
    for suite in (*SUITES, "all"):
        chosen = [run for run in runs if suite in ("all", run.record["suite"])]
        _row(table, "attacks that succeeded", suite, attacks(chosen))
        _row(table, "useful benign, all effects", suite, benign(chosen))
        _row(table, "useful benign, needed effects", suite, benign(chosen, "needed"))
    console.print(table)


def _row(table: Table, what: str, suite: str, found: Mapping[str, int]) -> None:
    count = found.get("all", 0)

    def share(*names: str) -> str:
        number = sum(found.get(name, 0) for name in names)
        return f"{number} ({number / count:.1%})" if count else "-"

    refused = share("refuse", "repair")
    table.add_row(what, suite, str(count), share("automatic"), share("confirm", "review"), refused)
