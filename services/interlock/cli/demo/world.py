"""What the scenes act on and look things up in: the running system, its log, the shop's books."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from interlock.cli.system import System, Worker
from interlock.runtime.broker.connect import BrokerClient, connect
from interlock.runtime.commit import EXPECT_NEW, Committed, Committer
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings
from interlock.sdk.producer import Producer
from interlock_contracts.actions import Decided, Review
from interlock_contracts.event import Event
from interlock_contracts.request import Request
from interlock_contracts.subjects import Subject, as_token

TENANT = "acme"
EXECUTOR = "tool-executor"
PATIENCE_S = 20.0

FoundT = TypeVar("FoundT")


class DidNotHappen(UserError):
    """Something the scene waits for was not there in time."""


class Books:
    """The shop's own database, read without going through Interlock."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def refunds(self, order_id: str | None = None) -> list[int]:
        """Refunds in cents, oldest first; of one order or of all."""
        if not self._database.is_file():
            return []
        uri = f"{self._database.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as connection:
            rows = connection.execute(
                "SELECT amount_cents FROM refunds WHERE ? IS NULL OR order_id = ? ORDER BY number",
                (order_id, order_id),
            )
            return [cents for (cents,) in rows]


@dataclass(frozen=True, slots=True)
class World:
    """Everything a scene may use."""

    settings: Settings
    system: System
    log: JetStreamLog
    operator: BrokerClient
    producer: Producer
    reviewer: BrokerClient
    books: Books
    progress: Callable[[str], None]
    asked: dict[str, str] = field(default_factory=dict)
    """Ids of requests that a later scene comes back to, by the scene's name."""

    @property
    def executor(self) -> Worker:
        """The tool-executor, which is a process of its own here."""
        worker = self.system.workers[EXECUTOR][0]
        assert isinstance(worker, Worker)
        return worker

    def request(self, text: str, user: str = "maria") -> Request:
        """A request of a customer of acme."""
        return self.producer.request(text, user=user, role="customer", timeout=PATIENCE_S)

    async def events(self, request_id: str) -> list[Event]:
        """Everything logged of a request, in the order of the log."""
        return [message.event() for message in await self.log.of_request(request_id)]

    async def submit_raw(self, request: Request) -> dict[str, Any]:
        """Submit as a producer without our client would: JSON on a subject. The broker's reply."""
        path = self.settings.credential_of(f"producer-{TENANT}")
        client = await connect(self.system.broker.url, path, name="raw")
        try:
            subject = f"{self.settings.cell}.request.{TENANT}.{request.request_id}.0"
            reply = await client.request(subject, request.model_dump_json().encode())
        finally:
            await client.close()
        answer: dict[str, Any] = json.loads(reply.data)
        return answer

    async def review(self, card: Review, request_id: str, *, by: str) -> None:
        """Approve as `by`, over the reviewers' connection."""
        decided = Decided(action=card.action, decision="approve", digest=card.digest, by=by)
        address = Subject(
            self.settings.cell, "reviewed", TENANT, request_id, card.action, as_token(by)
        )
        committer = Committer(self.reviewer)
        try:
            body = decided.model_dump_json().encode()
            outcome = await committer.commit_wire([(str(address), body, EXPECT_NEW)])
        finally:
            await committer.close()
        if outcome is not Committed.NEW:
            raise DidNotHappen(f"{by}'s decision was not taken")


@asynccontextmanager
async def connected(
    settings: Settings, system: System, books: Books, progress: Callable[[str], None]
) -> AsyncIterator[World]:
    """A producer, a reviewer and an operator, each with the credential of its own."""
    url = system.broker.url
    producer = await Producer.connect(url, settings.credential_of(f"producer-{TENANT}"))
    reviewer = await connect(url, settings.credential_of(f"reviewer-{TENANT}"), name="reviewer")
    operator = await connect(url, settings.credential_of("operator"), name="operator")
    log = JetStreamLog(operator, settings.cell)
    try:
        yield World(settings, system, log, operator, producer, reviewer, books, progress)
    finally:
        await asyncio.gather(producer.close(), reviewer.close(), operator.close())


async def until(
    what: str, look: Callable[[], Awaitable[FoundT | None]], within: float = PATIENCE_S
) -> FoundT:
    """What `look` finds, as soon as it finds something; raises `DidNotHappen` after `within` s."""
    try:
        async with asyncio.timeout(within):
            # A database and a log are looked at: neither rings a bell.
            while (found := await look()) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise DidNotHappen(f"{what}: not within {within:g} s") from None
    return found


def counted(events: list[Event], *names: str) -> Counter[str]:
    """How many events of each name there are."""
    found = Counter(event.subject.event for event in events)
    return Counter({name: found[name] for name in names})


def listed(counts: Counter[str]) -> str:
    """Counts in words: `request 1, approved 1`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def money(cents: int) -> str:
    """4500 as $45.00."""
    return f"${cents // 100}.{cents % 100:02}"
