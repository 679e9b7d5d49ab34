"""The scenes in which money moves: once, whatever dies; and not before a person says so."""

import asyncio
import os
import signal

from interlock.cli.demo.scene import Scene
from interlock.cli.demo.world import World, counted, listed, money, until
from interlock.runtime.errors import UserError
from interlock_contracts.actions import Effect, Grant, Notice, Result, Review
from interlock_contracts.answer import AnswerStatus, DeadLetter
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Request


async def once(world: World, scene: Scene) -> None:
    """A refund submitted three times while its executor is killed with SIGKILL."""
    order, cents = "A-1001", 2_000
    request = world.request(f"Please refund {money(cents)} of order {order}, it arrived damaged.")
    scene.requests.append(request.request_id)
    scene.tell("maria", f"{request.text} (order {order}: {len(_of(world, order))} refunds so far)")
    first = await world.producer.submit(request)

    world.progress("waiting for the shop to book the refund")
    await until("the refund in the shop's books", lambda: _booked(world, order))
    killed = await _kill_executor(world)
    recorded = [one for one in await world.events(request.request_id) if _is(one, "result")]
    scene.tell("kill -9", f"process {killed}, the tool-executor: money moved, nothing recorded yet")

    again = await world.producer.submit(request)
    raw = await world.submit_raw(request)
    refusal = raw.get("error", {}).get("description", "none: it was stored")
    scene.tell("again", f"the same id by the SDK, then as bare JSON; the broker says: {refusal}")

    world.progress("the supervisor starts the executor again; the broker redelivers the action")
    answer = await world.producer.answer(request.request_id, timeout=30.0)
    scene.tell("answer", f"{answer.status}: {answer.text}")

    events = await world.events(request.request_id)
    result = _result(events)
    counts = counted(events, "request", "approved", "reserved", "result", "answer")
    scene.check(
        "the executor was killed after the effect and before its result was recorded",
        not recorded and world.executor.pid != killed,
        f"results on the log at the kill: {len(recorded)}; pid {killed}, now {world.executor.pid}",
    )
    scene.check(
        "submitted three times, taken once",
        first and not again and "error" in raw and counts["request"] == 1,
        f"new: {_yes(first)}, {_yes(again)}, {_yes('error' not in raw)}; "
        f"requests on the log: {counts['request']}",
    )
    booked = _of(world, order)
    scene.check(
        "the refund was paid exactly once",
        booked == [cents],
        f"shop database, refunds of {order}: {', '.join(map(money, booked)) or 'none'}",
    )
    scene.check(
        "its result landed and the request was answered, once each",
        set(counts.values()) == {1}
        and result is not None
        and result.effect is Effect.LANDED
        and answer.status is AnswerStatus.ANSWERED,
        f"log: {listed(counts)}; effect {result.effect if result else 'none'}",
    )


async def reviewed(world: World, scene: Scene) -> None:
    """A refund over the limit: the requester's own approval does not count, a colleague's does."""
    order, cents = "A-1002", 15_000
    request = world.request(f"Please refund {money(cents)} of order {order}, it arrived damaged.")
    scene.requests.append(request.request_id)
    world.asked[scene.name] = request.request_id
    scene.tell("maria", request.text)
    await world.producer.submit(request)

    world.progress("waiting for the gate to ask a person")
    notice = await until("the notice to the producer", lambda: _notice(world, request))
    card = await until("the question to a reviewer", lambda: _card(world, request))
    scene.tell("shop", f"{notice.message}")
    _tell_card(scene, card)
    before = counted(await world.events(request.request_id), "approved", "result")
    scene.check(
        "a refund above the limit waits for a person",
        notice.waiting_for == "review" and not any(before.values()) and not _of(world, order),
        f"log: review 1, {listed(before)}; refunds of {order}: {len(_of(world, order))}",
    )

    await world.review(card, request.request_id, by="maria")
    world.progress("the requester approves their own refund")
    refused = await until("the refusal", lambda: _refusal(world, request))
    scene.tell("maria", f"approves it herself: {refused.failure.area}/{refused.failure.code}")
    after = counted(await world.events(request.request_id), "approved")
    scene.check(
        "the requester's own approval is refused",
        refused.failure.code is FailureCode.REQUESTER_IS_APPROVER and not after["approved"],
        f"dead letter of the {refused.stage}: {refused.failure.code}; {listed(after)}",
    )

    await world.review(card, request.request_id, by="kim")
    world.progress("a colleague approves; the executor runs the refund")
    answer = await world.producer.answer(request.request_id, timeout=30.0)
    scene.tell("kim", f"approves it. {answer.text}")
    events = await world.events(request.request_id)
    grant = next((one.data for one in events if isinstance(one.data, Grant)), None)
    result, booked = _result(events), _of(world, order)
    scene.check(
        "approved by a colleague, it ran, once",
        grant is not None
        and grant.approved_by == ("kim",)
        and result is not None
        and result.effect is Effect.LANDED
        and answer.status is AnswerStatus.ANSWERED
        and booked == [cents],
        f"signed grant, approved by {', '.join(grant.approved_by) if grant else 'nobody'}; "
        f"refunds of {order}: {', '.join(map(money, booked)) or 'none'}",
    )


def _tell_card(scene: Scene, card: Review) -> None:
    """The why-card: what would run, where each argument comes from, what the policies say."""
    scene.tell("why-card", f"{card.tool}, asked by {card.requester}")
    for origin in card.provenance:
        name = origin.path.removeprefix("/")
        value = card.arguments.get(name)
        scene.tell("", f"{name} = {value!r}  ← {origin.origin}: {origin.evidence or 'default'}")
    for fact in card.facts:
        value = fact.value if isinstance(fact.value, dict) else {}
        scene.tell("", f"fact {fact.name}, by {fact.tool}: {value.get('summary', fact.error)}")
    if card.policy is not None:
        duties = ", ".join(card.policy.obligations)
        scene.tell("", f"policy {', '.join(card.policy.policies)}: {duties}")


async def _kill_executor(world: World) -> int:
    """SIGKILL to the executor; returns once it is dead."""
    pid = world.executor.pid
    os.kill(pid, signal.SIGKILL)

    async def dead() -> bool | None:
        try:
            return True if world.executor.pid != pid else None
        except UserError:  # it is down, and not yet up again
            return True

    await until("the end of the executor", dead)
    return pid


async def _booked(world: World, order: str) -> bool | None:
    return True if await asyncio.to_thread(world.books.refunds, order) else None


async def _notice(world: World, request: Request) -> Notice | None:
    async for event in world.producer.follow(request.request_id):
        if isinstance(event.data, Notice):
            return event.data
    return None


async def _card(world: World, request: Request) -> Review | None:
    event = await world.log.read("review", request.tenant, request.request_id, "1-0")
    return event.data if event is not None and isinstance(event.data, Review) else None


async def _refusal(world: World, request: Request) -> DeadLetter | None:
    events = await world.events(request.request_id)
    return next((one.data for one in events if isinstance(one.data, DeadLetter)), None)


def _of(world: World, order: str) -> list[int]:
    return world.books.refunds(order)


def _is(event: Event, name: str) -> bool:
    return event.subject.event == name


def _result(events: list[Event]) -> Result | None:
    return next((one.data for one in events if isinstance(one.data, Result)), None)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
