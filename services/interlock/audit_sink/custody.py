"""Custody of the record: erasing a person, expiring what is old, and the holds that forbid both.

Every order is an event on the log before anything is done, so the record says itself why a content
is gone. Three things then happen to it: it is overwritten in the log's stream, taken out of the
audit store, and, for a person, the key is destroyed that every copy is sealed with. What is done
half can be asked for again.

On the log stay the events in `KEPT`: they hold nothing that a person wrote and protect from doing
twice what was done, should an erased request be submitted again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from nats.aio.client import Client

from interlock.audit_sink.database import Database
from interlock.audit_sink.keys import KeyStore, Person
from interlock.audit_sink.overwriting import KEPT, Overwriter, Record
from interlock.audit_sink.stage import time_text
from interlock.runtime.commit import EXPECT_NEW, Committer
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog
from interlock_contracts.custody import Custody
from interlock_contracts.documents import DOCUMENT
from interlock_contracts.ids import new_request_id
from interlock_contracts.subjects import Subject

CLASSES = {
    "conversation": ("request", "route", "declined", "context", "proposal", "verdict", "repair",
                     "answer", "shadow"),
    "decisions": ("confirm", "confirmed", "review", "answer_review", "reviewed", "notice"),
    "actions": ("approved", "result"),
    "operations": ("dead", "retry", "discard"),
}  # fmt: skip
"""Classes of events that a retention policy may name together."""

_PAGE = 500
_ROUNDS = 5
_CATCH_UP_S = 30.0


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did, or with a dry run would do: contents, by requests."""

    data_subject: str
    requests: int
    contents: int
    on_log: int
    plain_exports: tuple[str, ...] = ()
    """When, by whom and why the tenant's contents were given away readable since then."""


@dataclass(frozen=True, slots=True)
class Hold:
    """An order that a tenant's contents, or one person's of it, must stay."""

    id: str
    tenant: str
    order: Custody
    since: datetime

    def covers(self, data_subject: str) -> bool:
        """Whether a person's contents are held."""
        return self.order.data_subject in (None, data_subject)


