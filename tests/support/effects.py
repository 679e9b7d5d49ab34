"""A world of tools that count their calls, and fail or crash where they are told to."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from interlock.sdk import Reconciled, ToolContext, ToolExecutor
from interlock.sdk.effects import Performer
from interlock.sdk.outcome import Outcome
from interlock_contracts.actions import Effect, Grant, Reservation, Result, effect_key
from interlock_contracts.base import Model
from interlock_contracts.canonical import digest
from interlock_contracts.event import Event
from interlock_contracts.subjects import Subject
from interlock_contracts.tools import ToolArguments, tool

REQUEST = "01JD0000000000000000000000"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Crash(BaseException):
    """The process dies here."""


@tool(effect="write", recovery="idempotent", timeout_ms=1000)
class PayAgain(ToolArguments):
    """A write that may be repeated with the same key."""

    cents: int


@tool(effect="write", recovery="reconcile", timeout_ms=1000)
class PayAsk(ToolArguments):
    """A write whose provider can be asked."""

    cents: int


@tool(effect="external", timeout_ms=1000)
class PayOnce(ToolArguments):
    """A write that only a person can look into."""

    cents: int


@tool(effect="read", timeout_ms=20)
class Balance(ToolArguments):
    """A read."""

    account: str


def nothing() -> None:
    """No fault."""


@dataclass
class World:
    """The log, the provider and the clock: what outlives a crash. Hooks inject faults."""

    now: datetime = NOW
    sequence: int = 0
    events: dict[tuple[str, ...], Event] = field(default_factory=dict)
    ledger: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[ToolContext] = field(default_factory=list)
    before_call: Callable[[], None] = nothing
    after_call: Callable[[], None] = nothing
    before_reserve: Callable[[], None] = nothing
    after_reserve: Callable[[], None] = nothing
    on_read: Callable[[], None] = nothing
    on_ask: Callable[[], None] = nothing
    output: object = None
    gate: asyncio.Event | None = None
    epoch: int = 0

    async def epoch_now(self) -> int:
        return self.epoch

    def put(self, subject: Subject, data: Model) -> bool:
        address = (subject.event, subject.tenant, subject.request_id, subject.step)
        if address in self.events:
            return False
        self.sequence += 1
        self.events[address] = Event(
            subject, data, "id", "/t", self.now, logged_at=self.now, sequence=self.sequence
        )
        return True

    async def reserve(self, reservation: Reservation, subject: Subject, /) -> bool:
        self.before_reserve()
        at = Subject(
            "ev", "approved", subject.tenant, subject.request_id, reservation.action, subject.tail
        )
        self.put(at, reservation)  # the grant stands on the log before anything comes of it
        stored = self.put(subject, reservation)
        self.after_reserve()
        return stored

    async def read(
        self, event: str, tenant: str, request_id: str, step: str, tail: str | None = None
    ) -> Event | None:
        self.on_read()
        return self.events.get((event, tenant, request_id, step))

    def finish(self, grant: Grant, outcome: Outcome) -> None:
        """What the runtime does with an outcome."""
        result = Result(
            action=grant.action,
            tool=grant.tool,
            effect_key=grant.effect_key,
            **{name: getattr(outcome, name) for name in ("effect", "output", "failure")},
        )
        subject = Subject("ev", "result", grant.tenant, grant.request_id, grant.action, grant.tool)
        self.put(subject, result)

    async def pay(self, call: ToolContext) -> object:
        self.calls.append(call)
        self.before_call()
        if self.gate is not None:
            await self.gate.wait()
        self.ledger.setdefault(call.idempotency_key, {"payment": len(self.ledger) + 1})
        self.after_call()
        return self.output or self.ledger[call.idempotency_key]

    def process(self) -> Performer:
        """A freshly started executor process."""
        executor = ToolExecutor()

        @executor.tool(PayAgain)
        async def again(arguments: PayAgain, call: ToolContext) -> object:
            return await self.pay(call)

        @executor.tool(PayAsk)
        async def ask(arguments: PayAsk, call: ToolContext) -> object:
            return await self.pay(call)

        @executor.reconcile(PayAsk)
        async def find(arguments: PayAsk, call: ToolContext) -> Reconciled:
            self.on_ask()
            found = self.ledger.get(call.idempotency_key)
            return Reconciled.landed(found) if found else Reconciled.did_not_happen()

        @executor.tool(PayOnce)
        async def once(arguments: PayOnce, call: ToolContext) -> object:
            return await self.pay(call)

        @executor.tool(Balance)
        async def balance(arguments: Balance, call: ToolContext) -> object:
            self.calls.append(call)
            self.before_call()
            if arguments.account == "slow":
                await asyncio.Event().wait()
            return self.output or {"cents": 5}

        return Performer(executor, self, self.reserve, epoch=self.epoch_now, clock=lambda: self.now)


def grant(name: str, action: str = "1-0", **arguments: Any) -> Grant:
    arguments = arguments or {"cents": 100}
    return Grant(
        action=action,
        tenant="acme",
        request_id=REQUEST,
        tool=name,
        arguments=arguments,
        arguments_digest=digest(arguments),
        action_digest=digest("action"),
        effect_key=effect_key("acme", REQUEST, name, arguments),
        bundle=digest("bundle"),
        requester="ann",
        issued_at=NOW,
        expires_at=NOW + timedelta(minutes=5),
        key_id="k",
        signature="s",
    )


def raising(error: BaseException) -> Callable[[], None]:
    def fault() -> None:
        raise error

    return fault


LANDED, NOT, DOUBT = Effect.LANDED, Effect.DID_NOT_HAPPEN, Effect.IN_DOUBT
