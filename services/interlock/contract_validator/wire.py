"""The contract-validator's wiring: the key that signs, and the facts it asks for."""

from typing import Any

import nats.errors
from pydantic import ValidationError

from interlock.contract_validator.stage import Capabilities, decide
from interlock.runtime.keys import signing_key
from interlock.runtime.service import Connection, Handle
from interlock.runtime.wiring import bundles_of, stage_handler
from interlock_contracts.answer import FactReply, FactRequest
from interlock_contracts.event import Event
from interlock_contracts.table import FACT_SUBJECT

FACT_TIMEOUT_S = 5.0


async def wire(connection: Connection) -> Handle:
    """The gate, with the installation's signing key."""
    settings = connection.settings

    async def facts(
        tenant: str, request_id: str, tool: str, arguments: dict[str, Any]
    ) -> FactReply:
        question = FactRequest(tenant=tenant, request_id=request_id, tool=tool, arguments=arguments)
        subject = f"{settings.cell}.{FACT_SUBJECT}.{tenant}.{tool}"
        try:
            reply = await connection.client.request(
                subject, question.model_dump_json().encode(), timeout=FACT_TIMEOUT_S
            )
            return FactReply.model_validate_json(reply.data)
        except nats.errors.NoRespondersError:
            return FactReply(error="no executor answers for this tool")
        except nats.errors.TimeoutError:
            return FactReply(error=f"no answer within {FACT_TIMEOUT_S:g} s")
        except ValidationError:
            return FactReply(error="the executor's answer breaks the contract")

    async def reviews(tenant: str, request_id: str, action: str) -> list[Event]:
        pattern = f"{settings.cell}.reviewed.{tenant}.{request_id}.{action}.*"
        return [message.event() async for message in connection.log.matching(pattern)]

    using = Capabilities(
        facts=facts, sign=signing_key(settings).sign, log=connection.log, reviews=reviews
    )
    return stage_handler("contract-validator", decide, using, connection, bundles_of(settings))
