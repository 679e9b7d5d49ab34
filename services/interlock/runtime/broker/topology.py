"""What one installation's broker is made for: its cell, tenants and executors."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock_contracts.subjects import LIVE_CELL, TOKEN
from interlock_contracts.table import EVENT, SERVICES, STAGES, WAITING, Actor, consumed_by

REPLAY_CELL = "rp"
"""The cell a replay publishes into."""

LIVE = "live"
"""What the log has accepted is republished below `live.`, for those who listen live.

A listener on the event's own subject would also hear what the log refuses. Accounts map it back:
a producer subscribes `ev.answer.acme.>`.
"""


def stream_name(cell: str) -> str:
    """The JetStream stream that is the log of `cell`: its name in capitals."""
    return cell.upper()


def bundle_stream(cell: str) -> str:
    """The JetStream stream that holds the bundles of `cell`."""
    return f"{stream_name(cell)}_BUNDLES"


def bundle_subject(cell: str, digest: str = "*") -> str:
    """Where the bundle with this digest is stored; by default the filter for all of them."""
    return f"bundles.{cell}.{digest.removeprefix('sha256:')}"


@dataclass(frozen=True, slots=True)
class Topology:
    """The inputs of everything that is derived from the event table.

    `executors` are those beside the in-house `tool-executor`: name → the tools it runs.
    `tools` are the in-house executor's; None (every tool) is possible only without others,
    for two executors must never be handed the same grant.

    Raises:
        ValueError: a name is not a token, or a tool has no or two executors.
    """

    cell: str = LIVE_CELL
    tenants: tuple[str, ...] = ()
    executors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tools: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.executors and self.tools is None:
            raise ValueError("with further executors the in-house executor's tools must be named")
        tools = [*(self.tools or ()), *(tool for own in self.executors.values() for tool in own)]
        twice = sorted({tool for tool in tools if tools.count(tool) > 1})
        if twice:
            raise ValueError(f"more than one executor for {', '.join(twice)}")
        if self.tools == () or any(not own for own in self.executors.values()):
            raise ValueError("an executor without tools")
        if self.cell != self.cell.lower():
            raise ValueError(f"the cell {self.cell!r} must be in lower case")
        for token in (self.cell, *self.tenants, *self.executors, *tools):
            if not TOKEN.fullmatch(token):
                raise ValueError(f"{token!r} is not a token ({TOKEN.pattern})")

    @property
    def stream(self) -> str:
        """The name of the stream that is this cell's log."""
        return stream_name(self.cell)


EXPIRY = f"{Actor.CONTRACT_VALIDATOR.value}-expiry"
"""The contract-validator's second durable: questions to people, until they expire."""


@dataclass(frozen=True, slots=True)
class Durable:
    """A durable pull consumer. Its name is its owner's user name, but for `EXPIRY`.

    `waiting`: its messages may be handed back for as long as people take, any number of them.
    """

    name: str
    filters: tuple[str, ...]
    waiting: bool = False


def executor_user(name: str) -> str:
    """The user, durable and stage name of a further executor."""
    return f"executor-{name}"


def durables(topology: Topology) -> tuple[Durable, ...]:
    """One durable per service and one per further executor.

    The audit-sink has no filter: it reads everything.
    """
    cell = topology.cell
    found = [
        Durable(actor.value, _filters(cell, actor))
        for actor in SERVICES
        if actor not in (Actor.TOOL_EXECUTOR, Actor.AUDIT_SINK)
    ]
    found.append(_executor(cell, Actor.TOOL_EXECUTOR.value, topology.tools or ("*",)))
    expiring = tuple(EVENT[name].subject(cell) for name in sorted(WAITING))
    found.append(Durable(EXPIRY, expiring, waiting=True))
    found.append(Durable(Actor.AUDIT_SINK.value, ()))
    found.extend(
        _executor(cell, executor_user(name), tools) for name, tools in topology.executors.items()
    )
    return tuple(found)


def _filters(cell: str, actor: Actor) -> tuple[str, ...]:
    """The subjects a stage consumes at once; of the retries only its own."""
    assert actor in STAGES
    return tuple(
        spec.subject(cell, tail=actor.value if spec.tail == "stage" else "*")
        for spec in consumed_by(actor)
        if spec.name not in WAITING
    )


def _executor(cell: str, user: str, tools: tuple[str, ...]) -> Durable:
    grants = tuple(EVENT["approved"].subject(cell, tail=tool) for tool in tools)
    return Durable(user, (*grants, EVENT["retry"].subject(cell, tail=user)))
