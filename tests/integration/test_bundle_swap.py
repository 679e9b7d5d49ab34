"""Bundles are swapped under a running system: tested first, followed by all, rolled back."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.broker import connected
from tests.support.system import QUESTION, running_system, sdk, wait_logged

from interlock.audit_sink.places import open_reader
from interlock.audit_sink.query import Kept
from interlock.bundles.compile import compile_bundle
from interlock.bundles.model import Bundle
from interlock.cli.operator import Desk, activate_folder, desk
from interlock.cli.system import System
from interlock.replay.verify import verify_request
from interlock.runtime.broker.topology import bundle_subject
from interlock.runtime.bundles import pointer
from interlock.runtime.bundles.changes import (
    Activate,
    Change,
    Promote,
    Rollback,
    Shadow,
    StartCanary,
)
from interlock.runtime.bundles.rollout import Outcome
from interlock.runtime.commit import Committer
from interlock.runtime.errors import UserError
from interlock.runtime.wiring import stored_bundles
from interlock_contracts.actions import Confirm
from interlock_contracts.activation import POINTER, Activation, Canary, ShadowVerdict
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.canonical import canonical_json
from interlock_contracts.ids import new_request_id
from interlock_contracts.table import BUNDLED
from interlock_contracts.verdict import Decision

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLE = compile_bundle(Path("examples/support"))
POEM = "Write me a poem about the sea."
ADDRESS = "Change the address of order A-1006 to 12 Elm Street, Portland"


def a_bundle(**changes: Any) -> Bundle:
    """The example with a version of its own, and other changes."""
    changed = EXAMPLE.model_copy(update={"version": new_request_id(), **changes})
    return Bundle.model_validate_json(canonical_json(changed))  # a copy would keep its digest


def saying(reply: str) -> Bundle:
    """A bundle that refuses what is out of scope in these words."""
    fallback = EXAMPLE.intents[EXAMPLE.router.fallback].model_copy(update={"refusal": reply})
    return a_bundle(intents={**EXAMPLE.intents, EXAMPLE.router.fallback: fallback})


@dataclass
class World:
    """A running system, and an operator of it."""

    system: System
    at: Desk

    async def push(self, bundle: Bundle) -> str:
        await self.at.push(bundle, "jo")
        return bundle.digest

    async def make(self, change: Change, reason: str = "a test", **how: Any) -> Outcome:
        return await self.at.rollout.make(change, by="jo", reason=reason, **how)

    async def start_on(self, bundle: Bundle) -> str:
        """Have it active; its digest."""
        await self.make(Activate(await self.push(bundle)))
        return bundle.digest

    async def now(self) -> Activation:
        now = await pointer.last(self.at.log)
        assert now is not None
        return now

    async def ask(self, text: str = POEM, tenant: str = "acme", user: str = "maria") -> Answer:
        async with await sdk(self.system.broker, tenant) as producer:
            return await producer.ask(text, user=user, role="customer", timeout=30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    state = tmp_path_factory.mktemp("world")
    async with running_system(state) as system, desk(system.settings) as at:
        yield World(system, at)


async def audited(world: World, subject: str) -> Kept:
    """What the audit store keeps of an activation, once it has it."""

    def kept() -> list[Kept]:
        with open_reader(world.system.settings) as reader:
            return [one for one in reader.by_request(POINTER) if one.subject == subject]

    async with asyncio.timeout(20):
        while True:
            if found := await asyncio.to_thread(kept):
                return found[0]
            await asyncio.sleep(0.05)  # the store offers no event to wait for


async def test_new_requests_start_on_what_was_activated_and_everybody_said_so(world: World) -> None:
    bundle = saying("Not here, says the second.")
    before = await world.now()
    made = await world.make(Activate(await world.push(bundle)), "better words")
    assert {word.service for word in made.prepared} == set(BUNDLED)
    assert made.missing == []
    assert all(word.number == made.activation.number for word in made.following)
    answer = await world.ask()
    assert (answer.text, answer.bundle) == ("Not here, says the second.", bundle.digest)
    (logged,) = await wait_logged(
        world.system.broker, f"ev.activated._.bundle.{made.activation.number}"
    )
    said = logged.event().data
    assert isinstance(said, Activation)
    assert (said.by, said.reason, said.how) == ("jo", "better words", "activate")
    assert (said.previous, said.bundle) == (before.bundle, bundle.digest)
    assert {one.service for one in said.accepted} == set(BUNDLED)
    assert (await audited(world, str(logged.subject))).decoded().data == said


async def test_what_one_service_refuses_is_not_activated(world: World) -> None:
    before = await world.now()
    nowhere = a_bundle(
        sources={
            **EXAMPLE.sources,
            "nowhere": next(iter(EXAMPLE.sources.values())).model_copy(
                update={"path": "nowhere/{tenant}/help"}
            ),
        }
    )
    misspelt = a_bundle(prompts={**EXAMPLE.prompts, "answer": "{{ request.txt }}"})
    forbidden = a_bundle(policies={"broken.cedar": "permit(principal, action"})
    unknown = "sha256:" + "0" * 64
    for bundle, who in ((nowhere, "retriever"), (misspelt, "generator"), (forbidden, "validator")):
        digest = await world.push(bundle)
        with pytest.raises(UserError, match=f"(?s)refused; nothing was changed.*{who}"):
            await world.make(Activate(digest))
        with pytest.raises(UserError, match="nothing was changed"):
            await world.make(StartCanary(digest, share=0.5))
    with pytest.raises(UserError, match="bundle push"):
        await world.make(Activate(unknown))
    assert await world.now() == before
    assert (await world.ask()).bundle == before.bundle


async def test_a_rollback_takes_effect_at_once_and_goes_further_back_each_time(
    world: World,
) -> None:
    first, second, third = [await world.start_on(saying(f"number {n}")) for n in (1, 2, 3)]
    for expected in (second, first):
        digest = pointer.before(await pointer.history(world.at.log))
        assert digest == expected
        made = await world.make(Rollback(digest), urgent=True)
        assert made.missing == []
        assert (await world.ask()).bundle == expected
    made = await world.make(Rollback(third), "to a named one")
    assert made.activation.bundle == third
    with pytest.raises(UserError, match="active already"):
        await world.make(Activate(third))


async def test_a_request_in_flight_stays_on_the_bundle_it_started_with(world: World) -> None:
    started = await world.start_on(saying("before"))
    async with await sdk(world.system.broker) as producer:
        request = producer.request(ADDRESS, user="maria", role="customer")
        await producer.submit(request)
        async for event in producer.follow(request.request_id):
            if isinstance(event.data, Confirm):
                confirm = event.data
                break
        other = await world.start_on(saying("after"))
        await world.make(Rollback(started))
        await world.make(Activate(other))
        await producer.decide(confirm, request.request_id, approve=True, user="maria")
        answer = await producer.answer(request.request_id)
    assert answer.status is AnswerStatus.ANSWERED
    assert answer.bundle == started != (await world.now()).bundle
    stored = await world.at.log.of_request(request.request_id)
    pinned = {message.headers.get("ce-bundle") for message in stored} - {None}
    assert pinned == {started}
    async with connected(world.system.broker, "replay") as client:
        bundles = await stored_bundles(client, world.system.settings)
        found = await verify_request([message.event() for message in stored], bundles)
    assert [str(one) for one in found.divergences] == []


async def test_a_canary_takes_its_tenants_and_its_share_until_it_is_promoted(
    world: World,
) -> None:
    stable, candidate = await world.start_on(saying("stable")), await world.push(saying("new"))
    made = await world.make(StartCanary(candidate, tenants=("globex",)))
    assert (made.activation.bundle, made.activation.how) == (stable, "canary")
    assert (await world.ask(tenant="globex", user="li")).bundle == candidate
    assert (await world.ask(tenant="acme")).bundle == stable
    await world.make(StartCanary(candidate, share=0.5))
    answers = [await world.ask() for _ in range(12)]
    canary = Canary(bundle=candidate, share=0.5)
    for answer in answers:
        taken = canary.takes("acme", answer.request_id)
        assert answer.bundle == (candidate if taken else stable)
    await world.make(Promote())
    assert {(await world.ask(tenant=one)).bundle for one in ("acme", "globex")} == {candidate}
    await world.make(StartCanary(stable, share=1.0))
    assert (await world.ask()).bundle == stable
    made = await world.make(Rollback((await world.now()).bundle))
    assert made.activation.canary is None
    assert (await world.ask()).bundle == candidate


async def test_swaps_under_load_lose_nothing_and_mix_nothing(world: World) -> None:
    """Requests come in without a break while the bundle changes; each keeps to one of them."""
    bundles = [await world.push(saying(f"under load {n}")) for n in range(3)]
    async with await sdk(world.system.broker) as producer:

        async def ask(number: int) -> Answer:
            text, user = ((QUESTION, "maria"), ("Where is my order A-1004?", "tom"))[number % 2]
            return await producer.ask(text, user=user, role="customer", timeout=60)

        asking = []
        for turn in range(6):
            asking += [asyncio.create_task(ask(number)) for number in range(10)]
            await world.make(Activate(bundles[turn % 3]))
        answers = await asyncio.gather(*asking)
    assert {answer.status for answer in answers} == {AnswerStatus.ANSWERED}
    assert len({answer.bundle for answer in answers}) >= 2
    async with connected(world.system.broker, "replay") as client:
        known = await stored_bundles(client, world.system.settings)
        for answer in answers[::7]:
            stored = await world.at.log.of_request(answer.request_id)
            pinned = {message.headers.get("ce-bundle") for message in stored} - {None}
            assert pinned == {answer.bundle}
            found = await verify_request([message.event() for message in stored], known)
            assert [str(one) for one in found.divergences] == []


async def test_two_operators_cannot_both_be_next(world: World) -> None:
    before = await world.now()
    lost = Activate(await world.push(saying("too late"))).over(before)
    await world.start_on(saying("was first"))
    async with connected(world.system.broker, "operator") as client:
        committer = Committer(client)
        with pytest.raises(UserError, match="somebody else's"):
            await pointer.write(world.at.log, committer, lost)
        await committer.close()
    assert (await world.ask()).text == "was first"


async def test_a_shadow_is_judged_beside_and_decides_nothing(world: World) -> None:
    active = await world.start_on(saying("active"))
    forbidding = a_bundle(policies={})  # no policy permits anything
    await world.make(Shadow(await world.push(forbidding)))
    status = await world.ask("Where is my order A-1004?", user="tom")
    assert (status.status, status.bundle) == (AnswerStatus.ANSWERED, active)
    same = await world.ask(QUESTION)
    found: list[ShadowVerdict] = []
    for request_id, count in ((status.request_id, 1), (same.request_id, 1)):
        for message in await wait_logged(
            world.system.broker, f"ev.shadow.acme.{request_id}.*", count
        ):
            data = message.event().data
            assert isinstance(data, ShadowVerdict)
            found.append(data)
    acted = next(one for one in found if one.request_id == status.request_id)
    assert (acted.decision, acted.candidate_decision) == (Decision.APPROVE, Decision.REFUSE)
    assert acted.differs and acted.bundle == active and acted.candidate == forbidding.digest
    asked = next(one for one in found if one.request_id == same.request_id)
    assert not asked.differs
    stored = await world.at.log.of_request(status.request_id)
    async with connected(world.system.broker, "replay") as client:
        bundles = await stored_bundles(client, world.system.settings)
        replayed = await verify_request([message.event() for message in stored], bundles)
    assert [str(one) for one in replayed.divergences] == []
    await world.make(Shadow(None))
    after = await world.ask(QUESTION)
    assert [
        m for m in await world.at.log.of_request(after.request_id) if ".shadow." in m.subject
    ] == []


async def test_services_refuse_a_bundle_that_got_past_the_operator(world: World) -> None:
    """Somebody with the operator's credential, but without the key that signs bundles."""
    good = await world.now()
    forged = saying("pwned")
    async with connected(world.system.broker, "operator") as client:
        await client.request(bundle_subject("ev", forged.digest), canonical_json(forged))
        with pytest.raises(UserError, match="not signed"):
            await world.make(Activate(forged.digest))
        committer = Committer(client)
        after = (
            Activate(forged.digest)
            .over(good)
            .model_copy(
                update={"name": "support", "version": "0", "by": "mallory", "reason": "no key"}
            )
        )
        await pointer.write(world.at.log, committer, after)
        await committer.close()
    answer = await world.ask()
    assert (answer.text, answer.bundle) != ("pwned", forged.digest)
    assert answer.bundle == good.bundle
    words = await world.at.rollout.status()
    assert {word.number for word in words} == {good.number}
    await world.make(Rollback(good.bundle), "mended")
    assert {word.number for word in await world.at.rollout.status()} == {good.number + 2}


