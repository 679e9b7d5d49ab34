"""Serving a `ToolExecutor`: grants off the log, facts by request-reply."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg
from pydantic import ValidationError

from interlock.runtime.commit import EXPECT_NEW, Committed
from interlock.runtime.errors import NeverRetry
from interlock.runtime.keys import verifier
from interlock.runtime.service import Connection, Handle
from interlock.runtime.signing import GrantInvalid
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

    async def reserve(reservation: Reservation, subject: Subject) -> bool:
        body = reservation.model_dump_json().encode()
        outcome = await connection.committer.commit_wire([(str(subject), body, EXPECT_NEW)])
        return outcome is Committed.NEW

    performer = Performer(executor, connection.log, reserve, name=name, cell=cell)

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
    using = Capabilities(
        verify=_verify(connection), check=executor.check, perform=performer.perform
    )
    return stage_handler(name, decide, using, connection, None)


async def _raw_message(message: Any) -> Msg:
    """FastStream's decoder hook: the handler gets the message as it came."""
    raw: Msg = message.raw_message
    return raw


def _verify(connection: Connection) -> Callable[[Grant, datetime], None]:
    keys = verifier(connection.settings)

    def verify(grant: Grant, now: datetime) -> None:
        try:
            keys.verify(grant, tool=grant.tool, tenant=grant.tenant, now=now)
        except GrantInvalid as error:
            raise NeverRetry(error.code, error.message) from None

    return verify