class Custodian:
    """Gives the orders and carries them out.

    `client` is connected as the eraser (for holds the operator is enough); `database` is the audit
    store, to be written.
    """

    def __init__(self, client: Client, cell: str, database: Database, keys: KeyStore) -> None:
        self.log = JetStreamLog(client, cell)
        self._client = client
        self._overwriter = Overwriter(client, cell)
        self.database = database
        self.keys = keys

    async def hold(self, tenant: str, user: str | None, by: str, reason: str) -> str:
        """Forbid erasing and expiring for a tenant, or one person of it; the hold's id."""
        whose = None if user is None else self._pseudonym((tenant, user))
        id_ = new_request_id()
        order = Custody(act="held", by=by, reason=reason, data_subject=whose)
        await self.order([(tenant, id_, "held", order)])
        return id_

    async def release(self, id_: str, by: str, reason: str) -> Hold:
        """End a hold; raises `UserError` when there is none such."""
        found = [hold for hold in await self.holds("*") if hold.id == id_]
        if not found:
            raise UserError(f"no hold {id_!r}: `interlock audit holds` names them")
        order = Custody(
            act="released", by=by, reason=reason, data_subject=found[0].order.data_subject
        )
        await self.order([(found[0].tenant, id_, "released", order)])
        return found[0]

    async def holds(self, tenant: str) -> list[Hold]:
        """The holds that stand. Read from the log itself: never stale."""
        standing: dict[str, Hold] = {}
        for step in ("held", "released"):
            async for message in self.log.matching(f"{self.log.cell}.custody.{tenant}.*.{step}"):
                event = message.event()
                at, order = event.subject, event.data
                if step == "released":
                    standing.pop(at.request_id, None)
                elif isinstance(order, Custody):
                    hold = Hold(at.request_id, at.tenant, order, message.logged_at)
                    standing[at.request_id] = hold
        return list(standing.values())

    async def erase(
        self, person: Person, by: str, reason: str, *, dry_run: bool = False
    ) -> Erasure:
        """Make everything that a person wrote, or that was written for it, unreadable for ever.

        Raises:
            UserError: nobody of that name is on record, a hold stands, or the audit sink lags.
        """
        whose = self._pseudonym(person)
        for hold in await self.holds(person[0]):
            if hold.covers(whose):
                raise UserError(
                    f"a hold stands since {hold.since:%Y-%m-%d} ({hold.order.by}: "
                    f"{hold.order.reason or 'no reason given'}): interlock audit release {hold.id}"
                )
        await self.caught_up()
        records = self._of_person(whose)
        if any(record.event == DOCUMENT for record in records):
            raise UserError(f"{whose} is a document: `interlock audit erase --document` erases it")
        requests = {record.request_id for record in records}
        on_log = sum(record.event not in KEPT for record in records)
        if not dry_run:
            await self._erase(person[0], whose, by, reason)
        exports = [one async for one in self.exports(person[0], records[0].sequence)]
        return Erasure(whose, len(requests), len(records), on_log, tuple(exports))

    async def _erase(self, tenant: str, whose: str, by: str, reason: str) -> None:
        """Until nothing is left: requests may be under way while it is done."""
        order = Custody(act="erased", by=by, reason=reason, data_subject=whose)
        ordered: set[str] = set()
        done: set[int] = set()
        for _ in range(_ROUNDS):
            records = [one for one in self._of_person(whose) if one.sequence not in done]
            requests = {record.request_id for record in records} - ordered
            await self.order([(tenant, one, f"erased-{whose}", order) for one in sorted(requests)])
            ordered |= requests
            await self.take_out(records)
            done |= {record.sequence for record in records}
            if self.keys.get(whose) is not None:
                self.keys.destroy(whose, datetime.now().astimezone())
            elif not records:
                return
            await self.caught_up()

    async def expire(
        self, tenant: str, events: Sequence[str], until: datetime, by: str, *, dry_run: bool = False
    ) -> int:
        """Take out a tenant's contents of these events logged before `until`; how many.

        What is held stays. Raises `UserError` when the whole tenant is held.
        """
        if kept := (KEPT | {DOCUMENT}).intersection(events):
            raise UserError(f"{', '.join(sorted(kept))} never expire")
        holds = await self.holds(tenant)
        if any(hold.order.data_subject is None for hold in holds):
            raise UserError(f"a hold stands on all of {tenant}: interlock audit holds")
        held = {hold.order.data_subject for hold in holds}
        marks = ",".join("?" * len(events))
        rows = self.database.execute(
            "SELECT sequence, subject, request_id, data_subject FROM events "  # noqa: S608 - marks
            "WHERE tenant = ? AND logged_at < ? AND payload IS NOT NULL "
            f"AND type IN ({marks}) ORDER BY sequence",
            (tenant, time_text(until), *(f"interlock.{event}.v1" for event in events)),
        )
        records = [Record(*row[:3]) for row in rows if row[3] not in held]
        if records and not dry_run:
            order = Custody(
                act="expired", by=by, events=tuple(events), until=until, count=len(records)
            )
            await self.order([(tenant, new_request_id(), "expired", order)])
            await self.take_out(records)
        return len(records)

    async def sweep(self) -> int:
        """Take out what came in of erased requests after they were erased; how many."""
        rows = self.database.execute(
            "SELECT late.sequence, late.subject, late.request_id, late.data_subject "
            "FROM events AS late JOIN events AS ordered ON late.request_id = ordered.request_id "
            "AND late.tenant = ordered.tenant AND late.sequence > ordered.sequence "
            "WHERE ordered.type = 'interlock.custody.v1' AND late.payload IS NULL "
            "AND late.type <> 'interlock.document.v1' "
            "ORDER BY late.sequence"
        )
        destroyed = self.keys.destroyed()
        late = [Record(*row[:3]) for row in rows if row[3] in destroyed]
        late = [one for one in late if await self._overwriter.stands(one)]
        await self.take_out(late)
        return len(late)

    def tenants(self) -> list[str]:
        """The tenants on record."""
        rows = self.database.execute("SELECT DISTINCT tenant FROM events ORDER BY tenant")
        return [tenant for (tenant,) in rows if tenant]

    async def exported(self, tenant: str, by: str, reason: str) -> None:
        """Put on record that contents are given away readable."""
        order = Custody(act="exported", by=by, reason=reason)
        await self.order([(tenant, new_request_id(), "exported", order)])

    async def exports(self, tenant: str, since: int) -> AsyncIterator[str]:
        """When, by whom and why a tenant's contents were given away readable since a record."""
        async for message in self.log.matching(f"{self.log.cell}.custody.{tenant}.*.exported"):
            order = message.event().data
            if message.sequence > since and isinstance(order, Custody):
                yield f"on {message.logged_at:%Y-%m-%d} by {order.by}: {order.reason}"

    def _pseudonym(self, person: Person) -> str:
        tenant, name = person
        found = self.keys.pseudonym(person)
        if found is not None:
            return found
        known = self.database.execute(
            "SELECT 1 FROM events WHERE data_subject = ? AND tenant = ? LIMIT 1", (name, tenant)
        )
        if known:
            return name
        raise UserError(f"nobody called {name!r} of {tenant} is on record")

    def _of_person(self, whose: str) -> list[Record]:
        rows = self.database.execute(
            "SELECT sequence, subject, request_id FROM events WHERE data_subject = ? "
            "ORDER BY sequence",
            (whose,),
        )
        return [Record(*row) for row in rows]

    async def caught_up(self) -> None:
        """Wait until everything on the log is in the audit store."""
        last = await self._overwriter.last_sequence()
        patience = time.monotonic() + _CATCH_UP_S
        while (behind := last - self._stored()) > 0:
            if time.monotonic() > patience:
                raise UserError(f"the audit sink is {behind} events behind: wait until it has them")
            await asyncio.sleep(0.1)  # a database offers no event to wait for

    def _stored(self) -> int:
        ((size,),) = self.database.execute("SELECT max(size) FROM checkpoints")
        return size or 0

    async def order(self, orders: Sequence[tuple[str, str, str, Custody]]) -> None:
        """Log orders, each by tenant, id and step. One that stands already is well."""
        committer = Committer(self._client)

        async def one(tenant: str, id_: str, step: str, order: Custody) -> None:
            address = Subject(self.log.cell, "custody", tenant, id_, step)
            body = order.model_dump_json().encode()
            await committer.commit_wire([(str(address), body, EXPECT_NEW)])

        try:
            for start in range(0, len(orders), _PAGE):
                await asyncio.gather(*(one(*order) for order in orders[start : start + _PAGE]))
        finally:
            await committer.close()

    async def take_out(self, records: Sequence[Record]) -> None:
        """Overwrite records on the log, then drop them from the store."""
        await self._overwriter.overwrite(records)
        for start in range(0, len(records), _PAGE):
            page = [record.sequence for record in records[start : start + _PAGE]]
            marks = ",".join("?" * len(page))
            sql = f"UPDATE events SET payload = NULL WHERE sequence IN ({marks})"  # noqa: S608
            self.database.execute(sql, page)
