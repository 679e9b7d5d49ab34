"""The stage loop on the real broker: retries, dead letters, credit, lost consumers, restarts."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from tests.support.broker import call, connected
from tests.support.system import (
    a_request,
    consumer_state,
    echo,
    logged,
    running_stage,
    set_ack_wait,
    subjects_on_log,
    submit,
    wait_logged,
)

from interlock.runtime import loop
from interlock.runtime.broker.permissions import PROVISIONER
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.errors import NeverRetry, RetryLater, SlowDown
from interlock.runtime.pull import ConsumerLost
from interlock.runtime.stage import Draft, Input
from interlock_contracts.answer import Answer, AnswerStatus, DeadLetter, Retry
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.ids import new_request_id
from interlock_contracts.request import Request


class Counting:
    """A stage that counts its calls by request text and then does as it is told."""

    def __init__(self, delay: float = 0.0) -> None:
        self.calls: Counter[str] = Counter()
        self.times: list[float] = []
        self.running = self.most = 0
        self.delay = delay

    async def __call__(self, given: Input) -> Sequence[Draft]:
        text = given.case.request.text
        self.calls[text] += 1
        self.times.append(time.monotonic())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.delay)
            return await self.outcome(given, text)
        finally:
            self.running -= 1

    async def outcome(self, given: Input, text: str) -> Sequence[Draft]:
        match text.split()[0]:
            case "later":
                raise RetryLater(FailureCode.MODEL_UNAVAILABLE, "not now")
            case "twice" if self.calls[text] < 3:
                raise RetryLater(FailureCode.MODEL_UNAVAILABLE, "not now")
            case "never":
                raise NeverRetry(FailureCode.EVENT_INVALID, "cannot be done")
            case "bug":
                raise KeyError(text)
            case "slow" if self.calls[text] < 4:
                raise SlowDown(FailureCode.MODEL_UNAVAILABLE, "slower, please", 0.01)
        return await echo(given)


async def settled(broker: EmbeddedBroker, durable: str = "intent-router") -> dict[str, int]:
    """Wait until a durable has nothing left to do; the broker's counts."""
    async with asyncio.timeout(20):
        while True:
            state = await consumer_state(broker, durable)
            if not state["num_pending"] and not state["num_ack_pending"]:
                return state
            await asyncio.sleep(0.05)  # the broker offers no event for this


async def test_the_same_input_twice_makes_one_output(fresh_broker: EmbeddedBroker) -> None:
    """The first worker commits and dies before its acknowledgement; the second one finds it."""
    await set_ack_wait(fresh_broker, 1.0)
    request = a_request()
    stage = Counting()
    async with running_stage(fresh_broker, stage, ack_wait=1.0) as first:
        finish, lost = first.pull.finish, asyncio.Event()

        async def die(*_: object) -> None:
            lost.set()
            await asyncio.Event().wait()

        first.pull.finish = die  # type: ignore[method-assign, assignment]  # a crash at the worst moment
        await submit(fresh_broker, request)
        async with asyncio.timeout(10):
            await lost.wait()
        first.pull._held.clear()  # nobody keeps the message alive any more
        first.pull.finish = finish  # type: ignore[method-assign]
        before = (await wait_logged(fresh_broker, f"ev.route.acme.{request.request_id}.0"))[0]
        await settled(fresh_broker)
    assert stage.calls[request.text] == 2
    (after,) = await logged(fresh_broker, f"ev.route.acme.{request.request_id}.0")
    assert (after.sequence, after.body) == (before.sequence, before.body)
    assert set(await subjects_on_log(fresh_broker, "ev.>")) == {
        f"ev.request.acme.{request.request_id}.0",
        f"ev.route.acme.{request.request_id}.0",
    }


async def test_what_can_be_retried_is_with_growing_delay(fresh_broker: EmbeddedBroker) -> None:
    stage = Counting()
    request = a_request("twice and again")
    async with running_stage(fresh_broker, stage, retry_delay=0.4) as running:
        await submit(fresh_broker, request)
        await wait_logged(fresh_broker, f"ev.route.acme.{request.request_id}.0")
        await settled(fresh_broker)
    assert [delivery.deliveries for delivery in running.deliveries] == [1, 2, 3]
    first, second = (b - a for a, b in zip(stage.times, stage.times[1:], strict=False))
    assert 0.2 <= first <= 0.6 + 1  # 0.4 s, half to one and a half; the machine may be slow
    assert 0.4 <= second <= 1.2 + 1
    assert not await subjects_on_log(fresh_broker, "ev.dead.>")


