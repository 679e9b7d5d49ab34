"""The effectful half of the tool executor: reserve, call, and recover what is unknown.

What is promised: a write that is not declared idempotent is called at most once per effect, ever;
an idempotent one is repeated only with the same key, and only so often. Nothing is called blindly.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Protocol
from uuid import uuid4

from pydantic import ValidationError

from interlock.runtime.errors import RetryLater, SlowDown, UserError
from interlock.runtime.stage import Log
from interlock.sdk.call import Call, read, run
from interlock.sdk.executor import (
    Reconciled,
    ToolContext,
    ToolError,
    ToolExecutor,
    parse_arguments,
    plain,
)
from interlock.sdk.outcome import (
    Outcome,
    did_not_happen,
    expired,
    in_doubt,
    landed,
    revoked,
)
from interlock_contracts.actions import Effect, Grant, Reservation, Result, effect_key
from interlock_contracts.answer import FactReply, FactRequest
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.subjects import LIVE_CELL, Subject

MAX_ATTEMPTS = 3
"""How often a call or a reconciliation is tried before a person has to look."""

GRACE = timedelta(seconds=10)
"""Added to a tool's timeout before another executor's call counts as over."""

REMEMBERED = 256
"""How many outcomes a process remembers, in case their results could not be committed."""

START_WITHIN = GRACE / 2
"""A call starts this soon after its claim or not at all; the rest of `GRACE` is clock skew."""


class Reserve(Protocol):
    """Publishes a reservation write-once."""

    async def __call__(self, reservation: Reservation, subject: Subject, /) -> bool:
        """True: it is ours. False: there was one already. Raises when neither is known."""


async def no_epoch() -> int:
    """Where no grant is ever revoked."""
    return 0


@dataclass(frozen=True, slots=True)
class _Claim:
    """A reservation under a name of its own, and when it was made."""

    reservation: Reservation
    made_at: datetime


class Performer:
    """Runs approved actions; the only part of an executor that touches the world.

    `name` becomes unique with a suffix, so a reservation tells this process from any other.
    `epoch` says which one it is now: grants of an earlier one are revoked.
    Raises `UserError` when a tool's contract says `reconcile` and nothing was registered for it.
    """

    def __init__(
        self,
        executor: ToolExecutor,
        log: Log,
        reserve: Reserve,
        *,
        name: str = "tool-executor",
        cell: str = LIVE_CELL,
        epoch: Callable[[], Awaitable[int]] = no_epoch,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        for tool in executor.tools.values():
            if tool.writes and tool.spec.recovery == "reconcile" and tool.reconcile is None:
                raise UserError(
                    f"tool {tool.spec.name} declares recovery=reconcile, "
                    "but no function is registered with @executor.reconcile"
                )
        self._tools = executor.tools
        self._log = log
        self._reserve = reserve
        self._name = f"{name}-{uuid4().hex[:12]}"
        self._cell = cell
        self._epoch = epoch
        self._clock = clock
        self._max_attempts = max_attempts
        self._running: set[str] = set()
        self._done: OrderedDict[str, Outcome] = OrderedDict()
        self._claims = count()
        self._unanswered: dict[tuple[str, str], _Claim] = {}
        self._attempts: dict[str, int] = {}

    async def perform(self, grant: Grant) -> Outcome:
        """Run a verified grant whose arguments were checked, at most once.

        Raises:
            RetryLater: the outcome is not known yet; a redelivery will find out.
        """
        tool = self._tools[grant.tool]
        context = ToolContext(grant.tenant, grant.request_id, grant.requester, grant.effect_key)
        call = Call(tool, parse_arguments(tool, grant.arguments), context)
        if not tool.writes:
            return await self._void(grant) or await read(call)
        done = self._done.get(grant.effect_key)
        if done is not None:  # the result could not be committed, or is about to be
            return done
        if grant.effect_key in self._running:
            raise SlowDown(FailureCode.EFFECT_IN_DOUBT, "the effect is being worked on", 1.0)
        self._running.add(grant.effect_key)
        try:
            outcome = await self._write(grant, call)
        finally:
            self._running.discard(grant.effect_key)
        self._attempts.pop(grant.effect_key, None)
        self._done[grant.effect_key] = outcome
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)
        return outcome

    async def answer_fact(self, request: FactRequest) -> FactReply:
        """Answer the gate's question with a read-only tool; never raises for a bad question."""
        tool = self._tools.get(request.tool)
        if tool is None:
            return FactReply(error="this executor has no such tool")
        if tool.writes:
            return FactReply(error="a tool that writes cannot be asked for a fact")
        try:
            arguments = parse_arguments(tool, request.arguments)
        except (ValidationError, TypeError, ValueError):
            return FactReply(error="the arguments do not fit the tool's contract")
        key = effect_key(request.tenant, request.request_id, request.tool, request.arguments)
        context = ToolContext(request.tenant, request.request_id, "", key)
        outcome = await read(Call(tool, arguments, context))
        if outcome.failure is not None:
            return FactReply(error=outcome.failure.message)
        return FactReply(value=outcome.output)

    async def _write(self, grant: Grant, call: Call) -> Outcome:
        asked = (grant.effect_key, grant.action)
        claim = self._unanswered.pop(asked, None) or self._new_claim(grant)
        try:
            held = None
            if not await self._reserve(claim.reservation, self._subject(grant)):
                held = await self._reserved(grant)
        except BaseException:
            # Stored or not, no call was made under this claim. Its name is unique, so we may
            # still make it when the reservation turns out to be this one.
            self._unanswered[asked] = claim
            raise
        if held is not None and held.data != claim.reservation:
            return await self._take_over(grant, call, held)
        # Expiry is looked at only under the reservation. Otherwise two executors whose clocks
        # differ could, at the edge, write "expired" and make the call. So is the epoch: what an
        # earlier delivery has called is never said not to have happened.
        if (void := await self._void(grant)) is not None:
            return void
        late = self._clock() - claim.made_at > START_WITHIN
        if late and call.tool.spec.recovery != "idempotent":
            return did_not_happen(FailureCode.TOOL_FAILED, "the call could not be started in time")
        return await self._first(call)

    def _new_claim(self, grant: Grant) -> "_Claim":
        reservation = Reservation(
            action=grant.action,
            tool=grant.tool,
            effect_key=grant.effect_key,
            executor=f"{self._name}.{next(self._claims)}",
        )
        return _Claim(reservation, self._clock())

    def _subject(self, grant: Grant) -> Subject:
        key = grant.effect_key
        return Subject(self._cell, "reserved", grant.tenant, grant.request_id, key, grant.tool)

    async def _void(self, grant: Grant) -> Outcome | None:
        """Why a good grant opens nothing any more, if it does not."""
        if grant.epoch < await self._epoch():
            return revoked()
        return expired() if self._clock() >= grant.expires_at else None

    async def _reserved(self, grant: Grant) -> Event:
        held = await self._log.read(
            "reserved", grant.tenant, grant.request_id, grant.effect_key, grant.tool
        )
        if held is None:  # it was refused as taken: never call on such contradictory word
            raise RetryLater(FailureCode.STAGE_FAILED, "the reservation cannot be read")
        return held

    async def _take_over(self, grant: Grant, call: Call, reserved: Event) -> Outcome:
        """Somebody reserved this effect before: find out what came of it."""
        held = reserved.data
        assert isinstance(held, Reservation)  # the event table says so
        known = await self._log.read(
            "result", grant.tenant, grant.request_id, held.action, grant.tool
        )
        if known is not None and isinstance(known.data, Result):
            result = known.data
            return Outcome(effect=result.effect, output=result.output, failure=result.failure)
        if await self._is_erased(grant, reserved):
            return in_doubt("the record of this effect was erased: it may have landed before")
        if held.action != grant.action:
            # Its own event is still unacknowledged and recovers it; ours waits for the result.
            self._wait_out(reserved.logged_at, call, poll=1.0)
            raise RetryLater(FailureCode.EFFECT_IN_DOUBT, "another action reserved the effect")
        ours = held.executor.rpartition(".")[0] == self._name
        if call.tool.spec.recovery != "idempotent" and not ours:
            self._wait_out(reserved.logged_at, call)
        if call.tool.spec.recovery == "idempotent" and grant.epoch < await self._epoch():
            return in_doubt("the call was cut off; its grant was revoked, so it is not repeated")
        return await self._recover(call, FailureCode.EFFECT_IN_DOUBT, "the call was cut off")

    async def _is_erased(self, grant: Grant, reserved: Event) -> bool:
        """Whether the grant that led to a reservation is gone from the log.

        A grant is logged before its reservation. One that was logged later, or none, means that
        the request was erased or has expired, and was then submitted again.
        """
        held = reserved.data
        assert isinstance(held, Reservation)
        granted = await self._log.read(
            "approved", grant.tenant, grant.request_id, held.action, grant.tool
        )
        if granted is None or granted.sequence is None or reserved.sequence is None:
            return granted is None
        return granted.sequence > reserved.sequence

    def _wait_out(
        self, reserved_at: datetime | None, call: Call, poll: float | None = None
    ) -> None:
        """Until its timeout has passed, the holder's call may still be on its way.

        Raises `SlowDown`, which is no attempt: this waiting ends by itself.
        """
        if reserved_at is None:
            return
        over = reserved_at + timedelta(milliseconds=call.tool.spec.timeout_ms) + GRACE
        left = (over - self._clock()).total_seconds()
        if left > 0:
            message = "the effect may still be on its way"
            raise SlowDown(FailureCode.EFFECT_IN_DOUBT, message, min(left, poll or left))

    async def _first(self, call: Call) -> Outcome:
        try:
            output = await run(call)
        except ToolError as error:
            return did_not_happen(FailureCode.TOOL_FAILED, plain(str(error)))
        except TimeoutError:
            code, message = FailureCode.TOOL_TIMEOUT, "the call did not return in time"
        except Exception as error:
            code, message = FailureCode.TOOL_FAILED, f"the call raised {type(error).__name__}"
        else:
            return landed(output)
        if call.tool.spec.recovery == "idempotent":
            return self._again(call, code, message)
        return await self._recover(call, code, message)

    async def _recover(self, call: Call, code: FailureCode, message: str) -> Outcome:
        """The one place where an unknown outcome is dealt with, as the contract says."""
        if call.tool.spec.recovery == "idempotent":
            return await self._repeat(call)
        if call.tool.spec.recovery == "reconcile":
            return await self._ask(call)
        return in_doubt(f"{message}; {code}: a person has to look")

    async def _repeat(self, call: Call) -> Outcome:
        """Call an idempotent tool again with the same key.

        A ToolError is no proof here: it says nothing of the earlier call, which may have landed.
        """
        try:
            return landed(await run(self._numbered(call)))
        except TimeoutError:
            code, message = FailureCode.TOOL_TIMEOUT, "a repeated call did not return in time"
        except Exception as error:
            code = FailureCode.TOOL_FAILED
            message = f"a repeated call raised {type(error).__name__}"
        return self._again(call, code, message)

    async def _ask(self, call: Call) -> Outcome:
        """Ask the provider; the tool itself is not called again, whatever the answer."""
        ask = call.tool.reconcile
        assert ask is not None  # the constructor saw to it
        try:
            async with asyncio.timeout(call.tool.spec.timeout_ms / 1000):
                told: Reconciled = await ask(call.arguments, self._numbered(call).context)
        except Exception as error:
            return self._again(
                call, FailureCode.TOOL_FAILED, f"reconciling raised {type(error).__name__}"
            )
        if told.effect is Effect.LANDED:
            return landed(told.output)
        if told.effect is Effect.DID_NOT_HAPPEN:
            return did_not_happen(
                FailureCode.TOOL_FAILED, "the call failed; the provider knows of no effect"
            )
        return in_doubt("the provider cannot say what became of the call")

    def _numbered(self, call: Call) -> Call:
        key = call.context.idempotency_key
        context = ToolContext(
            call.context.tenant,
            call.context.request_id,
            call.context.requester,
            key,
            attempt=self._attempts.get(key, 1) + 1,
        )
        return Call(call.tool, call.arguments, context)

    def _again(self, call: Call, code: FailureCode, message: str) -> Outcome:
        """Have the event redelivered, so that it is recovered again; a bounded number of times.

        Counted in memory: a crash forgets, and the runtime's limit of deliveries still holds.
        """
        key = call.context.idempotency_key
        tried = self._attempts.get(key, 0) + 1
        if tried >= self._max_attempts:
            return in_doubt(f"{message}; given up after {tried} attempts")
        self._attempts[key] = tried
        raise RetryLater(code, message)
