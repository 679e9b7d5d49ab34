"""What-if: what a request came to, beside what it would have come to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from interlock.bundles.errors import BundleError, BundleUnknown
from interlock.bundles.model import Bundle
from interlock.bundles.routes import ModelCandidate
from interlock.replay.asking import Ask
from interlock.replay.effects import Effects
from interlock.replay.log import Entry, MemoryLog
from interlock.replay.outcome import Outcome, outcome_of
from interlock.replay.simulate import Simulation, Simulator, StageFunction, new_log
from interlock.runtime.errors import RetryLater, UserError
from interlock.runtime.stage import Bundles
from interlock_contracts.event import Event
from interlock_contracts.request import Request
from interlock_contracts.table import STAGES, Actor

CANNOT = "cannot_evaluate"


@dataclass(frozen=True, slots=True)
class Setup:
    """What is replaced: the bundle, every model, stages by functions, outputs by scripted ones."""

    bundle: Bundle | None = None
    model: tuple[str, str] | None = None
    stages: tuple[tuple[Actor, StageFunction], ...] = ()
    scripted: tuple[dict[str, Any], ...] = ()
    documents: str = ""

    @property
    def live(self) -> frozenset[str]:
        """What the parent may be asked for: an index always, models where one was named."""
        return frozenset({"search", "model"} if self.model else {"search"})


async def setup_of(config: dict[str, Any], bundles: Bundles) -> Setup:
    """The setup of a configuration; raises `UserError` for a stage that cannot be loaded."""
    digest, model = config.get("bundle"), config.get("model")
    return Setup(
        await bundles.get(digest) if digest else None,
        (model[0], model[1]) if model else None,
        tuple((Actor(name), load_stage(path)) for name, path in config.get("stages", {}).items()),
        tuple(config.get("scripted", ())),
        digest or "",
    )


def load_stage(path: str) -> StageFunction:
    """The stage function at `package.module:name`; raises `UserError`."""
    module, _, name = path.partition(":")
    try:
        found: StageFunction = getattr(import_module(module), name or "decide")
    except (ImportError, AttributeError) as error:
        raise UserError(f"no stage at {path!r}: {error}") from None
    return found


def stage_named(name: str) -> Actor | None:
    """The stage that a user calls so: `generator`, `contract_validator`, `contract-validator`."""
    plain = name.replace("_", "-")
    return next((actor for actor in STAGES if actor.value == plain), None)


def with_model(bundle: Bundle, provider: str, model: str) -> Bundle:
    """The bundle with every route on one model; options of the same provider's are kept."""
    routes = {}
    for name, route in bundle.models.items():
        same = [one for one in route.candidates if one.provider == provider]
        candidate = (
            same[0].model_copy(update={"model": model})
            if same
            else ModelCandidate(provider=provider, model=model)
        )
        routes[name] = route.model_copy(update={"candidates": (candidate,)})
    return changed(bundle, models=routes)


def changed(bundle: Bundle, **parts: Any) -> Bundle:
    """A copy of the bundle with other parts, and the digest that belongs to it."""
    made = bundle.model_copy(update=parts)
    made.__dict__.pop("digest", None)  # cached: it is the original's
    return made


class WhatIf:
    """Simulates requests under setups."""

    def __init__(self, bundles: Bundles, ask: Ask | None) -> None:
        self._bundles = bundles
        self._ask = ask
        self._models: dict[tuple[str, str, str], Bundle] = {}

    async def then(self, outcome: Outcome) -> Bundle | None:
        """The bundle that a request ran on, if it is at hand."""
        if outcome.bundle is None:
            return None
        try:
            return await self._bundles.get(outcome.bundle)
        except (BundleUnknown, BundleError, RetryLater):
            return None

    async def run(self, entries: Sequence[Entry], setup: Setup) -> Simulation:
        """What would have come of the request of these entries."""
        before = outcome_of(entries)
        first = next(
            (one for one in entries if isinstance(one, Event) and isinstance(one.data, Request)),
            None,
        )
        if first is None:
            return Simulation(Outcome(), missing="its request cannot be read (erased, or invalid)")
        assert isinstance(first.data, Request)
        then = await self.then(before)
        bundle = setup.bundle or then
        if bundle is None:
            return Simulation(Outcome(), missing=f"its bundle {before.bundle} is not at hand")
        if setup.model is not None:
            bundle = self._on_model(bundle, *setup.model)
        effects = Effects(
            recorded=MemoryLog(entries),
            log=new_log(),
            request=first.data,
            bundle=bundle,
            then=then,
            ask=self._ask,
            live=setup.live,
            scripted=setup.scripted,
            documents=setup.documents or bundle.digest,
        )
        first = replace(first, attempt=0)
        return await Simulator(first, effects, dict(setup.stages)).run()

    def _on_model(self, bundle: Bundle, provider: str, model: str) -> Bundle:
        key = bundle.digest, provider, model
        if key not in self._models:
            self._models[key] = with_model(bundle, provider, model)
        return self._models[key]


def compare(before: Outcome, after: Simulation) -> dict[str, Any]:
    """Both sides and what changed: `same`, `wording`, `flip` or `cannot_evaluate`."""
    return {
        "change": change_of(before, after),
        "before": {"result": before.status, **before.to_json()},
        "after": {"result": after.status, **after.outcome.to_json()},
        "opened": opened(before, after.outcome),
        "new": [{"tool": one.tool, "arguments": dict(one.arguments)} for one in after.new],
        "missing": after.missing,
        "notes": list(dict.fromkeys(after.notes)),
        "why": why(before, after),
    }


def change_of(before: Outcome, after: Simulation) -> str:
    """How much of a difference it makes."""
    if after.missing is not None:
        return CANNOT
    now = after.outcome
    if before.shape != now.shape or before.status != now.status:
        return "flip"
    return "same" if (before.text, before.codes) == (now.text, now.codes) else "wording"


def opened(before: Outcome, after: Outcome) -> bool:
    """Whether an action is let through, or put to a person, that was not before."""
    was = {action.key: RANK[action.decision] for action in before.actions}
    return any(RANK[one.decision] > was.get(one.key, 0) for one in after.actions)


RANK = {"refuse": 0, "repair": 0, "review": 1, "confirm": 2, "approve": 3, "answer": 3}
"""How far a decision of the gate lets something through."""


def why(before: Outcome, after: Simulation) -> str:
    """What decided, in one line: codes and policies of the side that changed."""
    if after.missing is not None:
        return after.missing
    now = after.outcome
    said = [f"{area}/{code}" for area, code in _coded(now)]
    policies = sorted({name for one in now.actions for name in one.policies})
    if not said and before.codes:
        said = [f"no more {code}" for code in before.codes]
    if now.intent != before.intent:
        said.insert(0, f"intent {before.intent} → {now.intent}")
    if policies:
        said.append(f"policies {', '.join(policies)}")
    return "; ".join(said)


def _coded(outcome: Outcome) -> list[tuple[str, str]]:
    from interlock_contracts.failures import AREA_OF, FailureCode

    codes = [*outcome.codes, *(code for one in outcome.actions for code in one.codes)]
    return [(AREA_OF[FailureCode(code)].value, code) for code in dict.fromkeys(codes)]
