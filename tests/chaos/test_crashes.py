"""kill -9 of every service and of the broker in the middle of 500 requests: nothing lost, nothing
doubled."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.system import (
    QUESTION,
    a_request,
    consumer_state,
    logged,
    rows,
    running_system,
    sdk,
    subjects_on_log,
)

from interlock.audit_sink.places import open_reader, public_key, store_file
from interlock.audit_sink.verify import verify
from interlock.cli.system import System, Worker
from interlock.runtime.errors import RetryLater
from interlock.runtime.settings import Settings
from interlock.sdk.producer import Producer
from interlock_contracts.actions import Effect
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.request import Request
from interlock_contracts.table import SERVICES

REQUESTS = 500
REFUNDS = 150
IN_FLIGHT = 24


def seed_orders(database: Path) -> None:
    """An order of its own for every refund."""
    with closing(sqlite3.connect(database)) as shop:
        shop.executemany(
            "INSERT INTO orders VALUES ('acme', ?, 'maria', '1 x Rake', '2026-11-01', "
            "'delivered', 5000, '77 Larkspur Lane, Salem')",
            [(f"A-{2000 + n}",) for n in range(REFUNDS)],
        )
        shop.commit()


def refund_of(number: int) -> str:
    """The text of a refund request."""
    return f"Please refund $10.00 of order A-{2000 + number}, it arrived late"


def finished(answer: Answer) -> bool:
    """Whether what was asked for was done."""
    landed = all(action.effect is Effect.LANDED for action in answer.actions)
    return answer.status is AnswerStatus.ANSWERED and landed


def requests() -> list[Request]:
    """The mix: refunds, order status and questions, in a fixed shuffle."""
    until = datetime.now(UTC) + timedelta(minutes=10)
    texts = [refund_of(n) for n in range(REFUNDS)]
    texts += [f"Where is my order A-{2000 + n}?" for n in range(REFUNDS)]
    texts += [QUESTION] * (REQUESTS - len(texts))
    random.Random(7).shuffle(texts)
    return [a_request(text, deadline=until) for text in texts]


class Traffic:
    """Submits with bounded concurrency and counts what is answered."""

    def __init__(self, producer: Producer, wanted: list[Request]) -> None:
        self.producer = producer
        self.answers: dict[str, Answer] = {}
        self._wanted = wanted
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._progress = asyncio.Condition()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for request in self._wanted:
                group.create_task(self._one(request))

    async def answered(self, count: int) -> None:
        """Wait until so many have their answer."""
        async with self._progress:
            await self._progress.wait_for(lambda: len(self.answers) >= count)

    async def _one(self, request: Request) -> None:
        async with self._slots:
            while True:
                try:
                    await self.producer.submit(request)
                    break
                except RetryLater:
                    continue  # safe: the same request is stored once
            answer = await self.producer.answer(request.request_id, timeout=100)
        async with self._progress:
            self.answers[request.request_id] = answer
            self._progress.notify_all()


async def havoc(system: System, traffic: Traffic) -> list[str]:
    """Kill everything once, the broker twice, spread over the first 90 % of the requests."""
    victims = [*SERVICES[:3], "broker", *SERVICES[3:], "broker"]
    for number, victim in enumerate(victims, 1):
        await traffic.answered(REQUESTS * number * 9 // (10 * len(victims)) - 10)
        await kill(system, victim)
    return victims


async def kill(system: System, victim: str) -> None:
    """kill -9 of a service, or of the broker."""
    if victim == "broker":
        await system.broker.kill()
        return
    (worker,) = system.workers[victim]
    assert isinstance(worker, Worker)
    os.kill(worker.pid, signal.SIGKILL)


async def caught_up(system: System, durable: str) -> None:
    """Wait until a durable has nothing left to do."""
    async with asyncio.timeout(40):
        while True:
            state = await consumer_state(system.broker, durable)
            if not state["num_pending"] and not state["num_ack_pending"]:
                return
            await asyncio.sleep(0.1)  # the broker offers no event for this


async def verified(system: System) -> list[dict[str, Any]]:
    """What `interlock replay` says of every request on the log."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "interlock.cli", "replay", "--since", "1", "--json"),
        *("--state", str(system.broker.state)),
        stdout=asyncio.subprocess.PIPE,
    )
    shown, _ = await process.communicate()
    return [json.loads(line) for line in shown.splitlines()]


@pytest.mark.timeout(240)
async def test_every_request_is_answered_once_and_every_refund_happens_once(
    tmp_path: Path,
) -> None:
    wanted = requests()
    async with running_system(tmp_path, processes=True, latency_ms=20, ack_wait=2.0) as system:
        seed_orders(tmp_path / "shop.sqlite")
        async with await sdk(system.broker) as producer:
            traffic = Traffic(producer, wanted)
            async with asyncio.TaskGroup() as group:
                group.create_task(traffic.run())
                killed = group.create_task(havoc(system, traffic))
        assert len(killed.result()) == 8
        for durable in SERVICES:
            await caught_up(system, durable)
        answers = await subjects_on_log(system.broker, "ev.answer.>")
        dead = [message.body for message in await logged(system.broker, "ev.dead.>")]
        everything = await subjects_on_log(system.broker, "ev.>")
        last = (await consumer_state(system.broker, "audit-sink"))["delivered"]["stream_seq"]
        replays = await verified(system)
    assert answers == {f"ev.answer.acme.{one.request_id}.0": 1 for one in wanted}
    assert dead == []
    undone = [one.text for one in wanted if not finished(traffic.answers[one.request_id])]
    assert undone == []
    effects = rows(
        tmp_path / "shop.sqlite",
        "SELECT order_id, count(*), count(DISTINCT idempotency_key), sum(amount_cents) "
        "FROM refunds WHERE order_id LIKE 'A-2%' GROUP BY order_id ORDER BY order_id",
    )
    assert effects == [(f"A-{2000 + n}", 1, 1, 1000) for n in range(REFUNDS)]
    assert [one for one in replays if not one["identical"] or one["pending"]] == []
    assert {one["request_id"] for one in replays} == {one.request_id for one in wanted}
    with open_reader(Settings(state=tmp_path)) as store:
        report = verify(store.database, public_key(tmp_path), store.keys)
    assert report.ok, report.findings
    assert report.events == report.covered == last == len(everything)
    stored = rows(store_file(tmp_path), "SELECT subject FROM events ORDER BY sequence")
    assert {subject for (subject,) in stored} == set(everything)
