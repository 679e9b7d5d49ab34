"""Personal data is on the log once, in the request: looked for in all messages and log lines."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import structlog
from tests.support.system import logged, rows, running_system, sdk

from interlock.cli.system import System
from interlock.replay.verify import verify_request
from interlock.runtime.log import StoredMessage
from interlock.runtime.wiring import bundles_of
from interlock.sdk.producer import Producer
from interlock_contracts.actions import Confirm, Grant
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.request import Turn

PLANTED = {
    "email": "ana.b@example.com",
    "phone": "+1 905-674-3793",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
}
ABOUT_ME = (
    f"My card is {PLANTED['card']}, my account {PLANTED['iban']}, call me at {PLANTED['phone']}."
)


def forms(value: str) -> Iterator[bytes]:
    """How a value could hide in a message: as it is, without spaces, in base64 at any offset."""
    for text in (value, value.replace(" ", ""), value.replace(" ", "").replace("-", "")):
        yield text.encode()
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + text.encode())
            yield encoded[4:-4]


def test_the_scan_finds_what_it_looks_for() -> None:
    hidden = base64.b64encode(b'{"x": "' + PLANTED["email"].encode() + b'"}')
    assert any(form in hidden for form in forms(PLANTED["email"]))
    assert any(form in b'"DE89370400440532013000"' for form in forms(PLANTED["iban"]))


@pytest.fixture
def logging() -> Iterator[None]:
    """Everything is logged to the output of the moment, whatever tests before have configured."""
    before = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("logging")
async def test_no_message_and_no_log_line_repeats_personal_data(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """An answer, a confirmed action with an address, one that is refused, and a refusal."""
    email = PLANTED["email"]
    asked = {
        f"How many days do I have to return something? {email}": AnswerStatus.ANSWERED,
        f"Please email the receipt of order A-1001 to {email}. {ABOUT_ME}": AnswerStatus.ANSWERED,
        f"Please email the receipt of order A-1003 to {email}. {ABOUT_ME}": AnswerStatus.REFUSED,
        f"Write me a poem about {email}. {ABOUT_ME}": AnswerStatus.REFUSED,
    }
    async with running_system(tmp_path, log_level="debug") as system:
        async with await sdk(system.broker) as producer:
            for text, status in asked.items():
                assert await follow(producer, text) is status, text
        messages = await logged(system.broker, "ev.>")
        await check_replays(messages, system)
    for message in messages:
        check_message(message)
    grants = [data for one in messages if isinstance(data := one.event().data, Grant)]
    assert [grant.arguments["email"] for grant in grants] == [email]
    assert rows(tmp_path / "shop.sqlite", "SELECT email FROM outbox") == [(email,)]
    captured = capfd.readouterr()
    lines = captured.out + captured.err + caplog.text
    assert "serving" in lines
    check_bytes("the lines of the services", lines.encode(), PLANTED)


async def follow(producer: Producer, text: str) -> AnswerStatus:
    """Ask, confirm what is asked about, and see that the requester reads their own values."""
    history = [Turn(role="user", text=f"Hello, I am {PLANTED['email']}.")]
    request = producer.request(text, user="maria", role="customer", history=history)
    await producer.submit(request)
    async for event in producer.follow(request.request_id):
        if isinstance(event.data, Confirm):
            assert event.data.arguments["email"] == PLANTED["email"]
            assert event.data.summary.endswith(PLANTED["email"])
            await producer.decide(event.data, request.request_id, approve=True, user="maria")
        if isinstance(event.data, Answer):
            assert "EMAIL_1" not in event.data.text
            return event.data.status
    raise AssertionError("it ended without an answer")


async def check_replays(messages: Sequence[StoredMessage], system: System) -> None:
    """Every request comes out again the same, the gate's part too."""
    events = [message.event() for message in messages]
    for request_id in {event.subject.request_id for event in events}:
        own = [event for event in events if event.subject.request_id == request_id]
        found = await verify_request(own, bundles_of(system.settings))
        assert found.identical, found.first
        assert not found.pending


def check_message(message: StoredMessage) -> None:
    kind = message.event().subject.event
    planted = {} if kind == "request" else PLANTED
    if kind == "approved":
        planted = {name: value for name, value in PLANTED.items() if name != "email"}
    check_bytes(message.subject, message.body + str(message.headers).encode(), planted)


def check_bytes(where: str, content: bytes, planted: Mapping[str, str]) -> None:
    for name, value in planted.items():
        assert not any(form in content for form in forms(value)), f"{name} stands in {where}"
