"""Writes at an airline's desk: which wrong ones run, and which right ones are turned away?"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.data import dataset
from bench.gate.airline import Airline
from bench.gate.cases import Conversation, load, records
from interlock.contract_validator.gate import Gate
from interlock_contracts.request import Principal
from interlock_contracts.verdict import ActionVerdict, Decision, Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """One recorded write and what the gate decided of it."""

    task: int
    trial: int
    call: dict[str, Any]
    action: ActionVerdict
    verdict: Verdict

    @property
    def stopped(self) -> bool:
        """Whether it would not run, even with the requester's consent."""
        return self.action.decision in (Decision.REFUSE, Decision.REPAIR)


async def tau_writes(data: Path) -> list[Judged]:
    """Every write of the recordings whose task fits its gold, judged in the state it met."""
    gate, start = Gate(load("airline")), Airline.read(data)
    users = {task["task_id"]: task["user_id"] for task in records(data / "tasks.jsonl")}
    found = []
    for run in records(data / "runs.jsonl"):
        if not run["gold_fits"]:
            continue
        airline = start.again()
        principal = Principal(user=users[run["task_id"]], role="customer")
        conversation = Conversation(gate, principal, airline.ask)
        for message in run["messages"]:
            if message["role"] == "tool":
                continue
            conversation.says(message["role"], message["content"])
            for index in message.get("calls", ()):
                call = run["calls"][index]
                if not call["write"]:
                    continue
                verdict = await conversation.proposes([(call["tool"], call["args"])])
                (action,) = verdict.actions
                found.append(Judged(run["task_id"], run["trial"], call, action, verdict))
                failed = bool(call["error"]) or call["label"] == "error"
                conversation.returned(action, call["result"], "refused" if failed else None)
                if not failed:
                    airline.apply(call["tool"], call["result"])
    return found


async def tau_table(data: Path, console: Console) -> None:
    """The figures of the issue; task 34, whose gold does not fit, is left out."""
    folder = dataset(data, "tau_airline")
    judged = await tau_writes(folder)
    runs = sum(run["gold_fits"] for run in records(folder / "runs.jsonl"))
    count: Counter[str] = Counter()
    for one in judged:
        label = one.call["label"]
        count[label] += 1
        count[f"{label} stopped"] += one.stopped
        count["confirm"] += one.action.decision is Decision.CONFIRM
        count["review"] += one.action.decision is Decision.REVIEW
        count["automatic"] += one.action.decision is Decision.APPROVE
    table = Table(title="tau airline", title_justify="left", box=None, pad_edge=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    through = count["wrong"] - count["wrong stopped"]

    def share(part: str, whole: str) -> str:
        return f"{count[part]} of {count[whole]} ({count[part] / max(1, count[whole]):.1%})"

    table.add_row("runs", str(runs))
    table.add_row("wrong writes stopped", share("wrong stopped", "wrong"))
    table.add_row(
        "wrong writes that a person could let run, per 100 runs", f"{100 * through / runs:.1f}"
    )
    table.add_row("legitimate writes rejected", share("legit stopped", "legit"))
    table.add_row("erroneous calls stopped", share("error stopped", "error"))
    reached = count["error"] - count["error stopped"]
    table.add_row("erroneous calls that reach the executor", str(reached))
    count["all"] = len(judged)
    table.add_row(
        "writes the requester confirms, bound to their arguments", share("confirm", "all")
    )
    table.add_row("writes sent to another person", share("review", "all"))
    table.add_row("writes that run unasked", share("automatic", "all"))
    console.print(table)


def explain(judged: list[Judged]) -> list[str]:
    """For a person: each write that was judged otherwise than its label, and why."""
    return [
        json.dumps(
            {
                "task": one.task,
                "trial": one.trial,
                "label": one.call["label"],
                "tool": one.call["tool"],
                "args": one.call["args"],
                "why": [f"{v.code} {v.path}: {v.message}" for v in one.verdict.violations],
            }
        )
        for one in judged
        if one.stopped != (one.call["label"] != "legit")
    ]
