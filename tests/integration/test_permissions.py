"""What each credential may do on the real broker, and what the broker refuses.

A refusal is a `PermissionDenied` at once; none of these tests waits for a timeout.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from tests.support.broker import TOPOLOGY, call, connected

from interlock.runtime.broker.connect import BrokerClient, PermissionDenied, connect
from interlock.runtime.broker.credentials import ensure_credentials
from interlock.runtime.broker.permissions import ERASER, users
from interlock.runtime.broker.server import EmbeddedBroker
from interlock_contracts.ids import new_request_id
from interlock_contracts.table import SERVICES

STREAM = TOPOLOGY.stream
WRITE_ONCE = 10077
AT_ONCE = 2.0
"""Seconds. A refusal takes about one millisecond; the request's own timeout is longer."""


@pytest.fixture
def rid() -> str:
    return new_request_id()


async def stored(broker: EmbeddedBroker, subject: str) -> dict[str, Any] | None:
    """What the log holds under `subject`, as an operator reads it."""
    async with connected(broker, "operator") as operator:
        answer = await call(operator, f"$JS.API.STREAM.MSG.GET.{STREAM}", {"last_by_subj": subject})
        return answer.get("message")


async def fetch(client: BrokerClient, durable: str) -> Any:
    """Pull one message from a durable."""
    body = json.dumps({"batch": 1, "expires": 4_000_000_000}).encode()
    inbox = client.new_inbox()
    delivered = await client.subscribe(inbox)
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{durable}"
    with client.violations.watch(subject) as refused:
        await client.publish(subject, body, reply=inbox)
        await client.settle()
        if refused.done():
            refused.result()
    return await delivered.next_msg(timeout=AT_ONCE)


FORBIDDEN_PUBLISHES = [
    ("generator", "ev.approved.acme.{rid}.1-0.create_refund"),
    ("generator", "ev.verdict.acme.{rid}.1"),
    ("generator", "ev.dead.acme.{rid}.0.retriever"),
    ("intent-router", "ev.proposal.acme.{rid}.1"),
    ("retriever", "ev.route.acme.{rid}.0"),
    ("contract-validator", "ev.reviewed.acme.{rid}.1-0.boss"),
    ("contract-validator", "ev.request.acme.{rid}.0"),
    ("tool-executor", "ev.approved.acme.{rid}.1-0.create_refund"),
    ("tool-executor", "ev.result.acme.{rid}.1-0.send_mail"),
    ("executor-mailer", "ev.approved.acme.{rid}.1-0.send_mail"),
    ("executor-mailer", "ev.reserved.acme.{rid}.1-0.create_refund"),
    ("executor-mailer", "ev.dead.acme.{rid}.1-0.tool-executor"),
    ("audit-sink", "ev.answer.acme.{rid}.1"),
    ("producer-acme", "ev.request.globex.{rid}.0"),
    ("producer-acme", "ev.confirmed.globex.{rid}.1-0"),
    ("producer-acme", "ev.reviewed.acme.{rid}.1-0.boss"),
    ("producer-acme", "ev.answer.acme.{rid}.1"),
    ("producer-acme", "ev.request.acme.{rid}"),
    ("producer-acme", "ev.document.acme.{rid}.1-0"),
    ("retriever", "ev.document.acme.{rid}.1-0"),
    ("ingest-acme", "ev.document.globex.{rid}.1-0"),
    ("ingest-acme", "ev.request.acme.{rid}.0"),
    ("reviewer-acme", "ev.reviewed.globex.{rid}.1-0.boss"),
    ("reviewer-acme", "ev.confirmed.acme.{rid}.1-0"),
    ("reviewer-acme", "ev.answer.acme.{rid}.0"),
    ("generator", "ev.answer_review.acme.{rid}.1-answer"),
    ("producer-acme", "ev.reviewed.acme.{rid}.1-answer.boss"),
    ("operator", "ev.approved.acme.{rid}.1-0.create_refund"),
    ("operator", "ev.dead.acme.{rid}.0.retriever"),
    ("replay", "ev.proposal.acme.{rid}.1"),
    ("replay", "ev.request.acme.{rid}.0"),
    ("provisioner", "ev.request.acme.{rid}.0"),
]


