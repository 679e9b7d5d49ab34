"""kill -9 of the contract-validator at each step of a commit: no approval without a record, no
record without its approval, and after a restart everything once."""

import asyncio

import pytest
from tests.support.gate import propose, refund_case, validators
from tests.support.system import logged, set_ack_wait, subjects_on_log, wait_logged

from interlock.runtime.broker.server import EmbeddedBroker
from interlock_contracts.actions import Grant, Spent
from interlock_contracts.verdict import Decision

MADE = "ev.*.acme.>"


def kinds(subjects: dict[str, int]) -> dict[str, int]:
    """How many there are of each event that the gate makes."""
    found: dict[str, int] = {}
    for subject, count in subjects.items():
        event = subject.split(".")[1]
        if event in ("verdict", "approved", "spent"):
            found[event] = found.get(event, 0) + count
    return found


ALL = {"verdict": 1, "approved": 1, "spent": 1}


@pytest.mark.parametrize(
    ("point", "stored"),
    [("before", False), ("1", False), ("2", False), ("sent", None), ("after", True)],
)
async def test_a_kill_leaves_all_of_a_decision_or_nothing(
    fresh_broker: EmbeddedBroker, point: str, stored: bool | None
) -> None:
    await set_ack_wait(fresh_broker, 1.0)
    case = refund_case(1)
    await propose(fresh_broker, case)
    async with validators(fresh_broker, 1, "tests.chaos.gate", point) as (process,):
        async with asyncio.timeout(30):
            assert await process.wait() == -9
    left = kinds(await subjects_on_log(fresh_broker, MADE))
    if stored is None and left:  # the broker was just storing it, one message after the other
        for event in ALL:
            await wait_logged(fresh_broker, f"ev.{event}.acme.>", within=10)
        left = kinds(await subjects_on_log(fresh_broker, MADE))
    assert left in ([ALL, {}] if stored is None else [ALL if stored else {}])
    async with validators(fresh_broker):
        await wait_logged(fresh_broker, "ev.approved.>", within=30)
        # A second request shows that the ledger goes on, and that the first was acknowledged.
        await propose(fresh_broker, refund_case(2))
        await wait_logged(fresh_broker, "ev.approved.>", 2, within=30)
    assert kinds(await subjects_on_log(fresh_broker, MADE)) == dict.fromkeys(ALL, 2)
    (verdict,) = await logged(fresh_broker, f"ev.verdict.acme.{case.request.request_id}.1")
    decided = verdict.event().case.verdict
    assert decided is not None
    assert decided.decision is Decision.APPROVE
    (grant,) = await logged(fresh_broker, f"ev.approved.acme.{case.request.request_id}.>")
    granted = grant.event().data
    assert isinstance(granted, Grant)
    assert granted.action_digest == decided.actions[0].digest
    entries = [message.event().data for message in await logged(fresh_broker, "ev.spent.>")]
    assert all(isinstance(entry, Spent) for entry in entries)
    assert [entry.number for entry in entries if isinstance(entry, Spent)] == [1, 2]