@pytest.mark.parametrize(
    ("text", "code", "calls"),
    [
        ("later", FailureCode.MODEL_UNAVAILABLE, 3),
        ("bug", FailureCode.RETRIES_EXHAUSTED, 3),
        ("never", FailureCode.EVENT_INVALID, 1),
    ],
)
async def test_what_does_not_work_becomes_a_dead_letter(
    fresh_broker: EmbeddedBroker, text: str, code: FailureCode, calls: int
) -> None:
    stage = Counting()
    request = a_request(f"{text} my-private-words")
    async with running_stage(fresh_broker, stage, max_deliver=3):
        await submit(fresh_broker, request)
        pattern = f"ev.dead.acme.{request.request_id}.request-0-0.intent-router"
        (found,) = await wait_logged(fresh_broker, pattern)
        state = await settled(fresh_broker)
    letter = found.event().data
    assert isinstance(letter, DeadLetter)
    original = request.model_dump_json().encode()
    assert stage.calls[request.text] == calls == letter.deliveries
    assert (letter.failure.code, letter.original) == (code, original)
    assert (letter.original_digest, letter.sequence) == (digest_bytes(original), 1)
    assert "my-private-words" not in letter.failure.message
    (answered,) = await logged(fresh_broker, f"ev.answer.acme.{request.request_id}.>")
    answer = answered.event().data
    assert isinstance(answer, Answer)
    assert (answer.status, answer.failures) == (AnswerStatus.REFUSED, (letter.failure,))
    assert answered.headers["Nats-Batch-Id"] == found.headers["Nats-Batch-Id"]  # both or none
    assert state["ack_floor"]["stream_seq"] >= 1  # type: ignore[index]


async def test_being_asked_to_slow_down_is_no_attempt(fresh_broker: EmbeddedBroker) -> None:
    stage = Counting()
    request = a_request("slow")
    async with running_stage(fresh_broker, stage, max_deliver=1) as running:
        await submit(fresh_broker, request)
        await wait_logged(fresh_broker, f"ev.route.acme.{request.request_id}.0")
        await settled(fresh_broker)
    assert [delivery.deliveries for delivery in running.deliveries] == [1]
    assert stage.calls["slow"] == 4


async def routes(broker: EmbeddedBroker, *requests: Request) -> None:
    """Run the router over requests, so that there are `route` events to consume."""
    async with running_stage(broker):
        await submit(broker, *requests)
        await wait_logged(broker, "ev.route.>", len(requests))
        await settled(broker)


async def test_over_the_cap_the_queue_is_not_emptied_into_dead_letters(
    fresh_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "HALT_S", 0.5)
    requests = [a_request("never") for _ in range(10)]
    await routes(fresh_broker, *requests)
    broken = Counting()
    async with running_stage(
        fresh_broker, broken, "retriever", dead_letters_per_minute=3
    ) as running:
        said = await running.wait_ready_is(503)
        assert "too many dead letters" in said
        assert FailureCode.EVENT_INVALID in said
        async with asyncio.timeout(10):
            while sum(broken.calls.values()) < 16:  # it goes on trying, slowly
                await running.get("/ready")
        assert len(await subjects_on_log(fresh_broker, "ev.dead.>")) == 3
    state = await consumer_state(fresh_broker, "retriever")
    assert state["num_pending"] + state["num_ack_pending"] == 7
    async with running_stage(fresh_broker, echo, "retriever") as mended:
        await wait_logged(fresh_broker, "ev.context.>", 7)
        await mended.wait_ready_is(200)
    assert len(await subjects_on_log(fresh_broker, "ev.dead.>")) == 3


async def test_a_stage_that_was_halted_is_ready_again_once_it_works(
    fresh_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "HALT_S", 0.5)
    await routes(fresh_broker, *(a_request("never") for _ in range(4)))
    broken = True

    async def stage(given: Input) -> Sequence[Draft]:
        if broken:
            raise NeverRetry(FailureCode.EVENT_INVALID, "cannot be done")
        return await echo(given)

    async with running_stage(
        fresh_broker, stage, "retriever", dead_letters_per_minute=1
    ) as running:
        await running.wait_ready_is(503)
        broken = False
        await wait_logged(fresh_broker, "ev.context.>", 3)
        await running.wait_ready_is(200)


async def test_what_a_producer_breaks_halts_nobody(fresh_broker: EmbeddedBroker) -> None:
    async with running_stage(fresh_broker, dead_letters_per_minute=1) as running:
        async with connected(fresh_broker, "producer-acme") as client:
            for _ in range(5):
                await call(client, f"ev.request.acme.{new_request_id()}.0", {"no": "request"})
        await wait_logged(fresh_broker, "ev.dead.>", 5)
        assert (await running.get("/ready"))[0] == 200


