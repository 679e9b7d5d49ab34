"""How fast the gate judges from standard input: `interlock stage contract_validator`, no broker.

Typical proposals, half of them answers with two cited statements over four chunks of about 700
characters, half of them one write with three arguments that the user named; one in ten of each is
wrong. No facts are asked. What is measured is the CPU of the whole command, in a process of its
own, less that of the same command over no proposals: reading, judging, signing, writing.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.gate.cases import MODEL
from interlock.bundles.compile import write_bundle
from interlock.bundles.model import Bundle, Intent, OutputContract, RouterSpec
from interlock.bundles.routes import ModelCandidate, ModelRoute
from interlock.runtime.keys import make_keys
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.ids import new_request_id
from interlock_contracts.proposal import Citation, Proposal, Statement, ToolCall
from interlock_contracts.request import Principal, Request
from interlock_contracts.retrieval import Chunk, Context, RetrievalOutcome, Trust
from interlock_contracts.routing import Risk, Route
from interlock_contracts.subjects import Subject
from interlock_contracts.tools import ToolArguments, tool, tool_spec
from interlock_contracts.verdict import Decision

PROPOSALS = 4_000
RUNS = 5
"""Of which the quickest counts: what else the machine does slows others down."""


@tool(effect="write", recovery="idempotent", roles=["customer"], summary="Refund {order_id}")
class CreateRefund(ToolArguments):
    """Pay money back."""

    order_id: str
    amount_cents: int
    reason: str


BUNDLE = Bundle(
    name="verdicts",
    version="1",
    tools={"create_refund": tool_spec(CreateRefund)},
    intents={"help": Intent(tools=("create_refund",), examples=("Refund me",))},
    outputs={"default": OutputContract(forbidden=(r"guarantee[ds]?", r"legal advice"))},
    policies={
        "refunds.cedar": '@id("small") permit(principal, action == '
        'Interlock::Action::"create_refund", resource) '
        "when { context.arguments.amount_cents <= 10000 };"
    },
    models={"default": ModelRoute(candidates=(ModelCandidate(provider="x", model="x"),))},
    prompts={"answer": "{{ request.text }}"},
    router=RouterSpec(fallback="help"),
)

_WORDS = [
    "order",
    "parcel",
    "refund",
    "return",
    "shipping",
    "label",
    "warranty",
    "delivery",
    "payment",
    "card",
    "account",
    "address",
    "customer",
    "days",
    "weeks",
    "after",
    "before",
    "within",
    "must",
    "can",
    "may",
    "will",
    "the",
    "a",
    "of",
    "to",
    "for",
    "and",
    "with",
    "by",
    "is",
    "are",
]


@dataclass(frozen=True, slots=True)
class Speed:
    """What came of `count` proposals: how often which decision, and CPU seconds in all."""

    count: int
    cpu_s: float
    decisions: dict[str, int]

    @property
    def rate(self) -> float:
        """Verdicts a CPU second."""
        return self.count / self.cpu_s


def measure(count: int = PROPOSALS) -> Speed:
    """Run the command twice, once over nothing."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_keys(root)
        write_bundle(BUNDLE, root / "bundle.json")
        chance = random.Random(7)  # the same proposals every time
        lines = [_line(number, chance) for number in range(count)]
        empty, _ = min(_run(root, []) for _ in range(RUNS))
        full, out = min(_run(root, lines) for _ in range(RUNS))
    decisions: dict[str, int] = {}
    for line in out.splitlines():
        event = json.loads(line)
        if event["type"] == "interlock.verdict.v1":
            decision = event["data"]["verdict"]["decision"]
            decisions[decision] = decisions.get(decision, 0) + 1
    assert sum(decisions.values()) == count, decisions
    return Speed(count, full - empty, decisions)


def _run(root: Path, lines: list[str]) -> tuple[float, bytes]:
    command = [sys.executable, "-m", "interlock.cli", "stage", "contract_validator"]
    given = ["--bundle", str(root / "bundle.json"), "--state", str(root)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, *given],
        input="".join(lines).encode(),
        capture_output=True,
        check=True,
        env=os.environ,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return cpu, done.stdout


def _line(number: int, chance: random.Random) -> str:
    case = _answer(chance) if number % 2 else _action(chance)
    request = case.request
    now = datetime(2026, 11, 23, 9, 15, tzinfo=UTC)
    at = Subject("ev", "proposal", request.tenant, request.request_id, "1")
    event = Event(at, case, f"p-{number}", "/generator", now, logged_at=now, sequence=number + 1)
    return json.dumps(event.to_cloudevent()) + "\n"


def _answer(chance: random.Random) -> Case:
    chunks = tuple(_chunk(f"c{at}", _text(chance, 110)) for at in range(1, 5))
    statements = []
    for chunk in chance.sample(chunks, 2):
        start = chance.randrange(200)
        quote = chunk.text[start : start + 80].strip()
        if chance.random() < 0.05:
            quote = f"not said {quote}"
        said = Statement(text=quote, citations=(Citation(handle=chunk.handle, quote=quote),))
        statements.append(said)
    return _case(_text(chance, 14), Proposal(statements=tuple(statements), model=MODEL), chunks)


def _action(chance: random.Random) -> Case:
    order, cents = f"A-{chance.randrange(1000, 9999)}", chance.randrange(100, 9_000)
    text = f"Please refund {cents / 100:.2f} EUR for order {order}, it came damaged. "
    wrong = cents + 1 if chance.random() < 0.1 else cents
    arguments = {"order_id": order, "amount_cents": wrong, "reason": "damaged"}
    call = ToolCall(tool="create_refund", arguments=arguments)
    return _case(text + _text(chance, 10), Proposal(calls=(call,), model=MODEL), ())


def _case(text: str, proposal: Proposal, chunks: tuple[Chunk, ...]) -> Case:
    outcome = RetrievalOutcome.FOUND if chunks else RetrievalOutcome.NOT_NEEDED
    return Case(
        request=Request(
            request_id=new_request_id(),
            tenant="acme",
            principal=Principal(user="ann", role="customer"),
            text=text,
        ),
        bundle=BUNDLE.digest,
        step=1,
        route=_ROUTE,
        context=Context(outcome=outcome, chunks=chunks),
        proposal=proposal,
    )


_ROUTE = Route(
    intent="help",
    risk=Risk.LOW,
    confidence=1.0,
    margin=1.0,
    sources=(),
    tools=("create_refund",),
    output="default",
    model_route="default",
)


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words)).capitalize() + "."


def _chunk(handle: str, text: str) -> Chunk:
    seal = digest_bytes(text.encode())
    return Chunk(
        handle=handle,
        chunk_id=f"doc#{handle}",
        document_id="doc",
        version=seal,
        digest=seal,
        source="help",
        tenant="acme",
        title="Help",
        text=text,
        score=1.0,
        trust=Trust.TRUSTED,
    )


def verdicts_table(console: Console) -> None:
    """Print verdicts a CPU second, and what they were."""
    speed = measure()
    table = Table(
        title="Gate: proposals from standard input, no facts",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    shown = [decision for decision in Decision if decision in speed.decisions]
    for column in ("proposals", "CPU s", "verdicts/CPU s", *shown):
        table.add_column(column, justify="right")
    told = [str(speed.decisions[decision]) for decision in shown]
    table.add_row(f"{speed.count:,}", f"{speed.cpu_s:.2f}", f"{speed.rate:,.0f}", *told)
    console.print(table)
