"""Who may do what on the broker, derived from the event table.

Every user gets an account of its own, and what it may publish is imported into that account
from the log's. Publish permissions alone would not hold: a broker checks the subject of a
message, not its reply subject, and JetStream sends its answer (a stored body included) wherever
the reply subject points. In a shared account a producer could so have its own request's body
stored as a reviewer's decision. In an account of its own such a reply goes nowhere.
"""

from dataclasses import dataclass

from interlock.runtime.broker.topology import (
    EXPIRY,
    REPLAY_CELL,
    Durable,
    Topology,
    bundle_stream,
    bundle_subject,
    durables,
    executor_user,
    stream_name,
)
from interlock_contracts.activation import NO_TENANT
from interlock_contracts.table import (
    BUNDLED,
    EVENT,
    EVENTS,
    FACT_SUBJECT,
    FOLLOWED,
    PREPARE_SUBJECT,
    STAGES,
    Actor,
    EventSpec,
    consumed_by,
    published_by,
)

PROVISIONER = "provisioner"
REPLAY = "replay"
ERASER = "eraser"
"""May overwrite messages of the log, as an erasure demands; an operator may not."""


@dataclass(frozen=True, slots=True)
class User:
    """One user of the broker.

    `publish` and `subscribe` are the only subjects it may use beside its own inbox, all of them
    in the log's account. `asks` and `answers` are request-reply subjects between two users (the
    gate and the executors, the operator and the stages), not on the log. The `trusted`
    provisioner lives in the log's account itself.
    """

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    trusted: bool = False

    @property
    def inbox(self) -> str:
        """The prefix of its inboxes."""
        return inbox_prefix(self.name)


def covers(asked: str, answered: str) -> bool:
    """Whether who may ask on the subject filter `asked` reaches who answers on `answered`."""
    pairs = zip(asked.split("."), answered.split("."), strict=False)
    same_length = asked.count(".") == answered.count(".")
    return same_length and all(ours in ("*", theirs) for ours, theirs in pairs)


def inbox_prefix(user: str) -> str:
    """The only inbox prefix this user may subscribe to."""
    return f"_INBOX_{user}"


def barrier_subject(user: str) -> str:
    """Where nobody listens: a request there returns once all sent before it was dealt with."""
    return f"{inbox_prefix(user)}.barrier"


def ingest_user(tenant: str) -> str:
    """The name of the user that writes a tenant's documents."""
    return f"{Actor.INGEST}-{tenant}"


def users(topology: Topology) -> tuple[User, ...]:
    """Every user of this installation, with its least privilege."""
    standing = {durable.name: durable for durable in durables(topology)}
    found = [_stage(topology, standing[actor], actor) for actor in STAGES]
    found.append(_audit_sink(topology))
    found.extend(
        _further_executor(topology, executor_user(name), tools)
        for name, tools in topology.executors.items()
    )
    for tenant in topology.tenants:
        found.append(_outsider(topology, Actor.PRODUCER, tenant))
        found.append(_outsider(topology, Actor.REVIEWER, tenant))
        found.append(_outsider(topology, Actor.INGEST, tenant))
    found.append(_operator(topology))
    found.append(_eraser(topology))
    found.append(_replay(topology))
    found.append(User(PROVISIONER, ("$JS.API.>",), trusted=True))
    return tuple(found)


def _consuming(stream: str, durable: str) -> tuple[str, ...]:
    """What a pull consumer's owner must be able to send: fetch, ask about it, acknowledge."""
    return (
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.API.CONSUMER.INFO.{stream}.{durable}",
        f"$JS.ACK.{stream}.{durable}.>",
    )


def _read_all(stream: str) -> str:
    """Reads of any message, answered by the stream's leader."""
    return f"$JS.API.STREAM.MSG.GET.{stream}"


def read_many(stream: str) -> str:
    """Reads of any number of messages, in batches; any replica may answer."""
    return f"$JS.API.DIRECT.GET.{stream}"


def _read(stream: str, subjects: tuple[str, ...]) -> tuple[str, ...]:
    """Reads of the last message of a subject, for these subjects only."""
    return tuple(f"$JS.API.DIRECT.GET.{stream}.{subject}" for subject in subjects)


def _outputs(cell: str, actor: Actor, stage: str, tools: tuple[str, ...]) -> tuple[str, ...]:
    """The subjects a stage publishes: dead letters as itself, a tool's events for its tools."""
    tails = {"tool": tools, "stage": (stage,)}
    return tuple(
        spec.subject(cell, tail=tail)
        for spec in published_by(actor)
        for tail in (tails.get(spec.tail, ("*",)) if spec.tail else ("*",))
    )