@pytest.mark.parametrize(("user", "subject"), FORBIDDEN_PUBLISHES)
async def test_publishing_what_is_not_ones_own_is_refused(
    broker: EmbeddedBroker, rid: str, user: str, subject: str
) -> None:
    subject = subject.format(rid=rid)
    async with connected(broker, user) as client, asyncio.timeout(AT_ONCE):
        with pytest.raises(PermissionDenied, match=user) as refused:
            await client.request(subject, b"{}", timeout=30)
        assert refused.value.subject == subject
        with pytest.raises(PermissionDenied):
            await client.publish_checked(subject, b"{}")
    assert await stored(broker, subject) is None


ALLOWED_PUBLISHES = [
    ("intent-router", "ev.route.acme.{rid}.0"),
    ("retriever", "ev.context.acme.{rid}.0"),
    ("generator", "ev.proposal.acme.{rid}.1"),
    ("generator", "ev.dead.acme.{rid}.1.generator"),
    ("contract-validator", "ev.approved.acme.{rid}.1-0.create_refund"),
    ("contract-validator", "ev.answer.globex.{rid}.1"),
    ("contract-validator", "ev.answer_review.acme.{rid}.1-answer"),
    ("tool-executor", "ev.result.acme.{rid}.1-0.create_refund"),
    ("executor-mailer", "ev.reserved.acme.{rid}.1-0.send_mail"),
    ("executor-mailer", "ev.dead.acme.{rid}.1-0.executor-mailer"),
    ("producer-acme", "ev.request.acme.{rid}.0"),
    ("producer-globex", "ev.confirmed.globex.{rid}.1-0"),
    ("reviewer-acme", "ev.reviewed.acme.{rid}.1-0.boss"),
    ("ingest-acme", "ev.document.acme.{rid}.1-0"),
    ("operator", "ev.retry.acme.{rid}.1.generator"),
    ("operator", "ev.discard.acme.{rid}.1.generator"),
]


@pytest.mark.parametrize(("user", "subject"), ALLOWED_PUBLISHES)
async def test_publishing_ones_own_is_logged_exactly_once(
    broker: EmbeddedBroker, rid: str, user: str, subject: str
) -> None:
    """Write-once holds for a bare publisher too: no header, no Msg-Id."""
    subject = subject.format(rid=rid)
    async with connected(broker, user) as client:
        first = await call(client, subject, {"n": 1})
        assert first["stream"] == STREAM
        second = await call(client, subject, {"n": 2})
    assert second["error"]["err_code"] == WRITE_ONCE
    found = await stored(broker, subject)
    assert found is not None
    assert found["seq"] == first["seq"]


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("producer-acme", "ev.answer.globex.>"),
        ("producer-acme", "ev.answer.>"),
        ("producer-acme", "ev.review.acme.>"),
        ("producer-acme", "_INBOX_producer-globex.>"),
        ("reviewer-acme", "ev.review.globex.>"),
        ("producer-acme", "ev.answer_review.acme.>"),
        ("reviewer-acme", "ev.answer_review.globex.>"),
        ("generator", "ev.>"),
        ("generator", "_INBOX.>"),
        ("retriever", "ev.fact.*.*"),
        ("executor-mailer", "ev.fact.*.create_refund"),
        ("replay", "ev.request.>"),
    ],
)
async def test_listening_to_others_is_refused(
    broker: EmbeddedBroker, user: str, subject: str
) -> None:
    async with connected(broker, user) as client, asyncio.timeout(AT_ONCE):
        with pytest.raises(PermissionDenied, match=user):
            await client.subscribe_checked(subject)


async def test_a_producer_sees_its_own_answers_live_and_afterwards(
    broker: EmbeddedBroker, rid: str
) -> None:
    subject = f"ev.answer.acme.{rid}.1"
    get = f"$JS.API.DIRECT.GET.{STREAM}.{subject}"
    async with (
        connected(broker, "contract-validator") as gate,
        connected(broker, "producer-acme") as acme,
        connected(broker, "producer-globex") as globex,
    ):
        live = await acme.subscribe_checked("ev.answer.acme.>")
        missing = await acme.request(get)
        assert missing.headers is not None
        assert missing.headers["Status"] == "404"
        await call(gate, subject, {"text": "for acme"})
        assert (await live.next_msg(timeout=AT_ONCE)).data == b'{"text": "for acme"}'
        assert (await acme.request(get)).data == b'{"text": "for acme"}'
        async with asyncio.timeout(AT_ONCE):
            with pytest.raises(PermissionDenied):
                await globex.request(get, timeout=30)
            for api in (f"STREAM.MSG.GET.{STREAM}", f"DIRECT.GET.{STREAM}"):
                with pytest.raises(PermissionDenied):
                    await globex.request(f"$JS.API.{api}", b'{"seq":1}', timeout=30)


