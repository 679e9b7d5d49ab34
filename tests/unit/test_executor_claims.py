"""Effects: whose a reservation is, and who waits for whom."""

import asyncio
from datetime import timedelta

import pytest
from tests.support.effects import LANDED, Crash, World, grant, nothing, raising

from interlock.runtime.errors import RetryLater, SlowDown


@pytest.mark.parametrize("name", ["pay_again", "pay_ask", "pay_once"])
async def test_the_same_effect_asked_for_by_two_actions_happens_once(name: str) -> None:
    world = World()
    first, second = grant(name, "1-0"), grant(name, "2-0")
    outcome = await world.process().perform(first)
    world.now += timedelta(minutes=1)
    other = world.process()
    with pytest.raises(RetryLater) as later:
        await other.perform(second)
    assert not isinstance(later.value, SlowDown)  # bounded: the first may have died for good
    world.finish(first, outcome)
    assert await other.perform(second) == outcome
    assert len(world.calls) == 1


@pytest.mark.parametrize("name", ["pay_ask", "pay_once"])
async def test_another_executors_call_is_waited_out(name: str) -> None:
    world = World(after_call=raising(Crash()))
    with pytest.raises(Crash):
        await world.process().perform(grant(name))
    with pytest.raises(SlowDown) as waits:
        await world.process().perform(grant(name))
    assert waits.value.delay == pytest.approx(11.0)


@pytest.mark.parametrize("name", ["pay_again", "pay_ask", "pay_once"])
async def test_another_actions_call_is_waited_for(name: str) -> None:
    world = World()
    await world.process().perform(grant(name, "1-0"))
    with pytest.raises(SlowDown) as waits:
        await world.process().perform(grant(name, "1-1"))
    assert waits.value.delay == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["pay_again", "pay_ask", "pay_once"])
async def test_an_outcome_whose_result_could_not_be_committed_is_kept(name: str) -> None:
    world = World()
    process = world.process()
    outcome = await process.perform(grant(name))
    assert await process.perform(grant(name)) == outcome
    assert len(world.calls) == 1


@pytest.mark.parametrize("name", ["pay_again", "pay_ask", "pay_once"])
async def test_a_redelivery_while_the_call_is_running_is_sent_away(name: str) -> None:
    world, granted = World(gate=asyncio.Event()), grant(name)
    process = world.process()
    calling = asyncio.Event()
    world.before_call = calling.set
    first = asyncio.create_task(process.perform(granted))
    await asyncio.wait_for(calling.wait(), 5)
    with pytest.raises(RetryLater):
        await process.perform(granted)
    assert world.gate is not None
    world.gate.set()
    assert (await first).effect is LANDED
    assert len(world.calls) == 1


async def test_a_reservation_whose_acknowledgement_was_lost_is_still_ours() -> None:
    world, granted = World(after_reserve=raising(TimeoutError())), grant("pay_once")
    process = world.process()
    with pytest.raises(TimeoutError):
        await process.perform(granted)
    world.after_reserve = nothing
    assert (await process.perform(granted)).effect is LANDED
    assert len(world.calls) == 1


async def test_an_unanswered_claim_is_good_for_its_own_action_only() -> None:
    world = World(after_reserve=raising(TimeoutError()))
    process = world.process()
    with pytest.raises(TimeoutError):
        await process.perform(grant("pay_once", "1-0"))
    world.after_reserve = nothing
    with pytest.raises(SlowDown):
        await process.perform(grant("pay_once", "1-1"))
    assert (await process.perform(grant("pay_once", "1-0"))).effect is LANDED
    assert len(world.calls) == 1
