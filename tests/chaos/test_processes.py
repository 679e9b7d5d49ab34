"""One stage as a process: SIGTERM finishes what is in work; a poison message ends by itself."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.system import (
    a_request,
    consumer_state,
    logged,
    running_stage,
    set_ack_wait,
    subjects_on_log,
    submit,
    wait_logged,
)

from interlock.runtime.broker.server import EmbeddedBroker
from interlock_contracts.answer import DeadLetter
from interlock_contracts.failures import FailureCode

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def stage_process(
    broker: EmbeddedBroker, kind: str, **settings: object
) -> AsyncIterator[Process]:
    """`tests.chaos.stages` as a process of its own; killed at the end if it still runs."""
    given = {"state": broker.state, "nats_url": broker.url, **settings}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.stages", kind),
        env={**os.environ, **{f"INTERLOCK_{k.upper()}": str(v) for k, v in given.items()}},
        cwd=ROOT,
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_sigterm_finishes_what_is_in_work_and_strands_nothing(
    fresh_broker: EmbeddedBroker,
) -> None:
    first, later = ([a_request() for _ in range(count)] for count in (5, 25))
    await submit(fresh_broker, *first)
    async with stage_process(fresh_broker, "slow", capacity=16, drain_timeout=10) as process:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            taken = {(await process.stdout.readline()).decode().strip() for _ in first}
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):  # it still has credit, which it gives back at once
            while (await consumer_state(fresh_broker, "intent-router"))["num_waiting"]:
                pass
        assert process.returncode is None  # long before it has finished its work
        await submit(fresh_broker, *later)
        async with asyncio.timeout(15):
            rest, _ = await process.communicate()
        assert time.monotonic() - asked < 6  # what is in work needs a second
        assert process.returncode == 0
    done = {found.subject.split(".")[3] for found in await logged(fresh_broker, "ev.route.>")}
    state = await consumer_state(fresh_broker, "intent-router")
    assert done == taken == {request.request_id for request in first}
    assert rest == b""
    assert (state["num_ack_pending"], state["delivered"]["consumer_seq"]) == (0, len(first))
    async with running_stage(fresh_broker) as second:
        await wait_logged(fresh_broker, "ev.route.>", len(first) + len(later))
    assert [delivery.deliveries for delivery in second.deliveries] == [1] * len(later)


async def test_a_message_that_kills_its_worker_ends_as_a_dead_letter_alone(
    fresh_broker: EmbeddedBroker,
) -> None:
    await set_ack_wait(fresh_broker, 1.0)
    poison = a_request("poison")
    others = [a_request(f"number {n}") for n in range(40)]
    await submit(fresh_broker, *others[:20], poison, *others[20:])
    pattern = f"ev.dead.acme.{poison.request_id}.>"
    deaths = 0
    async with asyncio.timeout(60):
        while not await subjects_on_log(fresh_broker, pattern):
            async with stage_process(fresh_broker, "poison", max_deliver=6, ack_wait=1) as process:
                died = asyncio.create_task(process.wait())
                buried = asyncio.create_task(wait_logged(fresh_broker, pattern, within=30))
                await asyncio.wait((died, buried), return_when=asyncio.FIRST_COMPLETED)
                if died.done():
                    assert process.returncode == -signal.SIGKILL
                    deaths += 1
                    buried.cancel()
                else:
                    await wait_logged(fresh_broker, "ev.route.>", 40)
                    process.terminate()
                    assert await died == 0
    assert deaths == 6
    (found,) = await logged(fresh_broker, "ev.dead.>")
    letter = found.event().data
    assert isinstance(letter, DeadLetter)
    assert letter.failure.code is FailureCode.RETRIES_EXHAUSTED
    assert letter.original == poison.model_dump_json().encode()
    assert len(await subjects_on_log(fresh_broker, "ev.route.>")) == 40
    assert len(await subjects_on_log(fresh_broker, "ev.answer.>")) == 1