async def test_a_live_listener_hears_only_what_the_log_accepted(
    broker: EmbeddedBroker, rid: str
) -> None:
    """A second answer is refused by the log; a batch is heard once it is committed."""
    answer, notice = f"ev.answer.acme.{rid}.1", f"ev.notice.acme.{rid}.1-0"
    async with (
        connected(broker, "contract-validator") as gate,
        connected(broker, "producer-acme") as acme,
    ):
        live = await acme.subscribe_checked("ev.answer.acme.>")
        notices = await acme.subscribe_checked("ev.notice.acme.>")
        batch = {"Nats-Batch-Id": rid}
        await gate.request(notice, b"n", headers={**batch, "Nats-Batch-Sequence": "1"})
        commit = {**batch, "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
        await gate.request(answer, b"first", headers=commit)
        assert "error" in await call(gate, answer, "second")
        await call(gate, f"ev.answer.acme.{rid}.2", "third")
        heard = [(await live.next_msg(timeout=AT_ONCE)).data for _ in range(2)]
        assert (await notices.next_msg(timeout=AT_ONCE)).data == b"n"
    assert heard == [b"first", b'"third"']


async def test_a_stage_pulls_and_acks_its_own_messages_only(
    broker: EmbeddedBroker, rid: str
) -> None:
    async with (
        connected(broker, "intent-router") as router,
        connected(broker, "retriever") as retriever,
        connected(broker, "generator") as generator,
    ):
        await call(router, f"ev.route.globex.{rid}.0", {})
        message = await fetch(retriever, "retriever")
        assert message.subject.startswith("ev.route.")
        async with asyncio.timeout(AT_ONCE):
            for user in (router, generator):
                with pytest.raises(PermissionDenied):
                    await fetch(user, "retriever")
                with pytest.raises(PermissionDenied):
                    await user.publish_checked(message.reply, b"+ACK")
                with pytest.raises(PermissionDenied):
                    await user.request(f"$JS.API.CONSUMER.INFO.{STREAM}.retriever", timeout=30)
        before = await call(retriever, f"$JS.API.CONSUMER.INFO.{STREAM}.retriever")
        await retriever.request(message.reply, b"+ACK")
        after = await call(retriever, f"$JS.API.CONSUMER.INFO.{STREAM}.retriever")
    assert before["num_ack_pending"] == after["num_ack_pending"] + 1


@pytest.mark.parametrize(
    ("actor", "api"),
    [
        (user.name, api)
        for user in users(TOPOLOGY)
        if not user.trusted
        for api in (
            f"STREAM.DELETE.{STREAM}",
            f"STREAM.PURGE.{STREAM}",
            f"STREAM.UPDATE.{STREAM}",
            f"STREAM.MSG.DELETE.{STREAM}",
            "STREAM.CREATE.other",
            f"CONSUMER.DELETE.{STREAM}.generator",
            f"CONSUMER.CREATE.{STREAM}.generator",
            f"CONSUMER.DURABLE.CREATE.{STREAM}.generator",
        )
        if (user.name, api) != (ERASER, f"STREAM.MSG.DELETE.{STREAM}")  # it is there for that
    ],
)
async def test_nobody_but_the_provisioner_changes_streams_or_consumers(
    broker: EmbeddedBroker, actor: str, api: str
) -> None:
    async with connected(broker, actor) as client, asyncio.timeout(AT_ONCE):
        with pytest.raises(PermissionDenied, match=actor):
            await client.request(f"$JS.API.{api}", b"{}", timeout=30)


@pytest.mark.parametrize("user", ["producer-acme", "generator", "executor-mailer", "replay"])
async def test_a_reply_subject_is_no_way_around_the_permissions(
    broker: EmbeddedBroker, rid: str, user: str
) -> None:
    """JetStream answers to any reply subject a client names; the answer must not be logged."""
    own = {
        "producer-acme": f"ev.request.acme.{rid}.0",
        "generator": f"ev.proposal.acme.{rid}.1",
        "executor-mailer": f"ev.result.acme.{rid}.1-0.send_mail",
        "replay": f"rp.proposal.acme.{rid}.1",
    }[user]
    targets = [
        f"ev.reviewed.acme.{rid}.1-0.boss",
        f"ev.approved.acme.{rid}.1-0.create_refund",
        f"ev.answer.globex.{rid}.1",
    ]
    readable = f"$JS.API.DIRECT.GET.{STREAM}.{own}"
    reads = [readable, f"$JS.API.STREAM.MSG.GET.{STREAM}"]
    async with connected(broker, user) as client:
        await client.publish(own, b'{"forged": true}', reply=targets[0])
        for subject, target in zip(reads, targets[1:], strict=True):
            await client.publish(subject, b'{"seq": 1}', reply=target)
        await client.publish(readable, reply=f"$JS.API.STREAM.DELETE.{STREAM}")
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{user}", b"1", reply=targets[0])
        await client.settle()
        # The broker has all of them; a write and its acknowledgement come after their answers.
        async with connected(broker, "operator") as operator:
            await call(operator, f"ev.discard.acme.{rid}.0.generator", {})
    for target in targets:
        assert await stored(broker, target) is None


async def test_the_gate_asks_executors_for_facts_and_each_answers_for_its_tools(
    broker: EmbeddedBroker,
) -> None:
    async with (
        connected(broker, "contract-validator") as gate,
        connected(broker, "tool-executor") as inhouse,
        connected(broker, "executor-mailer") as mailer,
        connected(broker, "generator") as generator,
    ):
        with pytest.raises(nats.errors.NoRespondersError):
            await gate.request("ev.fact.acme.order_status", b"{}")

        async def paid(message: Any) -> None:
            await message.respond(b"paid")

        async def sent(message: Any) -> None:
            await message.respond(b"sent")

        await inhouse.subscribe_checked("ev.fact.*.order_status", cb=paid)
        await mailer.subscribe_checked("ev.fact.*.send_mail", cb=sent)
        assert (await gate.request("ev.fact.acme.order_status", b"{}")).data == b"paid"
        assert (await gate.request("ev.fact.acme.send_mail", b"{}")).data == b"sent"
        with pytest.raises(PermissionDenied):
            await generator.request("ev.fact.acme.order_status", b"{}")


async def test_every_service_reads_its_consumer_and_the_log(
    broker: EmbeddedBroker, rid: str
) -> None:
    async with connected(broker, "producer-acme") as acme:
        sequence = (await call(acme, f"ev.request.acme.{rid}.0", {}))["seq"]
    for user in SERVICES:
        async with connected(broker, user) as client:
            info = await call(client, f"$JS.API.CONSUMER.INFO.{STREAM}.{user}")
            assert info["name"] == user
            get = f"$JS.API.STREAM.MSG.GET.{STREAM}"
            assert (await call(client, get, {"seq": sequence}))["message"]["seq"] == sequence


async def test_a_malformed_address_is_refused_by_the_broker(
    broker: EmbeddedBroker, rid: str
) -> None:
    """No stream answers an event's address with a token too many."""
    async with connected(broker, "producer-acme") as acme:
        with pytest.raises(PermissionDenied):
            await acme.request(f"ev.request.acme.{rid}.0.extra", b"{}", timeout=30)


async def test_a_batch_with_one_taken_subject_stores_nothing(
    broker: EmbeddedBroker, rid: str
) -> None:
    first, taken = f"ev.confirmed.acme.{rid}.1-0", f"ev.request.acme.{rid}.0"
    async with connected(broker, "producer-acme") as acme:
        await call(acme, taken, {})
        batch = {"Nats-Batch-Id": rid}
        await acme.request(first, b"{}", headers={**batch, "Nats-Batch-Sequence": "1"})
        commit = {**batch, "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
        reply = await acme.request(taken, b"{}", headers=commit)
    assert json.loads(reply.data)["error"]["err_code"] == WRITE_ONCE
    assert await stored(broker, first) is None


async def test_violations_are_told_to_those_who_do_not_wait(
    broker: EmbeddedBroker, rid: str
) -> None:
    subject = f"ev.approved.acme.{rid}.1-0.create_refund"
    told: list[str] = []
    async with connected(broker, "generator") as client:
        client.on_violation(told.append)
        await client.publish(subject, b"{}")
        await client.settle()
    assert told == [subject.lower()]


async def test_an_unknown_credential_is_refused_at_once(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    stranger = ensure_credentials(tmp_path, ["generator"])["generator"]
    async with asyncio.timeout(AT_ONCE):
        with pytest.raises(PermissionDenied, match="generator"):
            await connect(broker.url, stranger, name="stranger", wait=30)
