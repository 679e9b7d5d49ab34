"""The audit-sink's wiring: every message of the log into the store, then acknowledged."""

import structlog
from nats.aio.msg import Msg

from interlock.audit_sink.appender import Appender
from interlock.audit_sink.errors import DatabaseError, SequenceConflict
from interlock.audit_sink.gaps import GapWatch
from interlock.audit_sink.places import open_store
from interlock.audit_sink.stage import Message, decide
from interlock.runtime import telemetry
from interlock.runtime.dead_letters import address_of
from interlock.runtime.loop import nak
from interlock.runtime.pull import ACK, Delivery, PullConsumer
from interlock.runtime.service import Connection, Handle
from interlock_contracts.table import EVENT

log = structlog.get_logger(__name__)


async def wire(connection: Connection) -> Handle:
    """Open the store; a record is acknowledged when it is on disk."""
    settings = connection.settings
    appender = Appender(open_store(settings))
    watch = GapWatch(connection.client, settings.cell, appender, settings.audit_lag_limit)
    connection.health.append(lambda: watch.wrong)
    connection.closing.extend((watch.aclose, appender.aclose))

    async def handle(message: Msg, delivery: Delivery, pull: PullConsumer) -> None:
        record = decide(
            Message(
                message.subject,
                message.headers or {},
                message.data,
                delivery.sequence,
                delivery.logged_at,
            )
        )
        how = ACK
        try:
            await appender.append(record)
        except SequenceConflict as error:
            # Never overwritten, never skipped in silence: the stream disagrees with the store.
            log.exception("audit_conflict", sequence=delivery.sequence, exc_info=error)
            how = nak(30.0)
        except DatabaseError as error:
            log.exception("audit_not_stored", sequence=delivery.sequence, exc_info=error)
            how = nak(1.0)
        name = address_of(message.subject).event
        telemetry.EVENTS_IN.labels("audit-sink", name if name in EVENT else "other").inc()
        await pull.finish(delivery, how)

    return handle
