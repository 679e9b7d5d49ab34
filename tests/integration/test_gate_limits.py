"""Limits across requests hold under concurrency: the broker's write-once log is the arbiter."""

from tests.support.broker import connected
from tests.support.gate import BUNDLE, propose, refund_case, validators
from tests.support.system import logged, wait_logged

from interlock.bundles.model import Bundle
from interlock.replay.verify import verify_request
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.log import JetStreamLog
from interlock_contracts.actions import Spent
from interlock_contracts.answer import DeadLetter
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Principal, Request
from interlock_contracts.verdict import Decision

AT_ONCE = 20


class Pinned:
    """The one bundle of these requests."""

    def active(self, request: Request | None = None) -> Bundle:
        return BUNDLE

    async def get(self, digest: str) -> Bundle:
        assert digest == BUNDLE.digest
        return BUNDLE


async def test_of_twenty_at_once_two_are_approved_by_three_validators(
    fresh_broker: EmbeddedBroker,
) -> None:
    cases = [refund_case(number) for number in range(AT_ONCE)]
    others = [refund_case(100 + number, user="bob") for number in range(2)]
    await propose(fresh_broker, *cases, *others)
    async with validators(fresh_broker, 3):
        found = await wait_logged(fresh_broker, "ev.verdict.>", AT_ONCE + 2, within=60)
    verdicts = {one.subject.split(".")[3]: one.event().case.verdict for one in found}
    approved = {
        request for request, verdict in verdicts.items()
        if verdict is not None and verdict.decision is Decision.APPROVE
    }  # fmt: skip
    ours = {case.request.request_id for case in cases}
    assert len(approved & ours) == 2
    assert approved - ours == {case.request.request_id for case in others}
    for request, verdict in verdicts.items():
        assert verdict is not None
        codes = [one.code for one in verdict.violations]
        assert codes == ([] if request in approved else [FailureCode.LIMIT_EXCEEDED])
    grants = await logged(fresh_broker, "ev.approved.>")
    assert {one.subject.split(".")[3] for one in grants} == approved
    entries = [one.event().data for one in await logged(fresh_broker, "ev.spent.>")]
    numbers: dict[str, list[int]] = {}
    for entry in entries:
        assert isinstance(entry, Spent)
        assert entry.request in approved
        numbers.setdefault(entry.ledger, []).append(entry.number)
    assert [sorted(one) for one in numbers.values()] == [[1, 2], [1, 2]]
    await assert_replays(fresh_broker, [*sorted(approved), *sorted(ours - approved)[:2]])


async def assert_replays(broker: EmbeddedBroker, requests: list[str]) -> None:
    """The gate's part of these requests comes out the same from what is recorded."""
    async with connected(broker, "replay") as client:
        log = JetStreamLog(client, "ev")
        for request in requests:
            entries = [message.event() for message in await log.of_request(request)]
            found = await verify_request(entries, Pinned())
            wrong = [one for one in found.divergences if one.stage == "contract-validator"]
            assert wrong == []


async def test_a_case_that_the_generator_altered_is_a_dead_letter(
    fresh_broker: EmbeddedBroker,
) -> None:
    honest = refund_case(1)
    request = honest.request.model_copy(update={"principal": Principal(user="eve", role="agent")})
    await propose(fresh_broker, honest.model_copy(update={"request": request}), honest=honest)
    async with validators(fresh_broker):
        (found,) = await wait_logged(fresh_broker, "ev.dead.>", within=30)
    letter = found.event().data
    assert isinstance(letter, DeadLetter)
    assert letter.failure.code is FailureCode.CASE_ALTERED
    assert "its request is not that of the context event" in letter.failure.message
    assert await logged(fresh_broker, "ev.approved.>") == []
    assert await logged(fresh_broker, "ev.verdict.>") == []
