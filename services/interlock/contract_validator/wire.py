"""The contract-validator's wiring: the key that signs, and the facts it asks for."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from pydantic import ValidationError

from interlock.bundles.model import Bundle
from interlock.contract_validator.ledger import Ledgers
from interlock.contract_validator.shadow import Shadow
from interlock.contract_validator.signer import Signer
from interlock.contract_validator.stage import Capabilities, decide, prepared
from interlock.runtime.broker.topology import EXPIRY
from interlock.runtime.decision import expires_at
from interlock.runtime.errors import RetryLater
from interlock.runtime.keyring import KeyringLog
from interlock.runtime.loop import nak
from interlock.runtime.pull import Delivery, PullConsumer
from interlock.runtime.service import Connection, Handle, Service, Wire
from interlock.runtime.stage import Draft, Input
from interlock.runtime.wiring import live_bundles, stage_handler
from interlock_contracts.answer import FactReply, FactRequest
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.failures import FailureCode
from interlock_contracts.table import FACT_SUBJECT

FACT_TIMEOUT_S = 5.0

GRACE = timedelta(seconds=1)
"""Added to an expiry: the broker's clock, which dates decisions, may be a little behind ours."""

LONGEST_NAK_S = 3600.0


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
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError) as error:
            # The executor is away, which says nothing about the request: not yet, not never.
            reason = f"no executor answered for {tool}: {type(error).__name__}"
            raise RetryLater(FailureCode.FACT_UNAVAILABLE, reason) from None
        except ValidationError:
            return FactReply(error="the executor's answer breaks the contract")

    async def reviews(tenant: str, request_id: str, action: str) -> list[Event]:
        pattern = f"{settings.cell}.reviewed.{tenant}.{request_id}.{action}.*"
        return [message.event() async for message in connection.log.matching(pattern)]

    ledgers = Ledgers(connection.log)
    keyrings = KeyringLog(connection.log, settings)
    signer = Signer(keyrings, settings.state)
    connection.health.append(lambda: keyrings.problem or signer.problem)
    using = Capabilities(
        facts=facts,
        sign=signer.sign,
        log=connection.log,
        reviews=reviews,
        standing=ledgers.standing,
    )

    async def load_test(bundle: Bundle) -> None:
        await asyncio.to_thread(prepared, bundle)

    bundles = await live_bundles(connection, "contract-validator", load_test)

    async def wire_expiry(own: Connection) -> Handle:
        expire = stage_handler("contract-validator", decide, using, own, bundles)
        return until_expired(expire)

    await beside(connection, wire_expiry)
    shadow = Shadow(bundles, facts, ledgers, connection.committer)
    connection.closing.append(shadow.close)

    async def decide_and_compare(given: Input, using: Capabilities) -> Sequence[Draft]:
        drafts = await decide(given, using)
        shadow.consider(given, drafts)
        return drafts

    return stage_handler("contract-validator", decide_and_compare, using, connection, bundles)


async def beside(connection: Connection, wire_expiry: Wire) -> None:
    """Take questions to people from a durable of their own, which holds them while they wait."""
    settings = connection.settings.model_copy(update={"http_port": None})
    service = Service(
        "contract-validator", settings, wire_expiry, durable=EXPIRY, user="contract-validator"
    )
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop), name=EXPIRY)

    async def close() -> None:
        stop.set()
        await asyncio.gather(running, return_exceptions=True)

    connection.closing.append(close)
    connection.health.append(lambda: f"{EXPIRY} has died" if running.done() else None)
    ready = asyncio.create_task(service.wait_ready())
    await asyncio.wait((ready, running), return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if running.done():
        running.result()


def until_expired(handle: Handle) -> Handle:
    """Hand a question back until it has expired: waiting costs no memory and survives restarts."""

    async def wait(message: Msg, delivery: Delivery, pull: PullConsumer) -> None:
        until = question_expires_at(message)
        left = 0.0 if until is None else (until + GRACE - datetime.now(UTC)).total_seconds()
        if left > 0:
            await pull.finish(delivery, nak(min(left, LONGEST_NAK_S)))
        else:  # earlier deliveries were no attempts
            await handle(message, replace(delivery, deliveries=1), pull)

    return wait


def question_expires_at(message: Msg) -> datetime | None:
    """When the question in a message expires; None for what is no question."""
    try:
        return expires_at(Event.decode(message.subject, message.headers, message.data))
    except InvalidEvent:
        return None
