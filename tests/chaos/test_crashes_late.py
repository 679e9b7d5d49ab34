"""kill -9 while deadlines pass, questions to people expire and dead letters are retried: every
request has one answer, and the log replays to the last event."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.chaos.test_crashes import Traffic, caught_up, kill, verified
from tests.integration.test_expiry import impatient
from tests.support.broker import connected
from tests.support.system import (
    QUESTION,
    a_request,
    logged,
    running_system,
    sdk,
    subjects_on_log,
    wait_logged,
)

from interlock.cli.system import System
from interlock.runtime.commit import EXPECT_NEW, Committer
from interlock.runtime.errors import RetryLater
from interlock_contracts.answer import Answer, Retry
from interlock_contracts.ids import new_request_id
from interlock_contracts.request import Request
from interlock_contracts.table import SERVICES

REQUESTS = 120
BROKEN = 8
TEXTS = (
    QUESTION,
    "Where is my order A-1004?",
    "Please refund $10.00 of order A-1002, it arrived late",
    "Change the address of order A-1006 to 12 Elm Street, Portland",
)


def requests() -> list[Request]:
    """Every other one has time; the rest is late somewhere on its way, or from the start."""
    chance = random.Random(11)
    now, wanted = datetime.now(UTC), []
    for number in range(REQUESTS):
        left = 600.0 if number % 2 else chance.uniform(0.1, 20.0)
        text = TEXTS[number // 2 % len(TEXTS)]
        wanted.append(a_request(text, deadline=now + timedelta(seconds=left)))
    return wanted


async def send(system: System, user: str, subject: str, body: bytes) -> None:
    """Publish until it is acknowledged, with whatever broker there is."""
    while True:
        try:
            async with connected(system.broker, user) as client:
                committer = Committer(client)
                await committer.commit_wire([(subject, body, EXPECT_NEW)])
                await committer.close()
                return
        except (RetryLater, OSError):
            await asyncio.sleep(0.1)  # the broker is coming back


async def break_and_retry(system: System) -> list[str]:
    """Requests that are no JSON, each retried by an operator once it is a dead letter."""
    broken = [new_request_id() for _ in range(BROKEN)]
    for request_id in broken:
        await send(system, "producer-acme", f"ev.request.acme.{request_id}.0", b'{"text": ')
    for request_id in broken:
        (letter, *_) = await wait_logged(system.broker, f"ev.dead.acme.{request_id}.>", within=60)
        order = Retry(dead_letter=letter.subject, stage=SERVICES[0], attempt=1, by="olga")
        at = f"ev.retry.acme.{request_id}.1.{SERVICES[0]}"
        await send(system, "operator", at, order.model_dump_json().encode())
    return broken


async def havoc(system: System, traffic: Traffic) -> None:
    """Kill every stage as soon as so much more is logged, and the broker in the middle."""
    for number, victim in enumerate([*SERVICES[:3], "broker", *SERVICES[3:5]], 1):
        await traffic.answered(REQUESTS * number // 8)
        await kill(system, victim)


@pytest.mark.timeout(240)
async def test_what_expired_or_was_retried_between_crashes_replays(tmp_path: Path) -> None:
    wanted = requests()
    running = running_system(
        tmp_path / "state", processes=True, latency_ms=20, ack_wait=2.0, bundle=impatient(tmp_path)
    )
    async with running as system:
        async with await sdk(system.broker) as producer, asyncio.TaskGroup() as group:
            traffic = Traffic(producer, wanted)
            group.create_task(traffic.run())
            retried = group.create_task(break_and_retry(system))
            group.create_task(havoc(system, traffic))
        for durable in SERVICES:
            await caught_up(system, durable)
        answers = [message.event() for message in await logged(system.broker, "ev.answer.>")]
        letters = await subjects_on_log(system.broker, "ev.dead.>")
        replays = await verified(system)
    assert [one for one in replays if not one["identical"] or one["pending"]] == []
    everyone = {one.request_id for one in wanted} | set(retried.result())
    assert {one["request_id"] for one in replays} == everyone
    told = [one.subject.request_id for one in answers if one.subject.step == "0"]
    assert sorted(told) == sorted(everyone)
    ends = Counter(one.data.status.value for one in answers if isinstance(one.data, Answer))
    assert min(ends["answered"], ends["refused"], ends["failed"]) >= BROKEN, ends
    assert {subject.split(".")[3] for subject in letters} >= set(retried.result())