def _facts(cell: str, tools: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{cell}.{FACT_SUBJECT}.*.{tool}" for tool in tools)


def _stage(topology: Topology, durable: Durable, actor: Actor) -> User:
    cell = topology.cell
    executes = actor is Actor.TOOL_EXECUTOR
    bundled = actor in BUNDLED
    tools = (topology.tools or ("*",)) if executes else ("*",)
    gate = actor is Actor.CONTRACT_VALIDATOR
    return User(
        actor.value,
        (
            *_outputs(cell, actor, actor.value, tools),
            *_consuming(topology.stream, durable.name),
            *(_consuming(topology.stream, EXPIRY) if gate else ()),
            _read_all(topology.stream),
            *((_read_all(bundle_stream(cell)),) if bundled else ()),
        ),
        subscribe=tuple(EVENT[name].subject(cell) for name in sorted(FOLLOWED)) if bundled else (),
        asks=_facts(cell, ("*",)) if gate else (),
        answers=_facts(cell, tools) if executes else (f"{cell}.{PREPARE_SUBJECT}.{actor}",),
    )


def _further_executor(topology: Topology, user: str, tools: tuple[str, ...]) -> User:
    """As the in-house executor, for its tools; it reads its own subjects, not the whole log."""
    cell = topology.cell
    readable = (
        *(EVENT[name].subject(cell, tail=t) for name in _EXECUTOR_READS for t in tools),
        EVENT["dead"].subject(cell, tail=user),
        EVENT["keyring"].subject(cell, tenant=NO_TENANT),
    )
    return User(
        user,
        (
            *_outputs(cell, Actor.TOOL_EXECUTOR, user, tools),
            *_consuming(topology.stream, user),
            *_read(topology.stream, readable),
        ),
        answers=_facts(cell, tools),
    )


_EXECUTOR_READS = ("approved", "reserved", "result")


def _outsider(topology: Topology, actor: Actor, tenant: str) -> User:
    """A producer, a reviewer, a writer of documents: its tenant's events, live and logged."""

    def below(spec: EventSpec) -> str:
        return f"{topology.cell}.{spec.name}.{tenant}.>"

    incoming = tuple(below(spec) for spec in consumed_by(actor))
    written = tuple(below(spec) for spec in published_by(actor))
    outgoing = tuple(spec.subject(topology.cell, tenant) for spec in published_by(actor))
    return User(
        f"{actor}-{tenant}",
        (*outgoing, *_read(topology.stream, (*incoming, *written))),
        subscribe=incoming,
    )


def _operator(topology: Topology) -> User:
    """Reads the log and the state of streams and consumers; orders retries and discards.

    It alone stores bundles, has them load-tested, and says which one is active.
    """
    cell, stream = topology.cell, topology.stream
    return User(
        Actor.OPERATOR.value,
        (
            *(spec.subject(cell) for spec in published_by(Actor.OPERATOR)),
            _read_all(stream),
            bundle_subject(cell),
            _read_all(bundle_stream(cell)),
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.CONSUMER.LIST.{stream}",
            f"$JS.API.CONSUMER.INFO.{stream}.*",
        ),
        subscribe=tuple(spec.subject(cell) for spec in EVENTS),
        asks=(f"{cell}.{PREPARE_SUBJECT}.*",),
    )


def _audit_sink(topology: Topology) -> User:
    """Consumes everything, and reads again what it finds that it has not."""
    stream = topology.stream
    reading = (_read_all(stream), f"$JS.API.STREAM.INFO.{stream}")
    return User(Actor.AUDIT_SINK.value, (*_consuming(stream, Actor.AUDIT_SINK.value), *reading))


def _eraser(topology: Topology) -> User:
    """Overwrites messages of the log, which nobody else may, and says so on the log."""
    stream = topology.stream
    return User(
        ERASER,
        (
            EVENT["custody"].subject(topology.cell),
            f"$JS.API.STREAM.MSG.DELETE.{stream}",
            _read_all(stream),
            f"$JS.API.STREAM.INFO.{stream}",
        ),
    )


def _replay(topology: Topology) -> User:
    """Reads the live log; publishes into its own cell only."""
    own = stream_name(REPLAY_CELL)
    return User(
        REPLAY,
        (
            *(spec.subject(REPLAY_CELL) for spec in EVENTS),
            *(_read_all(stream) for stream in (topology.stream, own)),
            *(read_many(stream) for stream in (topology.stream, own)),
            *(f"$JS.API.STREAM.INFO.{stream}" for stream in (topology.stream, own)),
            _read_all(bundle_stream(topology.cell)),
        ),
    )
