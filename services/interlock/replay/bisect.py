"""Bisection: which single part of a bundle, or which stage, makes the difference.

Of two setups with different outcomes, one part after the other is taken from the bad one and the
rest from the good one. A part whose swap brings about the bad outcome, and whose swap back mends
it, is to blame.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from interlock.bundles.model import Bundle
from interlock.replay.log import Entry
from interlock.replay.outcome import Outcome
from interlock.replay.simulate import Simulation
from interlock.replay.whatif import Setup, WhatIf, changed
from interlock_contracts.failures import AREA_OF, FailureArea, FailureCode
from interlock_contracts.table import Actor

PARTS: dict[str, tuple[tuple[str, ...], Actor, FailureArea]] = {
    "routing": (
        ("intents", "router", "overrides", "groups"),
        Actor.INTENT_ROUTER,
        FailureArea.ROUTING,
    ),
    "privacy": (("privacy",), Actor.INTENT_ROUTER, FailureArea.SAFETY_POLICY),
    "retrieval": (("sources", "retrieval"), Actor.RETRIEVER, FailureArea.RETRIEVAL),
    "prompts": (("prompts",), Actor.GENERATOR, FailureArea.OUTPUT_CONTRACT),
    "models": (
        ("models", "prices", "accounts", "residency"),
        Actor.GENERATOR,
        FailureArea.OUTPUT_CONTRACT,
    ),
    "tools": (("tools",), Actor.CONTRACT_VALIDATOR, FailureArea.TOOL_CALL),
    "policies": (("policies", "reviewers"), Actor.CONTRACT_VALIDATOR, FailureArea.SAFETY_POLICY),
    "outputs": (("outputs",), Actor.CONTRACT_VALIDATOR, FailureArea.OUTPUT_CONTRACT),
    "replies": (("replies",), Actor.CONTRACT_VALIDATOR, FailureArea.OUTPUT_CONTRACT),
    "limits": (("limits",), Actor.INTENT_ROUTER, FailureArea.RUNTIME),
}
"""Parts of a bundle: its fields, the stage that reads them first, the area they stand for."""

_WRAPPERS = {FailureCode.REPAIRS_EXHAUSTED.value, FailureCode.RETRIES_EXHAUSTED.value}
"""They say that something went wrong again, not what."""

_FIND = frozenset({"routing", "retrieval", "stage.intent-router", "stage.retriever"})
"""Parts that decide what is found. A model that says nothing also ends with a code of retrieval:
it is believed only of these."""


class Bisection:
    """Bisects requests between two setups, both with a bundle."""

    def __init__(self, what_if: WhatIf, good: Setup, bad: Setup) -> None:
        self._what_if = what_if
        self._good = good
        self._bad = bad
        self._mixed: dict[tuple[bool, frozenset[str]], Setup] = {}

    async def run(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """Who is to blame for one request, or why nobody is."""
        good = await self._what_if.run(entries, self._good)
        bad = await self._what_if.run(entries, self._bad)
        told = {"good": good.status, "bad": bad.status, "blamed": [], "runs": 2}
        if good.missing or bad.missing:
            return {**told, "verdict": "cannot_evaluate", "missing": good.missing or bad.missing}
        level = _level(good, bad)
        if level is None:
            return {**told, "verdict": "no_difference"}
        parts = self._differing()
        blamed, runs = await self._blame(entries, parts, _key(good, level), _key(bad, level), level)
        if not blamed:
            return {**told, "verdict": "not_found", "runs": runs}
        area, code = _area(good.outcome, bad.outcome, blamed[0])
        return {
            **told,
            "verdict": "found",
            "blamed": [self._told(one) for one in blamed],
            "stage": self._stage(blamed[0]),
            "area": area,
            "code": code,
            "runs": runs + 2,
        }

    def _differing(self) -> list[str]:
        """Parts that are not the same in both, bundle parts before stages."""
        good, bad = self._bundles()
        found = [
            name
            for name, (fields, _, _) in PARTS.items()
            if any(getattr(good, one) != getattr(bad, one) for one in fields)
        ]
        return [*found, *(f"stage.{actor}" for actor, _ in self._bad.stages)]

    async def _blame(
        self, entries: Sequence[Entry], parts: list[str], was: Any, now: Any, level: int
    ) -> tuple[list[str], int]:
        """The single part to blame; else the smallest set that a stepwise search finds."""
        runs, sufficient, both = 0, [], []
        for part in parts:
            runs += 1
            if await self._try(entries, frozenset({part}), level) != now:
                continue
            sufficient.append(part)
            runs += 1
            if await self._try(entries, frozenset(parts) - {part}, level) == was:
                both.append(part)
        if both or sufficient:
            return (both or sufficient)[:1] if len(both) == 1 else (both or sufficient), runs
        needed = list(parts)
        for part in parts:
            runs += 1
            fewer = frozenset(needed) - {part}
            if fewer and await self._try(entries, fewer, level) == now:
                needed.remove(part)
        return needed, runs

    async def _try(self, entries: Sequence[Entry], from_bad: frozenset[str], level: int) -> Any:
        return _key(await self._what_if.run(entries, self._mix(from_bad)), level)

    def _mix(self, from_bad: frozenset[str]) -> Setup:
        """The good setup with these parts of the bad one."""
        key = (True, from_bad)
        if key not in self._mixed:
            good, bad = self._bundles()
            fields = {
                one: getattr(bad, one)
                for part in from_bad
                if part in PARTS
                for one in PARTS[part][0]
            }
            stages = tuple(pair for pair in self._bad.stages if f"stage.{pair[0]}" in from_bad)
            documents = self._bad if "retrieval" in from_bad else self._good
            self._mixed[key] = replace(
                self._good,
                bundle=changed(good, **fields),
                stages=stages,
                documents=documents.documents,
            )
        return self._mixed[key]

    def _bundles(self) -> tuple[Bundle, Bundle]:
        assert self._good.bundle is not None and self._bad.bundle is not None
        return self._good.bundle, self._bad.bundle

    def _stage(self, part: str) -> str:
        return part.removeprefix("stage.") if part not in PARTS else PARTS[part][1].value

    def _told(self, part: str) -> dict[str, Any]:
        """A part, and what in it differs."""
        if part not in PARTS:
            return {"part": part, "differs": []}
        good, bad = self._bundles()
        differs = []
        for name in PARTS[part][0]:
            ours, theirs = getattr(good, name), getattr(bad, name)
            if isinstance(ours, dict):
                names = sorted({*ours, *theirs})
                differs += [f"{name}/{n}" for n in names if ours.get(n) != theirs.get(n)]
            elif ours != theirs:
                fields = type(ours).model_fields
                differs += [f"{name}/{n}" for n in fields if getattr(ours, n) != getattr(theirs, n)]
        return {"part": part, "differs": differs}


def _level(good: Simulation, bad: Simulation) -> int | None:
    """The coarsest way in which the two differ; None if they do not."""
    return next((level for level in range(3) if _key(good, level) != _key(bad, level)), None)


def _key(found: Simulation, level: int) -> Any:
    """What is compared: how it ended; then also the codes and the intent; then the words."""
    outcome = found.outcome
    key: tuple[Any, ...] = (found.status, outcome.shape)
    if level > 0:
        key += (outcome.codes, outcome.intent)
    return (*key, outcome.text) if level > 1 else key


def _area(good: Outcome, bad: Outcome, part: str) -> tuple[str, str | None]:
    """The failure area, by what failed in one of the two only; else by the part itself."""
    failed, fine = _codes(bad), _codes(good)
    only = [code for code in failed if code not in fine] or [c for c in fine if c not in failed]
    for code in [one for one in only if one not in _WRAPPERS] or only:
        area = AREA_OF[FailureCode(code)]
        if area is not FailureArea.RETRIEVAL or part in _FIND:
            return area.value, code
    return (PARTS[part][2].value if part in PARTS else FailureArea.RUNTIME.value), None


def _codes(outcome: Outcome) -> list[str]:
    found = [*outcome.codes, *(code for one in outcome.actions for code in one.codes)]
    return list(dict.fromkeys(found))
