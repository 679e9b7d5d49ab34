"""Evaluations on record, which an activation may rest on; and the stages that are evaluated."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from interlock.runtime.errors import UserError
from interlock_contracts.actions import Effect, Grant, Result
from interlock_contracts.activation import NO_TENANT, Evaluation
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.failures import FailureCode, failure
from interlock_contracts.ids import event_id
from interlock_contracts.subjects import Subject
from interlock_contracts.table import STAGES, Actor

if TYPE_CHECKING:
    from interlock.contract_validator.facts import Fetch
    from interlock.replay.log import MemoryLog
    from interlock.runtime.broker.connect import BrokerClient
    from interlock.runtime.bundles.store import BundleStore
    from interlock.runtime.decision import Decider
    from interlock.runtime.log import JetStreamLog
    from interlock.runtime.settings import Settings


async def of_bundle(log: "JetStreamLog", digest: str) -> list[tuple[Event, Evaluation]]:
    """Every evaluation of a bundle that is on record, oldest first."""
    pattern = f"{log.cell}.evaluated.{NO_TENANT}.{digest.removeprefix('sha256:')}.*"
    events = [message.event() async for message in log.matching(pattern)]
    return [(one, one.data) for one in events if isinstance(one.data, Evaluation)]


async def required(
    log: "JetStreamLog", store: "BundleStore", digest: str, gold: Sequence[Path]
) -> list[str]:
    """The ids of the evaluations that let a bundle be activated.

    Raises:
        UserError: one that the bundle's own gates, or the operator, ask for is missing, or the
            last one of its gold set has not passed.
    """
    bundle = await store.get(digest)
    wanted = {gate.gold: (gate.name, gate.pass_rate) for gate in bundle.gates.evals}
    for path in gold:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        wanted.setdefault(digest_bytes(data), (path.name, 1.0))
    if not wanted:
        return []
    standing = {found.gold: (event, found) for event, found in await of_bundle(log, digest)}
    ids = []
    for set_, (name, rate) in wanted.items():
        if set_ not in standing:
            raise UserError(
                f"{bundle.name} {bundle.version} has not been evaluated on {name}: "
                f"interlock eval run --gold {name} --record"
            )
        event, found = standing[set_]
        if found.rate < rate:
            raise UserError(
                f"{bundle.name} {bundle.version} passed {found.passed} of {found.cases} cases of "
                f"{name}; {rate:.0%} are asked for. Failed: {', '.join(found.failed[:5])}"
            )
        ids.append(event.id)
    return ids


async def write(client: "BrokerClient", log: "JetStreamLog", evaluation: Evaluation) -> None:
    """Record an evaluation; raises `UserError` if the broker refuses."""
    from interlock.runtime.bundles.pointer import record
    from interlock.runtime.commit import Committer

    token = evaluation.bundle.removeprefix("sha256:")
    number = 1 + len(await of_bundle(log, evaluation.bundle))
    subject = Subject(log.cell, "evaluated", NO_TENANT, token, str(number))
    committer = Committer(client)
    try:
        if not await record(log, committer, subject, evaluation, evaluation.by):
            raise UserError("another evaluation of this bundle was recorded just now; try again")
    finally:
        await committer.close()


class LiveStages:
    """The stages with live capabilities and a log in memory; a `Stages` of `interlock.evals`."""

    def __init__(self, deciders: "dict[Actor, Decider]", log: "MemoryLog", ask: "Fetch") -> None:
        self._deciders = deciders
        self._log = log
        self._ask = ask

    @classmethod
    async def open(cls, settings: "Settings", index: Path) -> "LiveStages":
        """For the bundle of the settings' folder, with its index in `index`."""
        from interlock.replay.live import live_stage, read_only
        from interlock.replay.log import MemoryLog
        from interlock.runtime.decision import Decider
        from interlock.runtime.wiring import bundles_of

        log, bundles = MemoryLog(()), bundles_of(settings)
        deciders = {}
        for actor in STAGES:
            decide, _ = await live_stage(actor, log, settings, index)
            needs = None if actor is Actor.TOOL_EXECUTOR else bundles
            deciders[actor] = Decider(
                actor.value, decide, cell=settings.cell, bundles=needs, log=log
            )
        return cls(deciders, log, read_only(settings, log))

    async def follow(self, actor: Actor, event: Event) -> list[Event]:
        """What `actor` makes of `event`; of one that it cannot process, nothing."""
        from interlock.runtime.errors import RetryLater

        self._log.add(event)
        now = event.logged_at or event.time
        try:
            made = await self._deciders[actor].follow(event, now)
        except (InvalidEvent, RetryLater):
            return []
        made = [replace(one, logged_at=now) for one in made]
        for one in made:
            self._log.add(one)
        return made

    async def read(self, grant: Event) -> Event:
        """The result of a granted tool that only reads, asked of the bundle's own executor."""
        given = grant.data
        assert isinstance(given, Grant)
        at = grant.subject
        reply = await self._ask(at.tenant, at.request_id, given.tool, given.arguments)
        failed = None if reply.error is None else failure(FailureCode.TOOL_FAILED, reply.error)
        result = Result(
            action=given.action,
            tool=given.tool,
            effect=Effect.LANDED if failed is None else Effect.DID_NOT_HAPPEN,
            effect_key=given.effect_key,
            output=reply.value,
            failure=failed,
        )
        made = Event(
            replace(at, event="result"),
            result,
            event_id(grant.id, Actor.TOOL_EXECUTOR, "result", at.step),
            f"/{Actor.TOOL_EXECUTOR}",
            grant.time,
            cause=grant.id,
            bundle=grant.bundle,
            logged_at=grant.logged_at,
        )
        self._log.add(made)
        return made
