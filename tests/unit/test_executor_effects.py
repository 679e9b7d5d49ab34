"""Effects: at most once without a person knowing, whatever fails when."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.effects import (
    DOUBT,
    LANDED,
    NOT,
    NOW,
    REQUEST,
    Balance,
    Crash,
    PayAsk,
    World,
    grant,
    nothing,
    raising,
)

from interlock.runtime.errors import RetryLater, UserError
from interlock.sdk import ToolContext, ToolError, ToolExecutor
from interlock.sdk.effects import MAX_ATTEMPTS, Performer
from interlock.sdk.outcome import MAX_OUTPUT_BYTES, Outcome
from interlock_contracts.actions import Effect, Grant
from interlock_contracts.answer import FactRequest
from interlock_contracts.failures import FailureCode
from interlock_contracts.subjects import Subject


@pytest.mark.parametrize(
    ("name", "crash", "effect", "calls"),
    [
        ("pay_again", "after_reserve", LANDED, 1),
        ("pay_again", "before_call", LANDED, 2),
        ("pay_again", "after_call", LANDED, 2),
        ("pay_again", "after_return", LANDED, 2),
        ("pay_again", "after_result", LANDED, 1),
        ("pay_ask", "after_reserve", NOT, 0),
        ("pay_ask", "before_call", NOT, 1),
        ("pay_ask", "after_call", LANDED, 1),
        ("pay_ask", "after_return", LANDED, 1),
        ("pay_ask", "after_result", LANDED, 1),
        ("pay_once", "after_reserve", DOUBT, 0),
        ("pay_once", "before_call", DOUBT, 1),
        ("pay_once", "after_call", DOUBT, 1),
        ("pay_once", "after_return", DOUBT, 1),
        ("pay_once", "after_result", LANDED, 1),
    ],
)
async def test_recovery_after_a_crash(name: str, crash: str, effect: Effect, calls: int) -> None:
    world, granted = World(), grant(name)
    if crash in ("after_return", "after_result"):
        outcome = await world.process().perform(granted)
        if crash == "after_result":
            world.finish(granted, outcome)
    else:
        setattr(world, crash, raising(Crash()))
        with pytest.raises(Crash):
            await world.process().perform(granted)
        setattr(world, crash, nothing)
    world.now += timedelta(minutes=1)
    outcome = await world.process().perform(granted)
    assert outcome.effect is effect
    assert len(world.calls) == calls
    assert {call.idempotency_key for call in world.calls} <= {granted.effect_key}
    assert len(world.ledger) <= 1
    if effect is LANDED:
        assert outcome.output == {"payment": 1}
        assert outcome.failure is None
    if effect is DOUBT:
        assert outcome.failure is not None
        assert outcome.failure.code is FailureCode.EFFECT_IN_DOUBT


@pytest.mark.parametrize("fault", [RuntimeError("secret"), TimeoutError()])
@pytest.mark.parametrize(
    ("name", "where", "effect", "calls"),
    [
        ("pay_ask", "before_call", NOT, 1),
        ("pay_ask", "after_call", LANDED, 1),
        ("pay_once", "before_call", DOUBT, 1),
        ("pay_once", "after_call", DOUBT, 1),
    ],
)
async def test_a_write_that_raises_is_recovered_at_once_and_not_called_again(
    name: str, where: str, effect: Effect, calls: int, fault: Exception
) -> None:
    world = World()
    setattr(world, where, raising(fault))
    outcome = await world.process().perform(grant(name))
    assert outcome.effect is effect
    assert len(world.calls) == calls
    assert "secret" not in outcome.model_dump_json()


async def test_an_idempotent_write_is_repeated_with_its_key_and_given_up_in_doubt() -> None:
    world = World(after_call=raising(RuntimeError()))
    process, granted = world.process(), grant("pay_again")
    for _ in range(MAX_ATTEMPTS - 1):
        with pytest.raises(RetryLater):
            await process.perform(granted)
    outcome = await process.perform(granted)
    assert outcome.effect is DOUBT
    assert [call.attempt for call in world.calls] == [1, 2, 3]
    assert {call.idempotency_key for call in world.calls} == {granted.effect_key}


async def test_a_tool_error_means_that_nothing_happened() -> None:
    world = World(before_call=raising(ToolError("the order\x00 is closed")))
    for name in ("pay_again", "pay_ask", "pay_once"):
        outcome = await world.process().perform(grant(name))
        assert outcome.effect is NOT
        assert outcome.failure is not None
        assert outcome.failure.message == "the order  is closed"


async def test_a_tool_error_of_a_repetition_says_nothing_of_the_first_call() -> None:
    world = World(after_call=raising(RuntimeError()))
    process, granted = world.process(), grant("pay_again")
    with pytest.raises(RetryLater):
        await process.perform(granted)
    world.before_call = raising(ToolError("refunded already"))
    with pytest.raises(RetryLater):
        await process.perform(granted)
    assert (await process.perform(granted)).effect is DOUBT


async def test_a_real_timeout_cuts_a_read() -> None:
    outcome = await World().process().perform(grant("balance", account="slow"))
    assert outcome.effect is NOT
    assert outcome.failure is not None
    assert outcome.failure.code is FailureCode.TOOL_TIMEOUT


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (ToolError("no such account"), "no such account"),
        (KeyError("x"), "the tool raised KeyError"),
    ],
)
async def test_a_read_that_fails_did_not_happen_and_reserves_nothing(
    fault: Exception, message: str
) -> None:
    world = World(before_call=raising(fault))
    outcome = await world.process().perform(grant("balance", account="a"))
    assert outcome.effect is NOT
    assert outcome.failure is not None
    assert outcome.failure.message == message
    assert world.events == {}


async def test_a_call_that_cannot_start_in_time_is_not_made() -> None:
    world, granted = World(after_reserve=raising(TimeoutError())), grant("pay_once")
    process = world.process()
    with pytest.raises(TimeoutError):
        await process.perform(granted)
    world.after_reserve = nothing
    world.now += timedelta(seconds=6)
    assert (await process.perform(granted)).effect is NOT
    assert world.calls == []


@pytest.mark.parametrize("name", ["pay_again", "pay_ask", "pay_once", "balance"])
async def test_an_expired_grant_runs_nothing(name: str) -> None:
    arguments = {"account": "a"} if name == "balance" else {}
    world = World(now=NOW + timedelta(minutes=5))
    outcome = await world.process().perform(grant(name, **arguments))
    assert outcome.effect is NOT
    assert outcome.failure is not None
    assert outcome.failure.code is FailureCode.GRANT_EXPIRED
    assert world.calls == []


def deep(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "output",
    [object(), {"a": {1: 2}}, float("nan"), "x" * MAX_OUTPUT_BYTES, deep(200), deep(5000)],
    ids=["object", "number as key", "not a number", "too large", "deep", "endless"],
)
async def test_an_unusable_output_does_not_undo_the_effect(output: object) -> None:
    world = World(output=output)
    outcome = await world.process().perform(grant("pay_once"))
    assert (outcome.effect, outcome.output) == (LANDED, None)
    assert outcome.failure is not None
    read = await world.process().perform(grant("balance", account="a"))
    assert read.effect is NOT


async def test_an_output_is_what_a_reader_of_the_log_sees() -> None:
    outcome = await World(output=Balance(account="a")).process().perform(grant("pay_once"))
    assert outcome.output == {"account": "a"}


async def test_facts_come_from_reads_only() -> None:
    process = World().process()

    async def ask(name: str, **arguments: Any) -> tuple[Any, str | None]:
        reply = await process.answer_fact(
            FactRequest(tenant="acme", request_id=REQUEST, tool=name, arguments=arguments)
        )
        return reply.value, reply.error

    assert await ask("balance", account="a") == ({"cents": 5}, None)
    assert await ask("balance", account="slow") == (None, "the tool did not return in time")
    assert await ask("pay_again", cents=1) == (
        None,
        "a tool that writes cannot be asked for a fact",
    )
    assert (await ask("balance", account=7))[1] == "the arguments do not fit the tool's contract"
    assert (await ask("rob"))[1] == "this executor has no such tool"


async def test_reconcile_without_a_function_is_refused_at_the_start() -> None:
    executor = ToolExecutor()

    @executor.tool(PayAsk)
    async def ask(arguments: PayAsk, call: ToolContext) -> None: ...

    world = World()
    with pytest.raises(UserError, match="pay_ask"):
        Performer(executor, world, world.reserve)


FAULTS = {
    "none": None,
    "reserve lost": ("before_reserve", TimeoutError()),
    "reserve unknown": ("after_reserve", TimeoutError()),
    "crash after reserving": ("after_reserve", Crash()),
    "crash before the effect": ("before_call", Crash()),
    "crash after the effect": ("after_call", Crash()),
    "refused": ("before_call", ToolError("no")),
    "raises before": ("before_call", RuntimeError()),
    "raises after": ("after_call", RuntimeError()),
    "times out after": ("after_call", TimeoutError()),
    "log unreadable": ("on_read", RetryLater(FailureCode.STAGE_FAILED, "no answer")),
    "provider silent": ("on_ask", RuntimeError()),
}


async def _deliver(world: World, process: Performer, granted: Grant, fault: str) -> Outcome | None:
    hook = FAULTS[fault]
    if hook is not None:
        setattr(world, hook[0], raising(hook[1]))
    try:
        return await process.perform(granted)
    except (RetryLater, TimeoutError, Crash):
        return None
    finally:
        if hook is not None:
            setattr(world, hook[0], nothing)


@settings(max_examples=400)
@given(
    name=st.sampled_from(["pay_again", "pay_ask", "pay_once"]),
    plan=st.lists(
        st.tuples(st.sampled_from(sorted(FAULTS)), st.booleans(), st.sampled_from([1, 7, 30])),
        max_size=6,
    ),
)
async def test_whatever_fails_no_effect_is_doubled_and_no_outcome_is_false(
    name: str, plan: list[tuple[str, bool, int]]
) -> None:
    world, granted = World(), grant(name)
    process, outcome = world.process(), None
    for fault, restart, seconds in [*plan, *[("none", False, 30)] * 3]:
        process = world.process() if restart else process
        outcome = await _deliver(world, process, granted, fault)
        world.now += timedelta(seconds=seconds)
        if outcome is not None:
            break
    assert outcome is not None
    if name != "pay_again":
        assert len(world.calls) <= 1
    assert {call.idempotency_key for call in world.calls} <= {granted.effect_key}
    assert len(world.ledger) <= 1
    if outcome.effect is not DOUBT:
        assert (outcome.effect is LANDED) == bool(world.ledger)


@pytest.mark.parametrize("name", ["pay_again", "pay_ask", "pay_once"])
@pytest.mark.parametrize("action", ["1-0", "2-0"])
async def test_an_erased_request_that_is_submitted_again_pays_nothing_again(
    name: str, action: str
) -> None:
    """Of an erased request only the reservation is left; the new grant is logged after it."""
    world = World()
    first = grant(name)
    world.finish(first, await world.process().perform(first))
    world.events = {at: event for at, event in world.events.items() if at[0] == "reserved"}
    again = grant(name, action=action)
    world.put(Subject("ev", "approved", "acme", REQUEST, action, name), again)
    world.now += timedelta(days=30)
    outcome = await world.process().perform(again)
    assert outcome.effect is DOUBT
    assert len(world.calls) == 1
