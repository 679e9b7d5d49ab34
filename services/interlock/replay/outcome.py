"""How a request ended, in the few values by which two runs of it are compared."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from interlock.replay.log import Entry
from interlock_contracts.actions import Confirm, Result, Review
from interlock_contracts.answer import Answer, DeadLetter
from interlock_contracts.answer_review import AnswerReview
from interlock_contracts.canonical import digest
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.verdict import ActionVerdict, Decision, Verdict

OPEN = "open"
"""The status of a request without an answer."""


@dataclass(frozen=True, slots=True)
class Action:
    """One proposed action and what was decided of it.

    `decision` is the gate's word (`approve`, `confirm`, `review`, `repair`, `refuse`); `effect`
    what came of it, None where nothing did (yet).
    """

    step: str
    tool: str
    arguments: dict[str, Any]
    decision: str
    policies: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    effect: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The same tool with the same arguments is the same action, whichever step asks."""
        return self.tool, digest(self.arguments)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` is the answer's, or `open`; `decided_by` the stage that ended it."""

    status: str = OPEN
    tenant: str = ""
    intent: str | None = None
    text: str = ""
    codes: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    decided_by: str = ""
    bundle: str | None = None
    actions: tuple[Action, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[Any, ...]:
        """What makes two outcomes the same one, but for words."""
        last = {action.key: action.decision for action in self.actions}
        return self.status, tuple(sorted(last.items())), bool(self.waiting)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Where:
    """Which requests, by how they ended. An empty value asks for nothing."""

    tenant: str = ""
    intent: str = ""
    outcome: str = ""
    code: str = ""
    tool: str = ""

    @property
    def everything(self) -> bool:
        """Whether no condition is left that needs the events to be read."""
        return not (self.intent or self.outcome or self.code or self.tool)

    def holds(self, found: Outcome) -> bool:
        """Whether a request with this outcome is meant."""
        return (
            self.tenant in ("", found.tenant)
            and self.intent in ("", found.intent)
            and self.outcome in ("", found.status)
            and (not self.code or self.code in found.codes)
            and (not self.tool or self.tool in {action.tool for action in found.actions})
        )


@dataclass(slots=True)
class _Found:
    answer: Event | None = None
    intent: str | None = None
    bundle: str | None = None
    tenant: str = ""
    verdicts: list[Event] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def outcome_of(entries: Iterable[Entry]) -> Outcome:
    """How the request of these entries ended."""
    found = _Found()
    for entry in entries:
        if isinstance(entry, Event):
            _look(found, entry)
    actions = tuple(action for event in found.verdicts for action in _actions(event, found.results))
    waiting = tuple(one for one in found.asked if one not in found.results)
    made = found.answer
    base = {"tenant": found.tenant, "intent": found.intent, "bundle": found.bundle}
    if made is None or not isinstance(made.data, Answer):
        return Outcome(**base, actions=actions, waiting=waiting)  # type: ignore[arg-type]  # as named
    answer = made.data
    return Outcome(
        status=answer.status.value,
        tenant=found.tenant,
        intent=found.intent,
        text=answer.text,
        codes=tuple(dict.fromkeys(one.code.value for one in answer.failures)),
        areas=tuple(dict.fromkeys(one.area.value for one in answer.failures)),
        reasons=tuple(one.message for one in answer.failures),
        decided_by=made.source.removeprefix("/"),
        bundle=answer.bundle or found.bundle,
        actions=actions,
    )


def _look(found: _Found, event: Event) -> None:
    data, name = event.data, event.subject.event
    found.tenant = event.subject.tenant
    if isinstance(data, Answer):
        found.answer = event
    elif isinstance(data, Case):
        found.bundle = data.bundle
        if data.route is not None:
            found.intent = data.route.intent
        if name == "verdict":
            found.verdicts.append(event)
    elif isinstance(data, Result):
        found.results[data.action] = data
    elif isinstance(data, Confirm | Review | AnswerReview):
        found.asked.append(data.action)
    elif isinstance(data, DeadLetter):
        found.bundle = found.bundle or data.headers.get("ce-bundle")


def _actions(event: Event, results: dict[str, Result]) -> Sequence[Action]:
    verdict = event.case.verdict
    return [] if verdict is None else [_action(verdict, one, results) for one in verdict.actions]


def _action(verdict: Verdict, one: ActionVerdict, results: dict[str, Result]) -> Action:
    refused = one.decision in (Decision.REFUSE, Decision.REPAIR)
    index = one.action.rpartition("-")[2]
    own = [v for v in verdict.violations if v.path.startswith(f"/calls/{index}")]
    result = results.get(one.action)
    codes = tuple(dict.fromkeys(v.code.value for v in (own or verdict.violations)))
    return Action(
        one.action,
        one.tool,
        dict(one.arguments),
        one.decision.value,
        one.policy.policies if one.policy else (),
        codes if refused else (),
        None if result is None else result.effect.value,
    )
