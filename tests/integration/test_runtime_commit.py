"""The log is write-once: what a commit stores, what it leaves alone, alone and in company."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.broker import connected
from tests.support.system import logged

from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.commit import EXPECT_NEW, SINGLES, CommitRefused, Committed, Committer, Wire
from interlock.runtime.errors import RetryLater
from interlock_contracts.base import MAX_EVENT_BYTES
from interlock_contracts.ids import new_request_id

pytestmark = pytest.mark.asyncio(loop_scope="session")

MANY = 3 * SINGLES
"""So many at once go out as one atomic batch."""


@pytest_asyncio.fixture(loop_scope="session")
async def committer(broker: EmbeddedBroker) -> AsyncIterator[Committer]:
    async with connected(broker, "generator") as client:
        made = Committer(client)
        yield made
        await made.close()


def message(request_id: str, step: str = "1", body: bytes = b"{}", event: str = "proposal") -> Wire:
    return f"ev.{event}.acme.{request_id}.{step}", body, {**EXPECT_NEW}


async def bodies(broker: EmbeddedBroker, request_id: str) -> dict[str, bytes]:
    found = await logged(broker, f"ev.*.acme.{request_id}.>")
    return {found.subject.split(".")[4]: found.body for found in found}


async def test_the_first_writer_wins_for_ever(broker: EmbeddedBroker, committer: Committer) -> None:
    one = new_request_id()
    assert await committer.commit_wire([message(one, body=b"first")]) is Committed.NEW
    for body in (b"first", b"second"):
        assert await committer.commit_wire([message(one, body=body)]) is Committed.ALREADY
    assert await bodies(broker, one) == {"1": b"first"}


async def test_of_many_writers_at_once_exactly_one_is_first(
    broker: EmbeddedBroker, committer: Committer
) -> None:
    one = new_request_id()
    outcomes = await asyncio.gather(
        *(committer.commit_wire([message(one, body=b"%d" % n)]) for n in range(MANY))
    )
    assert sorted(outcome.value for outcome in outcomes) == ["already"] * (MANY - 1) + ["new"]
    winner = outcomes.index(Committed.NEW)
    assert await bodies(broker, one) == {"1": b"%d" % winner}


async def test_several_outputs_are_stored_together(
    broker: EmbeddedBroker, committer: Committer
) -> None:
    one = new_request_id()
    outputs = [message(one, str(step), b"%d" % step) for step in range(1, 5)]
    assert await committer.commit_wire(outputs) is Committed.NEW
    assert await bodies(broker, one) == {str(step): b"%d" % step for step in range(1, 5)}


@pytest.mark.parametrize("taken", ["1", "2", "3"])
async def test_of_several_outputs_none_is_stored_if_one_is_taken(
    broker: EmbeddedBroker, committer: Committer, taken: str
) -> None:
    one = new_request_id()
    await committer.commit_wire([message(one, taken, b"stands")])
    outputs = [message(one, str(step), b"new") for step in range(1, 4)]
    assert await committer.commit_wire(outputs) is Committed.ALREADY
    assert await bodies(broker, one) == {taken: b"stands"}


async def test_a_group_is_one_batch(broker: EmbeddedBroker, committer: Committer) -> None:
    ids = [new_request_id() for _ in range(MANY)]
    outcomes = await asyncio.gather(*(committer.commit_wire([message(one)]) for one in ids))
    assert set(outcomes) == {Committed.NEW}
    batches = set()
    for one in ids:
        (found,) = await logged(broker, f"ev.proposal.acme.{one}.1")
        batches.add(found.headers["Nats-Batch-Id"])
    assert len(batches) == 1


async def test_a_group_with_one_that_is_taken_commits_the_others(
    broker: EmbeddedBroker, committer: Committer
) -> None:
    ids = [new_request_id() for _ in range(MANY)]
    taken = ids[MANY // 2]
    await committer.commit_wire([message(taken, body=b"stands")])
    outcomes = await asyncio.gather(*(committer.commit_wire([message(one)]) for one in ids))
    already = {
        one for one, outcome in zip(ids, outcomes, strict=True) if outcome.value == "already"
    }
    assert already == {taken}
    for one in ids:
        assert await bodies(broker, one) == {"1": b"stands" if one == taken else b"{}"}


@pytest.mark.parametrize("wrong", ["too large", "forbidden"])
async def test_a_group_with_one_that_is_refused_commits_the_others(
    broker: EmbeddedBroker, committer: Committer, wrong: str
) -> None:
    ids = [new_request_id() for _ in range(MANY)]
    messages = [message(one) for one in ids]
    messages[3] = (
        message(ids[3], body=b"x" * (MAX_EVENT_BYTES + 1))
        if wrong == "too large"
        else message(ids[3], event="approved")
    )
    outcomes = await asyncio.gather(
        *(committer.commit_wire([one]) for one in messages), return_exceptions=True
    )
    assert isinstance(outcomes.pop(3), CommitRefused)
    assert set(outcomes) == {Committed.NEW}
    for at, one in enumerate(ids):
        assert await bodies(broker, one) == ({} if at == 3 else {"1": b"{}"})


async def test_what_waits_when_the_committer_closes_is_told_to_retry(
    broker: EmbeddedBroker,
) -> None:
    async with connected(broker, "generator") as client:
        committer = Committer(client)
        waiting = asyncio.create_task(committer.commit_wire([message(new_request_id())]))
        await asyncio.sleep(0)
        await committer.close()
        with pytest.raises(RetryLater):
            await waiting


async def test_nothing_to_commit_is_done_at_once(committer: Committer) -> None:
    assert await committer.commit_wire([]) is Committed.NEW
