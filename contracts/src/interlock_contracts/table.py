"""The one table of events.

Broker permissions, streams, consumers, AsyncAPI, schemas and docs are all derived from it.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Literal

from interlock_contracts.actions import (
    Confirm,
    Decided,
    Grant,
    Notice,
    Reservation,
    Result,
    Review,
    Spent,
)
from interlock_contracts.activation import Activation, Evaluation, ShadowVerdict
from interlock_contracts.answer import Answer, DeadLetter, Discard, Retry
from interlock_contracts.answer_review import AnswerReview
from interlock_contracts.base import Model
from interlock_contracts.case import Case
from interlock_contracts.custody import Custody
from interlock_contracts.documents import DOCUMENT, DocumentEvent
from interlock_contracts.keyring import Keyring
from interlock_contracts.request import Request


class Actor(StrEnum):
    """Who connects to the broker. The first six are services; each has its own credentials."""

    INTENT_ROUTER = "intent-router"
    RETRIEVER = "retriever"
    GENERATOR = "generator"
    CONTRACT_VALIDATOR = "contract-validator"
    TOOL_EXECUTOR = "tool-executor"
    AUDIT_SINK = "audit-sink"
    PRODUCER = "producer"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    INGEST = "ingest"


SERVICES = tuple(Actor)[:6]
"""The six services, in the order of the flow."""

STAGES = SERVICES[:5]
"""The services that consume events and commit decisions; the audit-sink only reads."""

Tail = Literal["tool", "approver", "stage"]


@dataclass(frozen=True, slots=True)
class EventSpec:
    """One row: an event, who may publish it, who consumes it, its model and its address.

    `tail` says what the last token of its subject names, when it has six. `shared`: its subject
    is not of one request; whoever finds it taken has to decide again. Followers read all of
    an event, every replica for itself; consumers share it among their replicas.
    """

    name: str
    version: int
    model: type[Model]
    publishers: tuple[Actor, ...]
    consumers: tuple[Actor, ...]
    summary: str
    tail: Tail | None = None
    shared: bool = False
    followers: tuple[Actor, ...] = ()

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return f"interlock.{self.name}.v{self.version}"

    @property
    def owner(self) -> Actor:
        """Who answers for the event: its first publisher."""
        return self.publishers[0]

    def subject(self, cell: str, tenant: str = "*", tail: str = "*") -> str:
        """The NATS subject filter of this event, by default for every tenant and tail."""
        head = f"{cell}.{self.name}.{tenant}.*.*"
        return f"{head}.{tail}" if self.tail else head


_A = Actor

EVENTS: tuple[EventSpec, ...] = (
    EventSpec(
        "request", 1, Request, (_A.PRODUCER,), (_A.INTENT_ROUTER,),
        "A producer asks something of the feature.",
    ),
    EventSpec(
        "route", 1, Case, (_A.INTENT_ROUTER,), (_A.RETRIEVER,),
        "The intent, its risk and everything the next stages are held to.",
    ),
    EventSpec(
        "declined", 1, Case, (_A.INTENT_ROUTER,), (),
        "The whole decision about a request that the router ended; its answer says why in a line.",
    ),
    EventSpec(
        "context", 1, Case, (_A.RETRIEVER,), (_A.GENERATOR,),
        "What was retrieved, and how.",
    ),
    EventSpec(
        "proposal", 1, Case, (_A.GENERATOR,), (_A.CONTRACT_VALIDATOR,),
        "What the model wants: an answer, tool calls, or both.",
    ),
    EventSpec(
        "verdict", 1, Case, (_A.CONTRACT_VALIDATOR,), (),
        "What the gate decided, with every violation.",
    ),
    EventSpec(
        "repair", 1, Case, (_A.CONTRACT_VALIDATOR,), (_A.GENERATOR,),
        "The violations, back to the generator; bounded.",
    ),
    EventSpec(
        "spent", 1, Spent, (_A.CONTRACT_VALIDATOR,), (),
        "An entry in the ledger of a limit or a sequence rule.", shared=True,
    ),
    EventSpec(
        "confirm", 1, Confirm, (_A.CONTRACT_VALIDATOR,), (_A.PRODUCER, _A.CONTRACT_VALIDATOR),
        "Asks the requester whether an action shall run.",
    ),
    EventSpec(
        "confirmed", 1, Decided, (_A.PRODUCER,), (_A.CONTRACT_VALIDATOR,),
        "The requester's decision.",
    ),
    EventSpec(
        "review", 1, Review, (_A.CONTRACT_VALIDATOR,), (_A.REVIEWER, _A.CONTRACT_VALIDATOR),
        "Asks a reviewer whether an action shall run: the why-card.",
    ),
    EventSpec(
        "answer_review", 1, AnswerReview, (_A.CONTRACT_VALIDATOR,),
        (_A.REVIEWER, _A.CONTRACT_VALIDATOR),
        "Asks a reviewer whether an answer may go out.",
    ),
    EventSpec(
        "reviewed", 1, Decided, (_A.REVIEWER,), (_A.CONTRACT_VALIDATOR,),
        "A reviewer's decision.", tail="approver",
    ),
    EventSpec(
        "notice", 1, Notice, (_A.CONTRACT_VALIDATOR,), (_A.PRODUCER,),
        "Tells the producer that a person is asked.",
    ),
    EventSpec(
        "approved", 1, Grant, (_A.CONTRACT_VALIDATOR,), (_A.TOOL_EXECUTOR,),
        "A signed, single-use, expiring grant to run one tool.", tail="tool",
    ),
    EventSpec(
        "reserved", 1, Reservation, (_A.TOOL_EXECUTOR,), (),
        "An executor's claim on one effect, before the call.", tail="tool",
    ),
    EventSpec(
        "result", 1, Result, (_A.TOOL_EXECUTOR, _A.CONTRACT_VALIDATOR), (_A.GENERATOR,),
        "What came of an action; from the gate when a person denied it.", tail="tool",
    ),
    EventSpec(
        "answer", 1, Answer, (_A.CONTRACT_VALIDATOR, *STAGES[:3], _A.TOOL_EXECUTOR),
        (_A.PRODUCER,),
        "The one answer to a request; from another stage only when the request died there.",
    ),
    EventSpec(
        "dead", 1, DeadLetter, STAGES, (_A.OPERATOR,),
        "A message that could not be processed, with the reason.", tail="stage",
    ),
    EventSpec(
        "retry", 1, Retry, (_A.OPERATOR,), STAGES,
        "An operator's order to process a dead letter again.", tail="stage",
    ),
    EventSpec(
        "discard", 1, Discard, (_A.OPERATOR,), (),
        "An operator's decision that a dead letter needs nothing more.", tail="stage",
    ),
    EventSpec(
        "activated", 1, Activation, (_A.OPERATOR,), (),
        "Which bundle new requests start on: by whom, why, instead of which.",
    ),
    EventSpec(
        "keyring", 1, Keyring, (_A.OPERATOR,), (),
        followers=(_A.CONTRACT_VALIDATOR, _A.TOOL_EXECUTOR),
        summary="Which keys sign grants, which are trusted, and the epoch below which they are "
        "revoked.",
    ),
    EventSpec(
        "evaluated", 1, Evaluation, (_A.OPERATOR,), (),
        "How a bundle did on a gold set.",
    ),
    EventSpec(
        "shadow", 1, ShadowVerdict, (_A.CONTRACT_VALIDATOR,), (),
        "What the gate would have decided under another bundle; it decided nothing.",
    ),
    EventSpec(
        "custody", 1, Custody, (_A.OPERATOR,), (),
        "What was done to the record itself: erased, expired, held, released, exported.",
    ),
    EventSpec(
        DOCUMENT, 1, DocumentEvent, (_A.INGEST,), (), followers=(_A.RETRIEVER,),
        summary="A version of a document, a part of a long one, or its removal.",
    ),
)  # fmt: skip

EVENT: dict[str, EventSpec] = {spec.name: spec for spec in EVENTS}
"""The table by event name."""

STAGES_OF: dict[str, tuple[Actor, ...]] = {
    spec.name: tuple(actor for actor in STAGES if actor in spec.consumers) for spec in EVENTS
}
"""The stages that consume an event, in the order of the flow, by event name."""

WAITING: frozenset[str] = frozenset({"confirm", "review", "answer_review"})
"""Events the contract-validator takes again when they expire: who was asked has not decided."""

FOLLOWED: frozenset[str] = frozenset({"activated"})
"""Events that every stage with a bundle hears at once, beside its queue."""

BESIDE: frozenset[str] = frozenset({"shadow"})
"""Events that no stage decides: a replay does not bring them about again."""

BUNDLED = STAGES[:4]
"""The stages that need a bundle."""

PREPARE_SUBJECT = "prepare"
"""Request-reply `<cell>.prepare.<stage>`: an operator asks a stage to load-test a bundle."""

FACT_SUBJECT = "fact"
"""Request-reply `<cell>.fact.<tenant>.<tool>`: the gate asks a read-only tool. Not on the log."""


def published_by(actor: Actor) -> tuple[EventSpec, ...]:
    """The events this actor may publish."""
    return tuple(spec for spec in EVENTS if actor in spec.publishers)


@cache
def consumed_by(actor: Actor) -> tuple[EventSpec, ...]:
    """The events this actor consumes. The audit-sink consumes all of them."""
    if actor is Actor.AUDIT_SINK:
        return EVENTS
    return tuple(spec for spec in EVENTS if actor in spec.consumers)


def received_by(actor: Actor) -> tuple[EventSpec, ...]:
    """The events this actor reads, as a consumer or as a follower."""
    return consumed_by(actor) + tuple(spec for spec in EVENTS if actor in spec.followers)
