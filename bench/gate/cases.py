"""Recordings as cases: a conversation and its tool calls, judged step by step by the gate."""

import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml

from interlock.bundles.compile import compile_bundle
from interlock.bundles.model import Bundle
from interlock.contract_validator.facts import Fetch
from interlock.contract_validator.gate import Gate
from interlock_contracts.actions import Effect, Result, effect_key
from interlock_contracts.answer import FactReply
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case, Step
from interlock_contracts.proposal import ModelRecord, Proposal, ToolCall
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.routing import Budget, Route
from interlock_contracts.verdict import ActionVerdict, Verdict

BUNDLES = Path(__file__).parent / "bundles"
REQUEST_ID = "01JD0000000000000000000000"
MODEL = ModelRecord(
    route="default", provider="recorded", model="recorded", prompt=digest_bytes(b""), output=""
)


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def load(name: str) -> Bundle:
    """One of the bundles of this benchmark, compiled and checked."""
    return compile_bundle(BUNDLES / name)


def route_of(bundle: Bundle) -> Route:
    """The way of the bundle's one intent; routing is not what is measured here."""
    ((name, intent),) = bundle.intents.items()
    return Route(
        intent=name,
        risk=intent.risk,
        confidence=1.0,
        margin=1.0,
        sources=(),
        tools=intent.tools,
        output=intent.output,
        model_route=intent.model,
        budget=Budget(max_turns=32),
    )


def output_of(text: str | None) -> Any:
    """What a tool returned: data where the text is a list or mapping, else the text."""
    if text is None:
        return None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return _json(data) if isinstance(data, dict | list) else text


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


async def no_facts(_tenant: str, _request: str, tool: str, _arguments: dict[str, Any]) -> FactReply:
    """For bundles whose tools declare no facts."""
    return FactReply(error=f"no facts here: {tool}")


class Conversation:
    """One recorded request: what was said, and what has been proposed and done so far."""

    def __init__(self, gate: Gate, principal: Principal, fetch: Fetch = no_facts) -> None:
        self._gate = gate
        self._route = route_of(gate.bundle)
        self._fetch = fetch
        self._principal = principal
        self._turns: list[Turn] = []
        self._steps: list[Step] = []

    def says(self, role: str, text: str | None) -> None:
        """Somebody said something."""
        if text and text.strip() and role in ("user", "assistant"):
            clean = "".join(char for char in text if char >= " " or char in "\n\t")
            self._turns.append(Turn.model_validate({"role": role, "text": clean[:16_000]}))

    async def proposes(self, calls: Sequence[tuple[str, dict[str, Any]]]) -> Verdict:
        """The gate's verdict on calls that the model made at once."""
        spoken = [turn for turn in self._turns if turn.role == "user"]
        *before, last = spoken[-64:]
        wanted = tuple(ToolCall(tool=tool, arguments=arguments) for tool, arguments in calls)
        proposal = Proposal(calls=wanted, model=MODEL)
        request = Request(
            request_id=REQUEST_ID,
            tenant="acme",
            principal=self._principal,
            text=last.text,
            history=tuple(before),
        )
        case = Case(
            request=request,
            bundle=self._gate.bundle.digest,
            step=1,
            route=self._route,
            steps=tuple(self._steps),
            proposal=proposal,
        )
        verdict = await self._gate.judge(case, self._route, proposal, self._fetch)
        # Every step of a benchmark is step 1 to the budget; its actions keep names of their own.
        number = len(self._steps) + 1
        renamed = tuple(
            action.model_copy(update={"action": f"{number}-{index}"})
            for index, action in enumerate(verdict.actions)
        )
        verdict = verdict.model_copy(update={"actions": renamed})
        self._steps.append(Step(proposal=proposal, verdict=verdict))
        return verdict

    def returned(self, action: ActionVerdict, output: Any, error: str | None = None) -> None:
        """What the recording says the action gave back, whatever was decided of it."""
        result = Result(
            action=action.action,
            tool=action.tool,
            effect=Effect.DID_NOT_HAPPEN if error else Effect.LANDED,
            effect_key=effect_key("acme", REQUEST_ID, action.tool, action.arguments),
            output=output,
        )
        step = self._steps[-1]
        self._steps[-1] = step.model_copy(update={"results": (*step.results, result)})
