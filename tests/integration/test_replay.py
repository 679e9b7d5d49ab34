"""Requests that really ran, run again: identical, and not so once something was tampered with."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from examples.support import shop
from tests.support.broker import connected

from interlock.audit_sink.places import open_reader
from interlock.bundles.compile import compile_bundle
from interlock.bundles.model import Bundle
from interlock.bundles.store import FileBundles
from interlock.cli.system import System
from interlock.replay.log import Entry, Unreadable
from interlock.replay.report import Verification
from interlock.replay.verify import verify_request
from interlock.runtime.broker.connect import PermissionDenied
from interlock.runtime.commit import EXPECT_NEW, Committer
from interlock.runtime.health import consumer_info
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings
from interlock.runtime.wiring import bundles_of
from interlock.sdk.producer import Producer
from interlock_contracts.actions import Confirm, Decided, Review
from interlock_contracts.answer import Answer, DeadLetter, Retry
from interlock_contracts.base import Model
from interlock_contracts.canonical import canonical_json
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.ids import new_request_id
from interlock_contracts.subjects import Subject
from interlock_contracts.table import SERVICES

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTIONS = {
    "cited": ("acme", "maria", "customer", "How many days do I have to return an unused item?"),
    "cited-globex": ("globex", "noor", "customer", "Do you ship to Canada?"),
    "status": ("acme", "tom", "customer", "Where is my order A-1004?"),
    "status-other": ("acme", "maria", "customer", "Where is order A-1003?"),
    "poem": ("globex", "li", "customer", "Write me a poem about the sea."),
    "role": ("acme", "tom", "customer", "Draft a reply to Maria about her damaged trimmer"),
    "unknown-tool": ("acme", "maria", "customer", "Please refund $10.00 of order A-1001 by wire."),
    "fabricated": (
        "acme", "ines", "customer", "Within how many days can I return an unused wheelbarrow?",
    ),
    "not-json": ("acme", "ines", "customer", "How long does standard delivery to Hawaii take?"),
    "hidden": (
        "acme", "tom", "customer",
        "My forged border spade is faulty, as it was for others. I want my money back.",
    ),
    "too-much": (
        "acme", "maria", "customer", "Please refund $900.00 of order A-1001, it is damaged.",
    ),
    "refund": (
        "globex", "li", "customer", "Please refund $12.50 of order G-2005, it came late.",
    ),
    "review": (
        "acme", "maria", "customer",
        "Please refund $150.00 of order A-1002, the trimmer arrived damaged.",
    ),
    "denied": ("globex", "jonas", "customer", "Refund $120.00 of order G-2003, it came late."),
    "confirm": (
        "acme", "maria", "customer",
        "Change the address of order A-1006 to 12 Elm Street, Portland",
    ),
}  # fmt: skip
"""Requests by name: tenant, user, role, text. All six stages have a part in them."""

LANDED = {"refund", "review", "confirm"}
"""Those whose actions changed the shop, so that its facts are others now."""


@dataclass
class World:
    """A running system, and the requests that went through it, by name."""

    system: System
    settings: Settings
    requests: dict[str, str]
    answers: dict[str, Answer]

    def events(self, name: str) -> list[Entry]:
        """What was logged of a request, as the audit-sink keeps it: with the services' times."""
        return self.of(self.requests[name])

    def of(self, request: str) -> list[Entry]:
        """The same by the request's id, or by the ledger of a rule."""
        found: list[Entry] = []
        with open_reader(self.settings) as store:
            kept = store.by_request(request)
        for record in kept:
            try:
                found.append(record.decoded())
            except InvalidEvent as error:
                found.append(Unreadable(record.subject, error))
        return found

    async def verify(self, name: str) -> Verification:
        """The request run again over what the audit-sink kept."""
        return await verify_request(self.events(name), bundles_of(self.settings))


