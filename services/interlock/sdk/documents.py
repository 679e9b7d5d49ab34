"""The client of whoever brings documents: put them on the log, and take them off.

    async with await Documents.connect(url, Path("ingest-acme.nk")) as documents:
        about = documents.describe("public_help", "returns", title="Returns")
        await documents.put(about, "You have thirty days …")

What is acknowledged is on the log; every retriever makes its index of what it finds there.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import nats.errors
from pydantic import ValidationError

from interlock.runtime.broker.connect import BrokerClient
from interlock.runtime.broker.topology import stream_name
from interlock.runtime.commit import EXPECT_NEW, Committed
from interlock.runtime.errors import RetryLater, UserError
from interlock.runtime.log import JetStreamLog
from interlock.sdk.rejected import reasons
from interlock.sdk.tenant import TenantClient
from interlock_contracts.documents import (
    DOCUMENT,
    Document,
    DocumentEvent,
    document_digest,
    document_events,
    document_key,
    removal,
)
from interlock_contracts.event import InvalidEvent
from interlock_contracts.failures import FailureCode
from interlock_contracts.retrieval import Trust
from interlock_contracts.subjects import LIVE_CELL
from interlock_contracts.table import Actor

TRIES = 20
"""How often a write goes on when others write the same document at the same time."""


class DocumentRejected(UserError):
    """The document breaks the contract; it was not sent."""


class DocumentErased(DocumentRejected):
    """The document was erased; it was not sent, lest an old copy of it brings it back."""


class DocumentContended(UserError):
    """Others write the same document so often that this write never came through."""


class Change(StrEnum):
    """What a write did."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a document; `version` is the one that stands now."""

    change: Change
    version: int