async def test_a_long_call_is_not_delivered_again(fresh_broker: EmbeddedBroker) -> None:
    await set_ack_wait(fresh_broker, 1.0)
    stage = Counting(delay=3.0)
    request = a_request()
    async with running_stage(fresh_broker, stage, ack_wait=1.0) as running:
        await submit(fresh_broker, request)
        await wait_logged(fresh_broker, f"ev.route.acme.{request.request_id}.0")
        state = await settled(fresh_broker)
    assert stage.calls[request.text] == 1
    assert [delivery.deliveries for delivery in running.deliveries] == [1]
    assert state["delivered"]["consumer_seq"] == 1  # type: ignore[index]  # all it ever sent


async def test_never_more_than_the_capacity_is_in_work(fresh_broker: EmbeddedBroker) -> None:
    stage = Counting(delay=0.02)
    requests = [a_request(f"number {n}") for n in range(60)]
    await submit(fresh_broker, *requests)
    async with running_stage(fresh_broker, stage, capacity=5) as running:
        most = held = 0
        async with asyncio.timeout(20):
            while len(stage.calls) < 60:
                state = await consumer_state(fresh_broker, "intent-router")
                most = max(most, int(state["num_ack_pending"]))
                held = max(held, running.pull.held)
        await wait_logged(fresh_broker, "ev.route.>", 60)
    assert stage.most == 5
    assert held <= 5
    assert most <= 5 + 5  # a group is acknowledged at once; the broker may not have heard it yet
    assert set(stage.calls.values()) == {1}


async def test_a_pause_lends_no_credit(fresh_broker: EmbeddedBroker) -> None:
    stage = Counting(delay=0.2)
    first, second = a_request("first"), a_request("second")
    async with running_stage(fresh_broker, stage, capacity=1) as running:
        await submit(fresh_broker, first)
        async with asyncio.timeout(10):
            while True:
                if running.pull.held:
                    break
                await asyncio.sleep(0.01)  # it offers no event for this
        running.pull.pause(1.0)  # while the only slot is taken: nothing has been asked for
        paused_at = time.monotonic()
        await submit(fresh_broker, second)
        await wait_logged(fresh_broker, f"ev.route.acme.{first.request_id}.0")
        await wait_logged(fresh_broker, f"ev.route.acme.{second.request_id}.0")
    assert stage.times[1] - paused_at >= 1.0


async def test_a_deleted_consumer_is_noticed(fresh_broker: EmbeddedBroker) -> None:
    async with running_stage(fresh_broker) as running:
        await running.wait_ready_is(200)
        async with connected(fresh_broker, PROVISIONER) as client:
            await call(client, "$JS.API.CONSUMER.DELETE.EV.intent-router")
        said = await running.wait_ready_is(503)
        assert "intent-router" in said
        assert running.task is not None
        async with asyncio.timeout(10):
            with pytest.raises(ConsumerLost, match="intent-router"):
                await running.task
    await set_ack_wait(fresh_broker, 10.0)  # provisions it anew
    async with running_stage(fresh_broker) as again:
        request = a_request()
        await submit(fresh_broker, request)
        await wait_logged(fresh_broker, f"ev.route.acme.{request.request_id}.0")
        assert (await again.get("/ready"))[0] == 200


async def test_a_broker_that_restarts_is_waited_for(fresh_broker: EmbeddedBroker) -> None:
    async with running_stage(fresh_broker) as running:
        for _ in range(2):
            await fresh_broker.kill()
            await fresh_broker.ready()
            request = a_request()
            await submit(fresh_broker, request)
            await wait_logged(fresh_broker, f"ev.route.acme.{request.request_id}.0", within=8.0)
            await running.wait_ready_is(200)
        assert running.task is not None
        assert not running.task.done()


async def test_readiness_says_that_the_broker_is_away(fresh_broker: EmbeddedBroker) -> None:
    async with running_stage(fresh_broker) as running:
        await running.wait_ready_is(200)
        await fresh_broker.stop()
        assert "broker" in await running.wait_ready_is(503)
        assert await running.get("/live") == (200, "ok\n")
        await fresh_broker.start()
        await running.wait_ready_is(200)


