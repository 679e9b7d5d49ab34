"""Erasing a document: its versions on the log and in the audit store, and where it was used.

First its tombstone goes on the log, at which every retriever destroys what it keeps of it; then an
order says who wants it and why, the versions are overwritten, and the key goes that they, and all
exports of them, are sealed with. What was cut off is done by giving the same order again.

Requests that had the document before them repeat its words in their own events. Those are named,
and with `requests` taken out as well: the contexts it was in, and all that followed from them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from interlock.audit_sink.custody import Custodian, Hold
from interlock.audit_sink.lineage import influenced
from interlock.audit_sink.overwriting import Record
from interlock.audit_sink.query import AuditReader, Kept
from interlock.runtime.errors import UserError
from interlock.sdk.documents import Documents
from interlock_contracts.custody import Custody
from interlock_contracts.documents import Document
from interlock_contracts.subjects import Subject, parse_subject


@dataclass(frozen=True, slots=True)
class DocumentErasure:
    """What an erasure did, or with a dry run would do.

    `versions` and `messages` had contents until then. `used_by` are the requests whose events
    still held its words; `requests` those of them that were erased, with `contents` events;
    `held` those that a hold on a person forbids to touch.
    """

    document: str
    versions: int
    messages: int
    used_by: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    contents: int = 0
    held: tuple[str, ...] = ()
    plain_exports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Version:
    """A message of the document on record; `number` is that of its version."""

    record: Record
    data_subject: str
    number: int
    there: bool


class DocumentEraser:
    """Erases documents of the tenant whose writer `documents` is."""

    def __init__(self, custodian: Custodian, documents: Documents) -> None:
        self._custodian = custodian
        self._documents = documents

    async def erase(
        self, document_id: str, by: str, reason: str, *, requests: bool, dry_run: bool
    ) -> DocumentErasure:
        """Make it unreadable for ever; `requests`: also where it was used.

        Raises:
            UserError: there is no such document, a hold stands on the tenant, the sink lags.
        """
        document = self._described(document_id)
        holds = await self._custodian.holds(document.tenant)
        for hold in holds:
            if hold.order.data_subject is None:
                raise UserError(
                    f"a hold stands on all of {document.tenant} since {hold.since:%Y-%m-%d} "
                    f"({hold.order.by}): interlock audit release {hold.id}"
                )
        await self._custodian.caught_up()
        head = await self._documents.head(document.source, document.name)
        using = self._using(document_id)
        if head is None and not using:
            raise UserError(
                f"there is no {document_id} on the log, and no request used it "
                "(a document's id is TENANT/SOURCE/NAME)"
            )
        buried = 0 if head is None else head.version + (not head.erased)
        if not dry_run:
            written = await self._documents.bury(document.source, document.name)
            await self._custodian.caught_up()
            buried = written.version
        versions = [one for one in self._versions(document) if one.number < buried]
        standing = [one for one in versions if one.there]
        if not dry_run:
            await self._destroy(document, versions, by, reason)
        free, held = _parted(using, holds)
        if requests and not dry_run:
            await self._clear(document, free, by, reason)
        first = min((one.record.sequence for one in versions), default=0)
        exports = [one async for one in self._custodian.exports(document.tenant, first)]
        return DocumentErasure(
            document_id,
            versions=len({one.number for one in standing}),
            messages=len(standing),
            used_by=_requests(using),
            requests=_requests(free) if requests else (),
            contents=len(free) if requests else 0,
            held=_requests(held) if requests else (),
            plain_exports=tuple(exports),
        )

    def _described(self, document_id: str) -> Document:
        tenant, _, rest = document_id.partition("/")
        source, slash, name = rest.partition("/")
        if not slash or tenant != self._documents.tenant:
            raise UserError(f"{document_id!r} is not TENANT/SOURCE/NAME")
        return self._documents.describe(source, name)

    def _using(self, document_id: str) -> list[Kept]:
        """The records that may repeat its words and still have their content."""
        reader = AuditReader(self._custodian.database, self._custodian.keys)
        touched = (one.record for one in influenced(reader, document_id))
        return [one for one in touched if one.state in ("readable", "sealed")]

    def _versions(self, document: Document) -> list[_Version]:
        rows = self._custodian.database.execute(
            "SELECT sequence, subject, request_id, data_subject, payload IS NOT NULL FROM events "
            "WHERE request_id = ? AND tenant = ? AND type = 'interlock.document.v1' "
            "ORDER BY sequence",
            (document.key, document.tenant),
        )
        return [
            _Version(Record(*row[:3]), row[3], _version(parse_subject(row[1])), bool(row[4]))
            for row in rows
        ]

    async def _destroy(
        self, document: Document, versions: Iterable[_Version], by: str, reason: str
    ) -> None:
        """Order it, overwrite the versions, destroy their keys; what is done is passed over."""
        keys = sorted({one.data_subject for one in versions})
        await self._custodian.order(
            [
                (document.tenant, document.key, f"erased-{key}", Custody(
                    act="erased", by=by, reason=reason, data_subject=key,
                    document=document.document_id,
                ))
                for key in keys
            ]
        )  # fmt: skip
        await self._custodian.take_out([one.record for one in versions])
        for key in keys:
            if self._custodian.keys.get(key) is not None:
                self._custodian.keys.destroy(key, datetime.now().astimezone())

    async def _clear(
        self, document: Document, records: Iterable[Kept], by: str, reason: str
    ) -> None:
        """Take out what requests made of it; their persons' keys stay."""
        whose = {(one.request_id, one.data_subject) for one in records}
        await self._custodian.order(
            [
                (document.tenant, request_id, f"{person}-{document.key}", Custody(
                    act="erased", by=by, reason=reason, data_subject=person,
                    document=document.document_id,
                ))
                for request_id, person in sorted(whose)
            ]
        )  # fmt: skip
        await self._custodian.take_out(
            [Record(one.sequence, one.subject, one.request_id) for one in records]
        )


def _version(address: Subject) -> int:
    """The version that a message is of; what is no version is before all."""
    number = address.step.partition("-")[0]
    return int(number) if number.isascii() and number.isdigit() else 0


def _parted(records: list[Kept], holds: list[Hold]) -> tuple[list[Kept], list[Kept]]:
    """Those that may go, and those of persons who are held."""

    def kept(record: Kept) -> bool:
        return any(hold.covers(record.data_subject) for hold in holds)

    return [one for one in records if not kept(one)], [one for one in records if kept(one)]


def _requests(records: Iterable[Kept]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.request_id for one in records))