class Documents(TenantClient):
    """Writes the documents of one tenant, with its ingest credential (`ingest-<tenant>.nk`)."""

    _USER_PREFIX = f"{Actor.INGEST}-"

    def __init__(self, client: BrokerClient, tenant: str, *, cell: str = LIVE_CELL) -> None:
        super().__init__(client, tenant, cell=cell)
        self._subject = f"{cell}.{DOCUMENT}.{tenant}"
        self._get = f"$JS.API.DIRECT.GET.{stream_name(cell)}.{self._subject}"

    def describe(
        self,
        source: str,
        name: str,
        *,
        title: str = "",
        url: str | None = None,
        scopes: Sequence[str] = (),
        trust: Trust | None = None,
        language: str = "",
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
    ) -> Document:
        """A document of this tenant, still without its text; raises `DocumentRejected`."""
        try:
            return Document(
                tenant=self.tenant,
                source=source,
                name=name,
                title=title,
                url=url,
                scopes=tuple(sorted(set(scopes))),
                trust=trust,
                language=language,
                valid_from=valid_from,
                valid_until=valid_until,
            )
        except ValidationError as error:
            raise DocumentRejected(reasons(error, "document")) from None

    async def put(self, document: Document, text: str, *, again: bool = False) -> Written:
        """Have this be the newest version; nothing is written if it is already.

        Returns when it is durable. Of writers at the same time one comes after the other, and
        the last one's version stands. What was erased comes back only if it is put `again`.

        Raises:
            DocumentRejected, DocumentErased, DocumentContended, PermissionDenied.
            RetryLater: the broker did not answer; putting the same again is safe.
        """
        _whose(self.tenant, document)
        events = _events(document, text)

        def of(version: int) -> list[DocumentEvent]:
            return [event.model_copy(update={"version": version}) for event in events]

        head = await self.head(document.source, document.name)
        change = _change(head, document, text, again)
        if head is not None and change is Change.UNCHANGED:
            return Written(change, head.version)
        return Written(change, await self._write(head, of))

    async def remove(self, source: str, name: str) -> Written:
        """Take a document off; nothing is written if there is none. Raises as `put` does.

        Its versions stay on the log: `interlock audit erase --document` takes them off it.
        """
        document = self.describe(source, name)
        head = await self.head(source, name)
        if head is None or head.removed:
            return Written(Change.UNCHANGED, head.version if head else 0)
        version = await self._write(head, lambda number: [removal(document, number)])
        return Written(Change.REMOVED, version)

    async def bury(self, source: str, name: str) -> Written:
        """Write the tombstone of an erasure, also where nothing is on the log; as `remove` else.

        Retrievers destroy what they keep of the document when they read it. The log's own versions
        are overwritten by who may: `audit_sink.documents`.
        """
        document = self.describe(source, name)
        head = await self.head(source, name)
        if head is not None and head.erased:
            return Written(Change.UNCHANGED, head.version)
        version = await self._write(head, lambda number: [removal(document, number, erased=True)])
        return Written(Change.REMOVED, version)

    async def would(self, document: Document, text: str | None, *, again: bool = False) -> Change:
        """What `put` would do, or without a text `remove`; nothing is written.

        Raises `DocumentRejected` and `DocumentErased` where `put` would.
        """
        _whose(self.tenant, document)
        if text is not None:
            _events(document, text)
        head = await self.head(document.source, document.name)
        if text is not None:
            return _change(head, document, text, again)
        return Change.UNCHANGED if head is None or head.removed else Change.REMOVED

    async def head(self, source: str, name: str) -> DocumentEvent | None:
        """The newest version on the log (of a long one its last part), or None.

        The broker answers a read of `<key>.*` with the last message that matches.
        """
        subject = f"{self._get}.{document_key(source, name)}.*"
        try:
            reply = await self._client.request(subject, b"", timeout=5.0)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            raise RetryLater(FailureCode.STAGE_FAILED, "the log did not answer") from None
        if (reply.headers or {}).get("Status"):
            return None
        return DocumentEvent.model_validate_json(reply.data)

    async def _write(
        self, head: DocumentEvent | None, of: Callable[[int], list[DocumentEvent]]
    ) -> int:
        """Write the next version that nobody has written; which one that was."""
        version = head.version + 1 if head else 1
        for attempt in range(TRIES):
            events = of(version)
            if await self._commit(events) is Committed.NEW:
                return version
            now = await self.head(events[0].source, events[0].name)
            ours = (version, events[0].digest, events[0].erased)
            if now is not None and (now.version, now.digest, now.erased) == ours:
                return version  # only its acknowledgement was lost
            version = max(version, now.version if now else 0) + 1
            await asyncio.sleep(0.002 * attempt)
        raise DocumentContended(
            f"{events[0].document_id}: others wrote it {TRIES} times meanwhile; try again"
        )

    async def _commit(self, events: Sequence[DocumentEvent]) -> Committed:
        return await self._committer.commit_wire(
            [
                (
                    f"{self._subject}.{event.key}.{event.step}",
                    event.model_dump_json().encode(),
                    EXPECT_NEW,
                )
                for event in events
            ]
        )


async def standing(log: JetStreamLog, tenant: str) -> list[Document]:
    """The documents of a tenant that are on the log and not removed, ordered by id."""
    newest: dict[str, DocumentEvent] = {}
    async for message in log.matching(f"{log.cell}.{DOCUMENT}.{tenant}.*.*"):
        try:
            event = message.event().data
        except InvalidEvent:
            continue
        if isinstance(event, DocumentEvent):
            newest[event.document_id] = event
    return [event.document for _, event in sorted(newest.items()) if not event.removed]


def _events(document: Document, text: str) -> list[DocumentEvent]:
    """The events of the first version; raises `DocumentRejected`."""
    try:
        return document_events(document, text, 1)
    except ValidationError as error:
        raise DocumentRejected(reasons(error, "document")) from None
    except UnicodeEncodeError:
        raise DocumentRejected("text: it holds half of a surrogate pair") from None
    except ValueError as error:
        raise DocumentRejected(str(error)) from None


def _change(head: DocumentEvent | None, document: Document, text: str, again: bool) -> Change:
    """What writing this version does, where `head` stands; raises `DocumentErased`."""
    if head is not None and head.erased and not again:
        raise DocumentErased(
            f"{document.document_id} was erased; if this may stand in its place, put it `again`"
        )
    if head is None or head.removed:
        return Change.ADDED
    same = head.digest == document_digest(document, text)
    return Change.UNCHANGED if same else Change.CHANGED


def _whose(tenant: str, document: Document) -> None:
    if document.tenant != tenant:
        raise DocumentRejected(f"{document.document_id} is not a document of tenant {tenant}")
