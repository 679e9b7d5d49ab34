"""What a replay process is asked to do with each request."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from interlock.replay.asking import Ask
from interlock.replay.backtest import backtest
from interlock.replay.bisect import Bisection
from interlock.replay.log import Entry
from interlock.replay.outcome import Where, outcome_of
from interlock.replay.verify import verify_request
from interlock.replay.whatif import WhatIf, compare, setup_of
from interlock.runtime.stage import Bundles
from interlock_contracts.event import Event

Task = Callable[[str, Sequence[Entry]], Coroutine[Any, Any, dict[str, Any]]]
"""From a request and its entries to what is told of it: JSON values only."""

SKIPPED = {"skipped": True}


async def task_of(config: dict[str, Any], bundles: Bundles, ask: Ask) -> Task:
    """The task that the configuration names; raises what keeps it from being done."""
    where = Where(**config.get("where", {}))
    run = await _TASKS[config["task"]](config, bundles, ask)

    async def task(request_id: str, entries: Sequence[Entry]) -> dict[str, Any]:
        if not where.everything and not where.holds(outcome_of(entries)):
            return SKIPPED
        return await run(request_id, entries)

    return task


async def _verify(config: dict[str, Any], bundles: Bundles, ask: Ask) -> Task:
    searching = ask if config.get("search") else None

    async def task(_: str, entries: Sequence[Entry]) -> dict[str, Any]:
        return (await verify_request(entries, bundles, searching)).to_json()

    return task


async def _what_if(config: dict[str, Any], bundles: Bundles, ask: Ask) -> Task:
    what_if, setup = WhatIf(bundles, ask), await setup_of(config, bundles)

    async def task(_: str, entries: Sequence[Entry]) -> dict[str, Any]:
        after = await what_if.run(entries, setup)
        found = compare(outcome_of(entries), after)
        if found["change"] != "same":
            recorded = [one for one in entries if isinstance(one, Event)]
            found["sides"] = {"before": _told(recorded), "after": _told(after.events)}
        return found

    return task


def _told(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Events for a side-by-side: the address and what is in them, without what is repeated."""
    told = []
    for event in events:
        data = event.data.model_dump(mode="json", exclude_none=True)
        own = _OWN.get(event.subject.event)
        if own is not None:
            data = {own: data.get(own)}
            (data[own] or {}).pop("record", None) if isinstance(data[own], dict) else None
        step = event.subject.step if event.subject.step != "0" else ""
        told.append({"event": event.subject.event, "step": step, "data": data})
    return told


_OWN = {"route": "route", "declined": "route", "context": "context", "proposal": "proposal",
        "verdict": "verdict", "repair": "steps"}  # fmt: skip
"""What each event of a case adds to it."""


async def _bisect(config: dict[str, Any], bundles: Bundles, ask: Ask) -> Task:
    good = await setup_of({"bundle": config["good"]}, bundles)
    bad = await setup_of({"bundle": config["bad"], "stages": config.get("stages", {})}, bundles)
    bisection = Bisection(WhatIf(bundles, ask), good, replace(bad, documents=config["bad"]))

    async def task(_: str, entries: Sequence[Entry]) -> dict[str, Any]:
        return await bisection.run(entries)

    return task


async def _backtest(config: dict[str, Any], bundles: Bundles, ask: Ask) -> Task:
    what_if, candidate = WhatIf(bundles, ask), await bundles.get(config["bundle"])

    async def task(_: str, entries: Sequence[Entry]) -> dict[str, Any]:
        ran_on = await what_if.then(outcome_of(entries))
        return {"rows": await backtest(entries, candidate, ran_on)}

    return task


_TASKS: dict[str, Callable[[dict[str, Any], Bundles, Ask], Awaitable[Task]]] = {
    "verify": _verify,
    "what-if": _what_if,
    "bisect": _bisect,
    "backtest": _backtest,
}
