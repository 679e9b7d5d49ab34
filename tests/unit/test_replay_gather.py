"""From a log in its order to requests: complete, once, in bounded memory."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from interlock.cli.replays import selection
from interlock.replay import gather
from interlock.replay.difference import as_diff
from interlock.replay.gather import Gatherer, Range
from interlock.replay.message import LogMessage
from interlock.runtime.errors import UserError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class FakeReader:
    """A log in a list; counts what is read singly."""

    cell = "ev"

    def __init__(self, subjects: list[str], body: bytes = b"{}") -> None:
        self.log = [
            LogMessage(subject, number, NOW + timedelta(seconds=number), {}, body)
            for number, subject in enumerate(subjects, 1)
        ]
        self.single = 0

    async def scan(
        self, subject: str, sequence: int = 1, since: datetime | None = None
    ) -> AsyncIterator[LogMessage]:
        tenant = subject.split(".")[2]
        for one in self.log:
            late = one.sequence >= sequence and (since is None or one.logged_at >= since)
            if late and tenant in ("*", one.subject.split(".")[2]):
                yield one

    async def at(self, sequence: int) -> LogMessage | None:
        self.single += 1
        return self.log[sequence - 1]

    async def last(self, subject: str) -> LogMessage | None:
        self.single += 1
        return next((one for one in reversed(self.log) if one.subject == subject), None)

    async def of_request(self, request_id: str) -> list[LogMessage]:
        return [one for one in self.log if one.request_id == request_id]


async def gathered(reader: FakeReader, wanted: Range, **more: int) -> dict[str, list[int]]:
    gatherer = Gatherer(reader, wanted, **more)  # type: ignore[arg-type]  # reads as a LogReader
    found: dict[str, list[int]] = {}
    async for messages in gatherer.requests():
        found[messages[0].request_id] = [one.sequence for one in messages]
    return found


LOG = [
    "ev.request.acme.A.0",
    "ev.request.acme.B.0",
    "ev.route.acme.A.0",
    "ev.request.globex.C.0",
    "ev.answer.acme.A.0",
    "ev.route.acme.B.0",
    "ev.answer.globex.C.0",
]


async def test_every_request_with_all_of_its_messages() -> None:
    found = await gathered(FakeReader(LOG), Range())
    assert found == {"A": [1, 3, 5], "B": [2, 6], "C": [4, 7]}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Range(since=2), {"B", "C"}),
        (Range(until=2), {"A"}),
        (Range(since=2, until=4), {"B"}),
        (Range(tenant="globex"), {"C"}),
        (Range(since=NOW + timedelta(seconds=4)), {"C"}),
        (Range(until=NOW + timedelta(seconds=2)), {"A"}),
        (Range(since=8), set()),
    ],
)
async def test_a_request_is_meant_by_when_it_was_logged(wanted: Range, names: set[str]) -> None:
    """What was logged of an earlier one within the span does not make it one of the span."""
    assert set(await gathered(FakeReader(LOG), wanted)) == names


async def test_what_comes_long_after_the_answer_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gather, "SETTLE", 1)
    log = [*LOG, "ev.discard.acme.A.0.operator"]
    assert (await gathered(FakeReader(log), Range()))["A"] == [1, 3, 5, 8]
    assert set(await gathered(FakeReader(log), Range(since=2))) == {"B", "C"}


async def test_memory_stays_within_the_budget() -> None:
    waiting = [f"ev.request.acme.W{n}.0" for n in range(50)]
    log = [*waiting, *(f"ev.answer.acme.W{n}.0" for n in range(50))]
    reader = FakeReader(log, b"x" * 1_000)
    gatherer = Gatherer(reader, Range(), budget=10_000)  # type: ignore[arg-type]
    most, count = 0, 0
    async for messages in gatherer.requests():
        assert len(messages) == 2
        count += 1
        most = max(most, gatherer.held)
    assert count == 50
    assert most <= 12_000
    assert reader.single > 50  # what was let go was read again


def test_a_message_survives_its_file_form() -> None:
    for body in (b'{"a": 1}', b"\xff\x00"):
        one = LogMessage("ev.request.acme.A.0", 7, NOW, {"ce-id": "x"}, body)
        assert LogMessage.from_json(json.dumps(one.to_json())) == one
        assert LogMessage.unpacked(one.packed()) == one
    for bad in ("", "[]", "{}", '{"subject": 1}'):
        with pytest.raises(ValueError, match=r".*"):
            LogMessage.from_json(bad)


@pytest.mark.parametrize(
    ("since", "where"),
    [("yesterday", []), ("1.5h", []), (None, ["status=x"]), (None, ["tenant"]), (None, ["code=*"])],
)
def test_a_selection_that_means_nothing_is_an_error(since: str | None, where: list[str]) -> None:
    with pytest.raises(UserError):
        selection([], since, None, where)


def test_nothing_selected_is_an_error() -> None:
    with pytest.raises(UserError, match="which requests"):
        selection([], None, None, [])
    with pytest.raises(UserError, match="no request id"):
        selection(["../etc"], None, None, [])


def test_a_diff_shows_where_long_texts_part() -> None:
    before, now = "same " * 100 + "old" + " end" * 100, "same " * 100 + "new" + " end" * 100
    first, second = as_diff(before, now)
    assert "old end" in first
    assert "new end" in second
    assert max(len(first), len(second)) < 200
    assert as_diff(1, None) == ["  - 1", "  + null"]