async def test_up_with_a_folder_does_not_undo_a_rollback(world: World) -> None:
    """`up` has activated the folder before: what was activated since stays when it starts again."""
    now = await world.now()
    settings = world.system.settings
    assert await activate_folder(settings, given=True) == now
    assert await activate_folder(settings, given=False) == now


async def test_processes_follow_a_rollback_within_a_second_and_come_back_on_their_bundles(
    tmp_path: Path,
) -> None:
    """Six processes; the whole system is started again while a request waits for a person."""
    async with running_system(tmp_path, processes=True) as system, desk(system.settings) as at:
        world = World(system, at)
        first, second = (await world.now()).bundle, await world.start_on(saying("second"))
        async with await sdk(system.broker) as producer:
            request = producer.request(ADDRESS, user="maria", role="customer")
            await producer.submit(request)
            async for event in producer.follow(request.request_id):
                if isinstance(event.data, Confirm):
                    confirm = event.data
                    break
        started = time.perf_counter()
        made = await world.make(Rollback(first), urgent=True)
        assert time.perf_counter() - started < 1.0
        assert {word.service for word in made.following} == set(BUNDLED) and made.missing == []
        assert (await world.ask()).bundle == first
    async with running_system(tmp_path, processes=True) as system, desk(system.settings) as at:
        world = World(system, at)
        assert (await world.now()).bundle == first
        async with await sdk(system.broker) as producer:
            await producer.decide(confirm, request.request_id, approve=True, user="maria")
            answer = await producer.answer(request.request_id)
        assert (answer.status, answer.bundle) == (AnswerStatus.ANSWERED, second)
