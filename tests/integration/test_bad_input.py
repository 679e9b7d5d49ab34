"""What a producer may send that it should not: a clear reason every time, and life goes on."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.broker import connected
from tests.support.system import QUESTION, a_request, running_system, sdk, wait_logged

from interlock.cli.system import System
from interlock.runtime.broker.connect import BrokerClient, PermissionDenied
from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings
from interlock.sdk.producer import Producer, RequestConflict, RequestRejected
from interlock_contracts.answer import AnswerStatus, DeadLetter
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.failures import AREA_OF, FailureCode
from interlock_contracts.ids import new_request_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Site:
    system: System
    producer: Producer
    client: BrokerClient

    async def publish(
        self,
        request_id: str,
        body: bytes,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """As a producer with nothing but a NATS client; what the broker says."""
        subject = f"ev.request.acme.{request_id}.0"
        reply = await self.client.request(subject, body, headers=headers)
        answer: dict[str, Any] = json.loads(reply.data)
        return answer

    async def dead_letter(self, request_id: str = "*", step: str = "request-0-0") -> DeadLetter:
        pattern = f"ev.dead.acme.{request_id}.{step}.intent-router"
        letter = (await wait_logged(self.system.broker, pattern))[-1].event().data
        assert isinstance(letter, DeadLetter)
        return letter

    async def still_works(self) -> None:
        answer = await self.producer.ask(QUESTION, user="maria", role="customer")
        assert answer.status is AnswerStatus.ANSWERED


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    state = tmp_path_factory.mktemp("bad-input")
    async with (
        running_system(state) as system,
        await sdk(system.broker) as producer,
        connected(system.broker, "producer-acme") as client,
    ):
        yield Site(system, producer, client)


def body_of(request_id: str, changes: dict[str, Any] | None = None) -> bytes:
    """The JSON of a request with these fields set, valid or not."""
    given = json.loads(a_request(QUESTION).model_dump_json()) | {"request_id": request_id}
    return json.dumps(given | (changes or {})).encode()


@dataclass
class Bad:
    """One way to be wrong. `says` stands in the reason the producer gets."""

    code: FailureCode
    says: str
    changes: dict[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    headers: dict[str, str] | None = None


C = FailureCode
BAD = {
    "malformed JSON": Bad(C.MALFORMED_JSON, "body", raw=b'{"request_id": "01'),
    "not UTF-8": Bad(C.MALFORMED_JSON, "body", raw=b'{"text": "\xff\xfe"}'),
    "no object": Bad(C.EVENT_INVALID, "body", raw=b"[1, 2]"),
    "no body": Bad(C.MALFORMED_JSON, "body", raw=b""),
    "endless nesting": Bad(C.MALFORMED_JSON, "body", raw=b"[" * 100_000),
    "wrong version": Bad(
        C.VERSION_UNSUPPORTED, "interlock.request.v9", headers={"ce-type": "interlock.request.v9"}
    ),
    "another type of event": Bad(
        C.VERSION_UNSUPPORTED, "interlock.proposal.v1", headers={"ce-type": "interlock.proposal.v1"}
    ),
    "unknown field": Bad(C.EVENT_INVALID, "not permitted", {"temperature": 0.7}),
    "missing field": Bad(C.EVENT_INVALID, "principal", {"principal": None}),
    "wrong tenant in the body": Bad(C.TENANT_BOUNDARY, "tenant", {"tenant": "globex"}),
    "wrong request id in the body": Bad(
        C.EVENT_INVALID, "request_id", {"request_id": "01JD0000000000000000000000"}
    ),
    "oversize text": Bad(C.OVERSIZE, "text", {"text": "x" * 16_385}),
    "1 MB of text": Bad(C.OVERSIZE, "262,144", {"text": "x" * 1_000_000}),
    "empty text": Bad(C.TEXT_INVALID, "empty", {"text": ""}),
    "blank text": Bad(C.TEXT_INVALID, "empty", {"text": " \n\t "}),
    "control characters": Bad(C.TEXT_INVALID, "U+0000", {"text": "refund\u0000 me"}),
    "escape sequence": Bad(C.TEXT_INVALID, "U+001B", {"text": "\x1b[2J"}),
    "a time that is none": Bad(C.EVENT_INVALID, "deadline", {"deadline": "tomorrow"}),
    "a bundle of its own making": Bad(
        C.MALFORMED_JSON, "body", raw=b"{", headers={"ce-bundle": "../../etc/passwd"}
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_a_bad_request_is_refused_with_its_reason_and_kept(site: Site, bad: Bad) -> None:
    request_id = new_request_id()
    body = body_of(request_id, bad.changes) if bad.raw is None else bad.raw
    ack = await site.publish(request_id, body, bad.headers)
    assert "error" not in ack
    answer = await site.producer.answer(request_id, timeout=10)
    letter = await site.dead_letter(request_id)
    assert answer.status is AnswerStatus.REFUSED
    (why,) = answer.failures
    assert (why.area, why.code) == (AREA_OF[bad.code], bad.code)
    assert bad.says in why.message
    assert bad.says in answer.text
    assert letter.failure == why
    assert (letter.sequence, letter.original_digest) == (ack["seq"], digest_bytes(body))
    assert letter.original == body
    await site.still_works()


async def test_the_reason_never_repeats_what_was_sent(site: Site) -> None:
    request_id = new_request_id()
    secret = "my-card-4111-1111"
    await site.publish(request_id, body_of(request_id, {"text": {secret: secret}, secret: secret}))
    answer = await site.producer.answer(request_id, timeout=10)
    assert answer.status is AnswerStatus.REFUSED
    assert secret not in answer.model_dump_json()


async def test_two_bad_requests_that_claim_the_same_event_id_both_get_their_reason(
    site: Site,
) -> None:
    for _ in range(2):
        request_id = new_request_id()
        await site.publish(request_id, b"{", {"ce-id": "the-same"})
        answer = await site.producer.answer(request_id, timeout=5)
        assert answer.failures[0].code is C.MALFORMED_JSON
        assert (await site.dead_letter(request_id)).failure.code is C.MALFORMED_JSON


async def test_headers_that_are_no_text_do_not_stop_the_service(site: Site) -> None:
    request_id = new_request_id()
    block = b"NATS/1.0\r\nce-id: \xff\xfe\r\nx-\xc3\xa9: \x01\xff\r\n\r\n"
    body = b"{"
    subject = f"ev.request.acme.{request_id}.0"
    await site.client._send_command(  # the client itself would not send such headers
        f"HPUB {subject} {len(block)} {len(block) + len(body)}\r\n".encode()
        + block
        + body
        + b"\r\n"
    )
    await site.client.flush()
    answer = await site.producer.answer(request_id, timeout=10)
    assert answer.failures[0].code is C.MALFORMED_JSON
    letter = await site.dead_letter(request_id)
    assert letter.original == body
    await site.still_works()


async def test_an_unknown_event_is_refused_by_the_broker_at_once(site: Site) -> None:
    for subject in (
        f"ev.wish.acme.{new_request_id()}.0",
        f"ev.request.acme.{new_request_id()}",
        f"ev.request.acme.{new_request_id()}.0.more",
    ):
        async with asyncio.timeout(2):
            with pytest.raises(PermissionDenied, match=subject):
                await site.client.request(subject, b"{}", timeout=10)
    await site.still_works()


@pytest.mark.parametrize(
    "token", ["not-a-ulid", "x", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "\u00e9t\u00e9"]
)
async def test_a_request_id_that_is_none_becomes_a_dead_letter(site: Site, token: str) -> None:
    ack = await site.publish(token, body_of(token))
    assert "error" not in ack
    shown = "".join(char if char.isascii() else "_" for char in token)
    letter = await site.dead_letter(shown)
    expected = C.EVENT_INVALID if token.isascii() else C.SUBJECT_INVALID
    assert (letter.failure.code, letter.subject) == (expected, f"ev.request.acme.{token}.0")
    await site.still_works()


@pytest.mark.parametrize("token", [b"bell\x07", b"\xff\xfe"], ids=["control", "not UTF-8"])
async def test_a_subject_that_is_no_text_does_not_stop_the_service(
    site: Site, token: bytes
) -> None:
    await site.client._send_command(b"PUB ev.request.acme.%b.0 2\r\n{}\r\n" % token)
    await site.client.flush()
    shown = {b"bell\x07": "bell_", b"\xff\xfe": "__"}[token]
    assert (await site.dead_letter(shown)).failure.code is C.SUBJECT_INVALID
    await site.still_works()


async def test_an_expired_deadline_fails_and_nothing_runs(site: Site) -> None:
    request = a_request(
        "Please refund $10.00 of order A-1001, it arrived damaged",
        deadline=datetime.now(UTC) - timedelta(seconds=1),
    )
    assert await site.producer.submit(request)
    answer = await site.producer.answer(request.request_id, timeout=10)
    assert answer.status is AnswerStatus.FAILED
    assert [why.code for why in answer.failures] == [C.DEADLINE_EXCEEDED]
    assert not answer.actions
    events = await wait_logged(site.system.broker, f"ev.*.acme.{request.request_id}.>", 2)
    assert [message.subject.split(".")[1] for message in events] == ["request", "answer"]
    await site.still_works()


async def test_a_request_id_used_twice_with_the_sdk(site: Site) -> None:
    first = a_request(QUESTION)
    assert await site.producer.submit(first)
    assert not await site.producer.submit(first)
    with pytest.raises(RequestConflict, match=first.request_id):
        await site.producer.submit(first.model_copy(update={"text": "Something else"}))
    answer = await site.producer.answer(first.request_id)
    assert answer.status is AnswerStatus.ANSWERED
    standing = await wait_logged(site.system.broker, f"ev.request.acme.{first.request_id}.0")
    assert standing[0].event().data == first


async def test_a_request_id_used_twice_without_the_sdk(site: Site) -> None:
    request_id = new_request_id()
    first = body_of(request_id)
    assert "error" not in await site.publish(request_id, first)
    for body in (first, body_of(request_id, {"text": "Something else"})):
        ack = await site.publish(request_id, body)
        assert ack["error"]["err_code"] in (10071, 10077)
    answer = await site.producer.answer(request_id)
    assert answer.status is AnswerStatus.ANSWERED
    standing = await wait_logged(site.system.broker, f"ev.request.acme.{request_id}.0")
    assert [message.body for message in standing] == [first]


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "empty"), ("a\u0007b", r"U\+0007"), ("x" * 16_385, "16384"), ("x" * 1_000_000, "16384")],
    ids=["empty", "control", "oversize", "1 MB"],
)
async def test_the_sdk_sends_nothing_that_breaks_the_contract(
    site: Site, text: str, says: str
) -> None:
    with pytest.raises(RequestRejected, match=says) as caught:
        await site.producer.ask(text, user="maria", role="customer")
    assert len(str(caught.value)) < 200


async def test_a_bundle_that_does_not_compile_is_said_before_anything_starts(
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "bundle.yaml"
    bundle.write_text("name: broken\nversion: '1'\nintents: {a: {risk: enormous}}\n")
    with pytest.raises(UserError, match=r"bundle\.yaml.*risk") as caught:
        async with System(Settings(state=tmp_path / "state", bundle=bundle)):
            pass
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "state" / "broker").exists()


async def test_everything_ended_in_answers_and_dead_letters_only(site: Site) -> None:
    """Last: no consumer holds a message that it can neither finish nor hand back."""
    async with connected(site.system.broker, "operator") as client, asyncio.timeout(15):
        for durable in ("intent-router", "retriever", "generator", "audit-sink"):
            while True:
                reply = await client.request(f"$JS.API.CONSUMER.INFO.EV.{durable}")
                info = json.loads(reply.data)
                if not info["num_ack_pending"] and not info["num_pending"]:
                    break
                await asyncio.sleep(0.1)  # the broker offers no event for this
