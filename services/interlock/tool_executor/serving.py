"""Serving a `ToolExecutor`: grants off the log, facts by request-reply."""

from datetime import datetime
from typing import Any

from nats.aio.msg import Msg
from pydantic import ValidationError

from interlock.runtime.commit import EXPECT_NEW, Committed
from interlock.runtime.errors import NeverRetry
from interlock.runtime.keyring import KeyringLog
from interlock.runtime.keys import verifier
from interlock.runtime.service import Connection, Handle
from interlock.runtime.settings import Settings
from interlock.runtime.signing import GrantInvalid, Verifier
from interlock.runtime.wiring import stage_handler
from interlock.sdk.effects import Performer
from interlock.sdk.executor import ToolExecutor
from interlock.tool_executor.stage import Capabilities, decide
from interlock_contracts.actions import Grant, Reservation
from interlock_contracts.answer import FactReply, FactRequest
from interlock_contracts.subjects import Subject
from interlock_contracts.table import FACT_SUBJECT


def executor_handler(name: str, executor: ToolExecutor, connection: Connection) -> Handle:
    """What feeds an executor's tools, and answers the gate's questions to its read-only ones."""
    cell = connection.settings.cell
    trust = Trust(KeyringLog(connection.log, connection.settings), connection.settings)
    connection.health.append(lambda: trust.problem)

    async def reserve(reservation: Reservation, subject: Subject) -> bool:
        body = reservation.model_dump_json().encode()
        outcome = await connection.committer.commit_wire([(str(subject), body, EXPECT_NEW)])
        return outcome is Committed.NEW

    performer = Performer(
        executor, connection.log, reserve, name=name, cell=cell, epoch=trust.epoch
    )

    async def answer(message: Msg) -> bytes:
        try:
            question = FactRequest.model_validate_json(message.data)
        except ValidationError:
            return FactReply(error="the question breaks the contract").model_dump_json().encode()
        return (await performer.answer_fact(question)).model_dump_json().encode()

    for tool, spec in executor.specs.items():
        if spec.effect == "read":
            subject = f"{cell}.{FACT_SUBJECT}.*.{tool}"
            connection.broker.subscriber(subject, queue=name, decoder=_raw_message)(answer)
    using = Capabilities(verify=trust.verify, check=executor.check, perform=performer.perform)
    return stage_handler(name, decide, using, connection, None)


async def _raw_message(message: Any) -> Msg:
    """FastStream's decoder hook: the handler gets the message as it came."""
    raw: Msg = message.raw_message
    return raw


class Trust:
    """Which grants count: by the cell's keyring, and before the first by `keys/grants.pub`."""

    def __init__(self, keyrings: KeyringLog, settings: Settings) -> None:
        """Raises `UserError` where no keys are trusted."""
        self._keyrings = keyrings
        self._now: tuple[int, Verifier] = (0, verifier(settings))

    @property
    def problem(self) -> str | None:
        """Why no grant is acted on, if none is."""
        return self._keyrings.problem

    async def verify(self, grant: Grant, now: datetime) -> None:
        """Return only for a good grant; raises `NeverRetry`, and as `KeyringLog.last`."""
        keyring = await self._keyrings.last()
        if keyring is not None and keyring.number != self._now[0]:
            self._now = (keyring.number, Verifier.from_text(keyring.keys))
        try:
            self._now[1].verify(grant, tool=grant.tool, tenant=grant.tenant, now=now)
        except GrantInvalid as error:
            raise NeverRetry(error.code, error.message) from None

    async def epoch(self) -> int:
        """The epoch below which grants are revoked; raises as `KeyringLog.last`."""
        keyring = await self._keyrings.last()
        return 0 if keyring is None else keyring.epoch