@asynccontextmanager
async def running_world(state: Path) -> AsyncIterator[World]:
    """A system with the misbehaving example, after all of `QUESTIONS` and some worse input."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP_DATABASE", str(state / "shop.sqlite"))
        shop.from_environment().seed()
        settings = Settings(state=state, bundle=Path("examples/support/misbehaving.yaml"))
        async with System(settings) as system:
            settings = settings.model_copy(update={"nats_url": system.broker.url})
            world = World(system, settings, {}, {})
            await asyncio.gather(*(_ask(world, name) for name in QUESTIONS))
            await _ask_too_late(world)
            await _send_nonsense(world)
            await _retry(world)
            await settled(world)
            yield world


async def _ask(world: World, name: str) -> None:
    """Ask, and decide as the requester and as a reviewer where somebody has to."""
    tenant, user, role, text = QUESTIONS[name]
    credentials = world.settings.state / "credentials"
    async with await Producer.connect(
        world.system.broker.url, credentials / f"producer-{tenant}.nk"
    ) as producer:
        request = producer.request(text, user=user, role=role, timeout=60)
        world.requests[name] = request.request_id
        await producer.submit(request)
        async for event in producer.follow(request.request_id):
            if isinstance(event.data, Answer):
                world.answers[name] = event.data
                return
            if isinstance(event.data, Confirm):
                await producer.decide(event.data, request.request_id, approve=True, user=user)
            elif event.subject.event == "notice" and name in ("review", "denied"):
                await _review(world, event.subject, name)


async def _review(world: World, about: Subject, name: str) -> None:
    """The requester tries first, which does not count; then a reviewer decides."""
    requester = QUESTIONS[name][1]
    async with connected(world.system.broker, "operator") as client:
        at = ("review", about.tenant, about.request_id, about.step)
        card = await JetStreamLog(client, "ev").read(*at)
    assert card is not None and isinstance(card.data, Review)
    verdict = "deny" if name == "denied" else "approve"
    for by in (requester, "rita"):
        decided = Decided(
            action=about.step,
            decision=verdict,  # type: ignore[arg-type]  # one of the two literals
            digest=card.data.digest,
            by=by,
        )
        await send(world, f"reviewer-{about.tenant}", replace_event(about, "reviewed", by), decided)


def replace_event(about: Subject, event: str, tail: str) -> Subject:
    """The address of another event of the same step."""
    return replace(about, event=event, tail=tail)


async def send(world: World, user: str, at: Subject, data: Model | bytes) -> None:
    """Publish as somebody from outside does: with no headers but the expectation."""
    body = data if isinstance(data, bytes) else data.model_dump_json().encode()
    async with connected(world.system.broker, user) as client:
        committer = Committer(client)
        await committer.commit_wire([(str(at), body, EXPECT_NEW)])
        await committer.close()


async def _ask_too_late(world: World) -> None:
    """A request whose deadline was over before it came in."""
    credential = world.settings.state / "credentials/producer-acme.nk"
    async with await Producer.connect(world.system.broker.url, credential) as producer:
        request = producer.request("Is the return label free?", user="tom", role="customer")
        past = datetime.now(UTC) - timedelta(seconds=5)
        await producer.submit(request.model_copy(update={"deadline": past}))
        world.requests["late"] = request.request_id
        world.answers["late"] = await producer.answer(request.request_id)


async def _send_nonsense(world: World) -> None:
    """A request that is not JSON: a dead letter, and a refusal."""
    world.requests["nonsense"] = new_request_id()
    at = Subject("ev", "request", "acme", world.requests["nonsense"], "0")
    await send(world, "producer-acme", at, b'{"text": ')
    await settled(world)


async def _retry(world: World) -> None:
    """An operator retries a dead letter that died of its own badness."""
    name = "nonsense"
    letter = next(
        one
        for one in world.events(name)
        if isinstance(one, Event) and isinstance(one.data, DeadLetter)
    )
    order = Retry(dead_letter=str(letter.subject), stage="intent-router", attempt=1, by="olga")
    at = Subject("ev", "retry", "acme", world.requests[name], "1", "intent-router")
    await send(world, "operator", at, order)


async def settled(world: World) -> None:
    """Wait until every consumer has acknowledged everything."""
    async with asyncio.timeout(20), connected(world.system.broker, "operator") as client:
        busy = True
        while busy:
            infos = [await consumer_info(client, "ev", name) for name in SERVICES]
            busy = any(info["num_pending"] or info["num_ack_pending"] for info in infos)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One system for the module."""
    async with running_world(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.mark.parametrize("name", [*QUESTIONS, "late", "nonsense"])
async def test_what_ran_is_reproduced(world: World, name: str) -> None:
    found = await world.verify(name)
    assert [str(one) for one in found.divergences] == []
    assert found.pending == ()
    assert found.reproduced > 0


def altered(events: list[Entry], event: str, path: str, value: object) -> list[Entry]:
    """The same events, but for one value in the data of the first event of that name."""
    result = list(events)
    for position, entry in enumerate(events):
        if isinstance(entry, Event) and entry.subject.event == event:
            cloudevent = entry.to_cloudevent()
            at: Any = cloudevent["data"]
            *parents, last = path.strip("/").split("/")
            for token in parents:
                at = at[int(token)] if isinstance(at, list) else at[token]
            key: Any = int(last) if isinstance(at, list) else last
            assert at[key] != value
            at[key] = value
            result[position] = Event.from_cloudevent(json.dumps(cloudevent))
            return result
    raise AssertionError(f"there is no {event}")


ANOTHER_ANSWER = json.dumps(
    {"statements": [{"text": "Never.", "citations": []}], "calls": [], "abstained": False}
)

PLANTED = [
    ("cited", "proposal", "/proposal/model/output", ANOTHER_ANSWER, "generator", "/proposal/"),
    ("cited", "context", "/context/chunks/0/text", "For ever.", "generator", "/context/chunks/0"),
    ("cited", "context", "/context/record/queries/0", "spades", "retriever", "/context/record/"),
    ("cited", "route", "/route/intent", "refund", "intent-router", "/route/intent"),
    ("cited", "answer", "/text", "Ninety days.", "contract-validator", "/text"),
    ("cited", "request", "/text", "Is there a warranty?", "intent-router", "/request/text"),
    ("refund", "approved", "/arguments/amount_cents", 9999, "contract-validator", "/arguments"),
    ("refund", "verdict", "/verdict/facts/0/error", "gone", "contract-validator", "/verdict/"),
    ("refund", "result", "/output", {"refund_id": "R-0"}, "generator", "/steps/0/results"),
    ("late", "answer", "/failures/0/message", "no time", "intent-router", "/failures/0/message"),
    ("nonsense", "dead", "/failure/message", "oh", "intent-router", "/text"),
]


@pytest.mark.parametrize(("name", "event", "path", "value", "stage", "pointer"), PLANTED)
async def test_what_was_tampered_with_is_named(
    world: World, name: str, event: str, path: str, value: object, stage: str, pointer: str
) -> None:
    events = altered(world.events(name), event, path, value)
    found = await verify_request(events, bundles_of(world.settings))
    assert found.first is not None
    assert not found.identical
    assert found.first.stage == stage
    assert found.first.pointer.startswith(pointer)
    assert found.first.recorded != found.first.replayed
    assert stage in str(found.first)


async def test_other_policies_than_those_it_ran_under_are_noticed(world: World) -> None:
    """The log says that a request ran on a bundle which would have forbidden its refund."""
    built = json.loads(canonical_json(bundles_of(world.settings).active()))
    built["policies"] = {
        name: f'@id("no-{name}") forbid (principal, action, resource);'
        for name in built["policies"]
    }
    other = Bundle.model_validate_json(json.dumps(built))
    old = bundles_of(world.settings).active().digest
    lines = [
        json.dumps(one.to_cloudevent()) for one in world.events("refund") if isinstance(one, Event)
    ]
    events = [Event.from_cloudevent(line.replace(old, other.digest)) for line in lines]
    found = await verify_request(events, FileBundles(other))
    assert found.first is not None
    assert found.first.stage == "contract-validator"
    assert found.first.pointer.startswith("/verdict/")


async def test_a_bundle_that_is_not_at_hand_is_no_identity(world: World) -> None:
    bundle = compile_bundle(Path("examples/support"))
    found = await verify_request(world.events("cited"), FileBundles(bundle))
    assert found.first is not None
    assert "bundle_unknown" in str(found.first)


@pytest.mark.parametrize("event", ["route", "context", "proposal", "verdict", "answer"])
async def test_an_output_that_is_gone_is_named(world: World, event: str) -> None:
    events = [
        one
        for one in world.events("cited")
        if not isinstance(one, Event) or one.subject.event != event
    ]
    found = await verify_request(events, bundles_of(world.settings))
    if event == "answer":  # then the verdict stands without it: all is stored, or nothing
        assert found.first is not None
        assert (found.first.recorded, found.first.replayed) == ("nothing", "the event")
    assert not found.identical


async def test_an_output_that_nobody_makes_is_named(world: World) -> None:
    events = world.events("cited")
    answer = events[-1]
    assert isinstance(answer, Event)
    second = replace(answer, subject=replace(answer.subject, step="1"), id="0" * 26)
    found = await verify_request([*events, second], bundles_of(world.settings))
    assert found.first is not None
    assert found.first.subject == str(second.subject)
    assert (found.first.recorded, found.first.replayed) == ("the event", "nothing")


async def test_an_id_that_does_not_follow_is_named(world: World) -> None:
    *events, answer = world.events("cited")
    assert isinstance(answer, Event)
    found = await verify_request([*events, replace(answer, id="X")], bundles_of(world.settings))
    assert found.first is not None
    assert (found.first.pointer, found.first.recorded) == ("id", "X")


@pytest.mark.parametrize("upto", [1, 2, 3, 4])
async def test_a_request_under_way_has_not_diverged(world: World, upto: int) -> None:
    found = await verify_request(world.events("cited")[:upto], bundles_of(world.settings))
    assert found.identical
    assert len(found.pending) == 1


async def test_the_live_log_is_reproduced_too(world: World) -> None:
    """Its reader cuts off nanoseconds that the services round."""
    async with connected(world.system.broker, "replay") as client:
        log = JetStreamLog(client, "ev")
        for name in QUESTIONS:
            stored = await log.of_request(world.requests[name])
            events = [message.event() for message in stored]
            found = await verify_request(events, bundles_of(world.settings))
            assert [str(one) for one in found.divergences] == []


async def test_a_replay_cannot_write_into_the_live_log(world: World) -> None:
    address = Subject("ev", "answer", "acme", new_request_id(), "0")
    async with connected(world.system.broker, "replay") as client:
        with pytest.raises(PermissionDenied):
            await client.request(str(address), b"{}")


async def test_the_command_verifies_without_the_tools(world: World) -> None:
    """In a process of its own: the module of the tools cannot even be found there."""
    ids = [world.requests[name] for name in ("cited", "refund", "review", "nonsense")]
    program = (
        "import sys; from interlock.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    assert not [m for m in sys.modules if 'shop' in m or 'sqlite' in m]"
    )
    environment = {**os.environ, "INTERLOCK_TOOLS": "no.such.module:executor"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", program, "replay", *ids, "--state", str(world.settings.state)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    shown, complaints = await process.communicate()
    said = [line for line in complaints.decode().splitlines() if "requests …" not in line]
    assert (process.returncode, said) == (0, [])  # on a slow machine there is progress
    lines = shown.decode().splitlines()
    assert [line.split()[:2] for line in lines] == [[one, "identical"] for one in ids]