@pytest.mark.parametrize("empties", [1, 5])
async def test_an_empty_message_stops_nothing(fresh_broker: EmbeddedBroker, empties: int) -> None:
    """Between accounts an empty message ends a series of replies: the broker's pull with it."""
    await set_ack_wait(fresh_broker, 1.0)  # what the broker sent into the void comes again then
    async with running_stage(fresh_broker, ack_wait=1.0, capacity=64) as running:
        running.pull._window = running.pull.capacity  # as after some time at work
        await running.pull._ask()
        await submit(fresh_broker, a_request())
        await settled(fresh_broker)
        assert max(running.pull._asked.values()) > 32  # one request with much credit
        async with connected(fresh_broker, "producer-acme") as client:
            for _ in range(empties):
                await client.request(f"ev.request.acme.{new_request_id()}.0", b"")
        request = a_request()
        await submit(fresh_broker, request)
        await wait_logged(fresh_broker, f"ev.route.acme.{request.request_id}.0", within=5.0)
        await wait_logged(fresh_broker, "ev.route.>", 2, within=5.0)
        await wait_logged(fresh_broker, "ev.dead.>", empties, within=5.0)
        await settled(fresh_broker)
        assert (await running.get("/ready"))[0] == 200


async def test_an_operator_has_a_dead_letter_processed_again(
    fresh_broker: EmbeddedBroker,
) -> None:
    broken = True

    async def stage(given: Input) -> Sequence[Draft]:
        if broken:
            raise RetryLater(FailureCode.MODEL_UNAVAILABLE, "not now")
        case = given.case
        text = f"attempt {case.attempt}"
        answer = Answer(request_id=case.request.request_id, status=AnswerStatus.ANSWERED, text=text)
        return [Draft("answer", str(case.attempt), answer)]

    request = a_request()
    async with running_stage(fresh_broker, stage, max_deliver=1):
        await submit(fresh_broker, request)
        (dead,) = await wait_logged(fresh_broker, f"ev.dead.acme.{request.request_id}.>")
        broken = False
        order = Retry(dead_letter=dead.subject, stage="intent-router", attempt=1, by="olga")
        async with connected(fresh_broker, "operator") as client:
            subject = f"ev.retry.acme.{request.request_id}.1.intent-router"
            await client.request(subject, order.model_dump_json().encode())
        answers = await wait_logged(fresh_broker, f"ev.answer.acme.{request.request_id}.>", 2)
    said = [(found.subject.rpartition(".")[2], found.event().data) for found in answers]
    assert [
        (step, data.status, data.text[:9]) for step, data in said if isinstance(data, Answer)
    ] == [
        ("0", AnswerStatus.REFUSED, "The reque"),
        ("1", AnswerStatus.ANSWERED, "attempt 1"),
    ]


async def test_a_retry_of_another_tenants_dead_letter_is_refused(
    fresh_broker: EmbeddedBroker,
) -> None:
    request = a_request("never")
    async with running_stage(fresh_broker, Counting()):
        await submit(fresh_broker, request)
        (dead,) = await wait_logged(fresh_broker, f"ev.dead.acme.{request.request_id}.>")
        order = Retry(dead_letter=dead.subject, stage="intent-router", attempt=1, by="olga")
        async with connected(fresh_broker, "operator") as client:
            subject = f"ev.retry.globex.{request.request_id}.1.intent-router"
            await client.request(subject, order.model_dump_json().encode())
        (refused,) = await wait_logged(fresh_broker, "ev.dead.globex.>")
    letter = refused.event().data
    assert isinstance(letter, DeadLetter)
    assert letter.failure.code is FailureCode.TENANT_BOUNDARY


async def test_several_workers_share_a_stage(fresh_broker: EmbeddedBroker) -> None:
    stages = [Counting(delay=0.005) for _ in range(3)]
    async with AsyncExitStack() as stack:
        for stage in stages:
            await stack.enter_async_context(running_stage(fresh_broker, stage, capacity=4))
        requests = [a_request(f"number {n}") for n in range(60)]
        await submit(fresh_broker, *requests)
        await wait_logged(fresh_broker, "ev.route.>", 60)
    total = sum((stage.calls for stage in stages), Counter[str]())
    assert set(total.values()) == {1}
    assert all(stage.calls for stage in stages)


async def test_a_case_is_carried_as_it_was_decided(fresh_broker: EmbeddedBroker) -> None:
    request = a_request("Grüße 🌱\n\ttab")
    async with running_stage(fresh_broker):
        await submit(fresh_broker, request)
        (found,) = await wait_logged(fresh_broker, f"ev.route.acme.{request.request_id}.0")
    case = found.event().data
    assert isinstance(case, Case)
    assert case.request == request
