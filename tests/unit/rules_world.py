"""A log in memory and a gate that judges by it, for the tests of rules over the history."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field
from tests.unit.gate_world import NOW

from interlock.bundles.model import Bundle, Intent
from interlock.contract_validator.ledger import Ledgers
from interlock.contract_validator.stage import Capabilities, decide
from interlock.replay.log import MemoryLog
from interlock.runtime.signing import SigningKey
from interlock.runtime.stage import Draft, Input
from interlock_contracts.actions import Effect, Grant, Result, effect_key
from interlock_contracts.answer import FactReply
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode as Code
from interlock_contracts.ids import new_request_id
from interlock_contracts.proposal import ModelRecord, Proposal, ToolCall
from interlock_contracts.request import Principal, Request
from interlock_contracts.routing import Budget, Risk, Route
from interlock_contracts.rules import after, limit
from interlock_contracts.subjects import Subject
from interlock_contracts.tools import ToolArguments, fact, tool, tool_spec
from interlock_contracts.verdict import Verdict


class Order(BaseModel):
    customer: str


@tool(effect="read", returns=Order)
class GetOrder(ToolArguments):
    order_id: str


@tool(effect="read")
class VerifyIdentity(ToolArguments):
    code: str


@tool(
    effect="write",
    facts=[fact("order", get="get_order", order_id="order_id")],
    limits=[limit(2, per="day", by="facts.order.customer")],
)
class CreateRefund(ToolArguments):
    order_id: str
    cents: int = Field(gt=0)


@tool(effect="write", limits=[limit(1000, per="1h", sum="cents", by=())])
class PayOut(ToolArguments):
    cents: int = Field(gt=0)


@tool(effect="write", after=[after("get_order", same=["order_id"])])
class CancelOrder(ToolArguments):
    order_id: str


@tool(effect="write", after=[after("verify_identity", within="15m")])
class ChangeEmail(ToolArguments):
    email: str


@tool(effect="write", limits=[limit(1, per="day", name="goodwill")])
class SendVoucher(ToolArguments):
    cents: int


@tool(effect="write", limits=[limit(1, per="day", name="goodwill")])
class SendGift(ToolArguments):
    gift: str


TOOLS: tuple[type[ToolArguments], ...] = (
    GetOrder, VerifyIdentity, CreateRefund, PayOut, CancelOrder, ChangeEmail, SendVoucher, SendGift
)  # fmt: skip
BUNDLE = Bundle(
    name="rules",
    version="1",
    tools={spec.name: spec for spec in map(tool_spec, TOOLS)},
    intents={"all": Intent(tools=tuple(tool_spec(one).name for one in TOOLS))},
    policies={
        "all.cedar": '@id("all") permit(principal, action, resource)\n'
        'unless { context.history.done.contains("never") };\n'
        '@id("ask") @obligation("review:x") permit(principal, action == '
        'Interlock::Action::"create_refund", resource) when { context.arguments.cents > 500 };'
    },
)
ROUTE = Route(
    intent="all",
    risk=Risk.LOW,
    confidence=1.0,
    margin=1.0,
    sources=(),
    tools=tuple(BUNDLE.tools),
    output="default",
    model_route="default",
    budget=Budget(max_turns=4, max_repairs=1),
)
MODEL = ModelRecord(route="x", provider="x", model="m", prompt=digest_bytes(b""), output="")
KEY = SigningKey.generate()


async def sign(grant: Grant) -> Grant:
    return KEY.sign(grant)


class Shop:
    """A log in memory, a gate that judges by it, and time that a test moves on."""

    def __init__(self) -> None:
        self.now = NOW
        self.entries: list[Event] = []

    @property
    def log(self) -> MemoryLog:
        return MemoryLog(self.entries)

    def add(
        self, event: str, request_id: str, step: str, data: Any, tail: str | None = None
    ) -> None:
        at = Subject("ev", event, "acme", request_id, step, tail)
        number = len(self.entries) + 1
        self.entries.append(
            Event(at, data, f"e{number}", "/x", self.now, logged_at=self.now, sequence=number)
        )

    def case(self, calls: Sequence[tuple[str, dict[str, Any]]], user: str) -> Case:
        said = " ".join(str(value) for _, arguments in calls for value in arguments.values())
        names = " ".join(name.replace("_", " ") for name, _ in calls)
        request = Request(
            request_id=new_request_id(),
            tenant="acme",
            principal=Principal(user=user, role="customer"),
            text=f"{names} {said}",
        )
        return Case(request=request, bundle=BUNDLE.digest, step=0, route=ROUTE)

    async def drafts(
        self, *calls: tuple[str, dict[str, Any]], user: str = "ann"
    ) -> tuple[Case, Sequence[Draft]]:
        case = self.case(calls, user)
        self.add("context", case.request.request_id, "0", case)
        wanted = Proposal(
            calls=tuple(ToolCall(tool=name, arguments=given) for name, given in calls),
            model=MODEL,
        )
        return await self.judge(case.model_copy(update={"step": 1, "proposal": wanted}))

    async def judge(self, case: Case) -> tuple[Case, Sequence[Draft]]:
        request_id = case.request.request_id
        at = Subject("ev", "proposal", "acme", request_id, str(case.step))
        came = Event(at, case, "p", "/generator", self.now)

        async def facts(_t: str, _r: str, _tool: str, arguments: dict[str, Any]) -> FactReply:
            return FactReply(value={"customer": arguments["order_id"].partition("-")[0]})

        log = self.log
        using = Capabilities(
            facts=facts,
            sign=sign,
            log=log,
            reviews=log.reviews,
            standing=Ledgers(log, lambda: self.now).standing,
        )
        return case, await decide(Input(came, BUNDLE, self.now, case), using)

    async def propose(self, *calls: tuple[str, dict[str, Any]], user: str = "ann") -> Verdict:
        """Judge calls of a new request; what follows is logged."""
        case, drafts = await self.drafts(*calls, user=user)
        return self.store(case, drafts)

    def store(self, case: Case, drafts: Sequence[Draft]) -> Verdict:
        for draft in drafts:
            whose = draft.ledger or case.request.request_id
            self.add(draft.event, whose, draft.step, draft.data, draft.tail)
        verdict = drafts[0].data
        assert isinstance(verdict, Case)
        assert verdict.verdict is not None
        self.last = verdict
        return verdict.verdict

    def result(self, effect: Effect) -> None:
        """What came of the first action of the last verdict."""
        case = self.last
        assert case.verdict is not None
        action = case.verdict.actions[0]
        request_id = case.request.request_id
        data = Result(
            action=action.action,
            tool=action.tool,
            effect=effect,
            effect_key=effect_key("acme", request_id, action.tool, action.arguments),
        )
        self.add("result", request_id, action.action, data, action.tool)

    def codes(self, verdict: Verdict) -> list[Code]:
        return [one.code for one in verdict.violations]
