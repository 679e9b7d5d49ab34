"""One service's view of the bundles: what it loads, keeps, waits for and catches up with."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support.broker import connected
from tests.support.system import a_request

from interlock.bundles.errors import BundleError, BundleUnknown
from interlock.bundles.model import Bundle
from interlock.runtime.broker.connect import BrokerClient
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.bundles import live, pointer
from interlock.runtime.bundles import rollout as rollout_
from interlock.runtime.bundles.changes import Activate, Change, Rollback, Shadow, StartCanary
from interlock.runtime.bundles.live import LiveBundles
from interlock.runtime.bundles.rollout import Rollout
from interlock.runtime.bundles.store import BundleStore, push
from interlock.runtime.bundles.words import Order, Word
from interlock.runtime.commit import Committer
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog
from interlock.runtime.service import Connection, Handle, Service
from interlock.runtime.settings import Settings
from interlock.runtime.signing import SigningKey, Verifier

KEY = SigningKey.generate()
FIRST, SECOND, THIRD = (Bundle(name="small", version=version) for version in "123")


@dataclass
class Operator:
    """Stores and activates, without asking anybody."""

    client: BrokerClient
    log: JetStreamLog

    async def push(self, *bundles: Bundle) -> None:
        for bundle in bundles:
            await push(self.client, "ev", bundle, KEY, "jo")

    async def write(self, change: Change) -> None:
        after = change.over(await pointer.last(self.log))
        committer = Committer(self.client)
        named = {"name": "small", "version": "?", "by": "jo", "reason": "a test"}
        await pointer.write(self.log, committer, after.model_copy(update=named))
        await committer.close()


@dataclass
class Loading:
    """A load test that counts, can be held up, and refuses some versions."""

    refuses: set[str] = field(default_factory=set)
    count: Counter[str] = field(default_factory=Counter)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, bundle: Bundle) -> None:
        self.count[bundle.version] += 1
        await self.go.wait()
        if bundle.version in self.refuses:
            raise UserError("no good here")


@asynccontextmanager
async def operator(broker: EmbeddedBroker) -> AsyncIterator[Operator]:
    async with connected(broker, "operator") as client:
        yield Operator(client, JetStreamLog(client, "ev"))


@asynccontextmanager
async def a_service(
    broker: EmbeddedBroker, loading: Loading, name: str = "retriever"
) -> AsyncIterator[LiveBundles]:
    async with connected(broker, name) as client:
        store = BundleStore(client, "ev", Verifier([KEY.public]))
        bundles = LiveBundles(name, client, "ev", store, loading)
        yield bundles
        await bundles.close()


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)  # as a request would find it


async def until(bundles: LiveBundles, version: str) -> None:
    await eventually(lambda: bundles.active().version == version)


async def test_it_waits_for_the_first_activation_and_loads_each_bundle_once(
    fresh_broker: EmbeddedBroker,
) -> None:
    loading = Loading()
    loading.go.set()
    async with operator(fresh_broker) as jo, a_service(fresh_broker, loading) as bundles:
        starting = asyncio.create_task(bundles.start())
        await jo.push(FIRST, SECOND)
        assert not starting.done()
        await jo.write(Activate(FIRST.digest))
        async with asyncio.timeout(5):
            await starting
        assert bundles.active() == FIRST
        found = await asyncio.gather(*(bundles.get(SECOND.digest) for _ in range(20)))
        assert found == [SECOND] * 20
        await jo.write(Activate(SECOND.digest))
        await until(bundles, "2")
        assert loading.count == {"1": 1, "2": 1}
        with pytest.raises(BundleUnknown):
            await bundles.get(THIRD.digest)


async def test_requests_go_on_with_the_old_bundle_while_the_new_one_is_loaded(
    fresh_broker: EmbeddedBroker,
) -> None:
    loading = Loading()
    loading.go.set()
    async with operator(fresh_broker) as jo, a_service(fresh_broker, loading) as bundles:
        await jo.push(FIRST, SECOND)
        await jo.write(Activate(FIRST.digest))
        await bundles.start()
        loading.go.clear()
        await jo.write(Activate(SECOND.digest))
        await eventually(lambda: loading.count["2"] == 1)
        assert bundles.active(a_request()) == FIRST == await bundles.get(FIRST.digest)
        loading.go.set()
        await until(bundles, "2")


async def test_what_it_refuses_it_does_not_follow_and_says_so_until_it_is_mended(
    fresh_broker: EmbeddedBroker,
) -> None:
    loading = Loading(refuses={"2"})
    loading.go.set()
    async with operator(fresh_broker) as jo, a_service(fresh_broker, loading) as bundles:
        await jo.push(FIRST, SECOND, THIRD)
        await jo.write(Activate(FIRST.digest))
        await bundles.start()
        await jo.write(StartCanary(SECOND.digest, share=1.0))
        await eventually(lambda: bundles.problem is not None)
        assert bundles.problem is not None
        assert "activation 2 cannot be followed: retriever: no good here" in bundles.problem
        assert bundles.active(a_request()) == FIRST
        with pytest.raises(BundleError, match="no good here"):
            await bundles.get(SECOND.digest)
        await jo.write(Activate(THIRD.digest))
        await until(bundles, "3")
        assert bundles.problem is None
    late = Loading(refuses={"3"})
    late.go.set()
    async with a_service(fresh_broker, late) as other:
        with pytest.raises(UserError, match="activation 3 cannot be followed"):
            await other.start()


async def test_what_was_missed_live_is_found_on_the_log(
    fresh_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "POLL_S", 0.05)
    loading = Loading()
    loading.go.set()
    async with operator(fresh_broker) as jo, a_service(fresh_broker, loading) as bundles:
        await jo.push(FIRST, SECOND)
        await jo.write(Activate(FIRST.digest))
        await bundles.start()
        for subscription in bundles._subscriptions:
            await subscription.unsubscribe()
        bundles._subscriptions.clear()
        await jo.write(Activate(SECOND.digest))
        await until(bundles, "2")


async def test_the_broker_goes_away_and_the_pointer_is_still_followed(
    fresh_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "POLL_S", 0.05)
    loading = Loading()
    loading.go.set()
    async with a_service(fresh_broker, loading) as bundles:
        async with operator(fresh_broker) as jo:
            await jo.push(FIRST, SECOND)
            await jo.write(Activate(FIRST.digest))
            await bundles.start()
        await fresh_broker.kill()
        async with asyncio.timeout(20):
            async with operator(fresh_broker) as jo:
                await jo.write(Activate(SECOND.digest))
        await until(bundles, "2")


async def test_those_used_last_stay_loaded_and_those_in_use_always(
    fresh_broker: EmbeddedBroker,
) -> None:
    loading = Loading()
    loading.go.set()
    others = [Bundle(name="small", version=f"x{number}") for number in range(live.WARM + 4)]
    async with operator(fresh_broker) as jo, a_service(fresh_broker, loading) as bundles:
        await jo.push(FIRST, *others)
        await jo.write(Activate(FIRST.digest))
        await bundles.start()
        for one in others:
            await bundles.get(one.digest)
        assert bundles.active() == FIRST
        await bundles.get(others[-1].digest)
        await bundles.get(FIRST.digest)
        await bundles.get(others[0].digest)
        assert loading.count["1"] == loading.count[others[-1].version] == 1
        assert loading.count["x0"] == 2


async def test_a_shadow_stands_in_nobodys_way(fresh_broker: EmbeddedBroker) -> None:
    """Only who judges loads it; one that does not load casts none, and a rollback goes ahead."""
    loading, judging = Loading(), Loading(refuses={"2"})
    loading.go.set()
    judging.go.set()
    said: dict[str, Any] = {"by": "jo", "reason": "a test"}
    async with (
        operator(fresh_broker) as jo,
        a_service(fresh_broker, loading) as other,
        a_service(fresh_broker, judging, "contract-validator") as judge,
    ):
        await jo.push(FIRST, SECOND, THIRD)
        await jo.write(Activate(FIRST.digest))
        await other.start()
        await judge.start()
        rollout = Rollout(jo.client, jo.log, BundleStore(jo.client, "ev", Verifier([KEY.public])))
        with pytest.raises(UserError, match=r"contract-validator .*no good here"):
            await rollout.make(Shadow(SECOND.digest), without_services=True, **said)
        await jo.write(Shadow(SECOND.digest))  # past the operator's own checks
        await eventually(lambda: judge.shadow is None and judging.count["2"] == 2)
        for change in (Activate(THIRD.digest), Rollback(FIRST.digest)):
            made = await rollout.make(change, urgent=True, **said)
            assert (made.missing, made.activation.shadow) == ([], SECOND.digest)
        assert judge.active() == FIRST == other.active()
        assert judge.problem is None and judge.shadow is None
        judging.refuses.clear()
        await rollout.make(Shadow(THIRD.digest), without_services=True, **said)
        await eventually(lambda: judge.shadow == THIRD)
        assert loading.count == {"1": 1, "3": 1}, "the retriever judges nothing"


async def test_a_service_can_be_stopped_while_it_waits_for_a_bundle(
    fresh_broker: EmbeddedBroker,
) -> None:
    waiting = asyncio.Event()

    async def wire(connection: Connection) -> Handle:
        waiting.set()
        store = BundleStore(connection.client, "ev", Verifier([KEY.public]))
        bundles = LiveBundles("retriever", connection.client, "ev", store, Loading())
        connection.closing.append(bundles.close)
        await bundles.start()
        raise AssertionError("nothing is active")

    settings = Settings(state=fresh_broker.state, nats_url=fresh_broker.url)
    stop = asyncio.Event()
    running = asyncio.create_task(Service("retriever", settings, wire).run(stop))
    await waiting.wait()
    stop.set()
    async with asyncio.timeout(5):
        await running


async def test_a_change_needs_every_service_live_unless_it_is_the_first_or_goes_back(
    fresh_broker: EmbeddedBroker,
) -> None:
    loading = Loading()
    loading.go.set()
    said: dict[str, Any] = {"by": "jo", "reason": "a test"}
    async with operator(fresh_broker) as jo, a_service(fresh_broker, loading) as bundles:
        await jo.push(FIRST, SECOND, THIRD)
        store = BundleStore(jo.client, "ev", Verifier([KEY.public]))
        rollout = Rollout(jo.client, jo.log, store)
        made = await rollout.make(Activate(FIRST.digest), **said)
        assert (made.prepared, made.following) == ((), ())
        await bundles.start()
        with pytest.raises(UserError, match="no live intent-router, generator, contract-validator"):
            await rollout.make(Activate(SECOND.digest), **said)
        made = await rollout.make(Activate(SECOND.digest), without_services=True, **said)
        assert [(word.service, word.instance) for word in made.following] == [
            ("retriever", bundles.instance)
        ]
        assert bundles.active() == SECOND
        loading.refuses.add("3")
        with pytest.raises(UserError, match=r"(?s)refused; nothing was changed.*no good here"):
            await rollout.make(Activate(THIRD.digest), without_services=True, **said)
        made = await rollout.make(Rollback(FIRST.digest), urgent=True, **said)
        assert bundles.active() == FIRST and made.missing == []


async def test_a_rollback_does_not_wait_for_who_does_not_answer(
    fresh_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_, "URGENT_S", 0.2)
    monkeypatch.setattr(rollout_, "PREPARE_S", 0.2)
    loading = Loading()
    loading.go.set()
    said: dict[str, Any] = {"by": "jo", "reason": "a test"}
    async with operator(fresh_broker) as jo, a_service(fresh_broker, loading) as bundles:
        await jo.push(FIRST, SECOND)
        rollout = Rollout(jo.client, jo.log, BundleStore(jo.client, "ev", Verifier([KEY.public])))
        await rollout.make(Activate(FIRST.digest), **said)
        await bundles.start()
        loading.go.clear()  # loading takes for ever
        with pytest.raises(UserError, match=f"no word from retriever {bundles.instance}"):
            await rollout.make(Activate(SECOND.digest), without_services=True, **said)
        made = await rollout.make(Rollback(SECOND.digest), urgent=True, **said)
        assert made.activation.bundle == SECOND.digest
        assert made.missing == [("retriever", bundles.instance)]
        assert bundles.active() == FIRST
        loading.go.set()
        await until(bundles, "2")


@pytest.mark.parametrize("dies", [True, False])
async def test_who_dies_over_a_bundle_is_not_waited_for_and_who_is_slow_is(
    fresh_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    monkeypatch.setattr(rollout_, "ALIVE_S", 0.05)
    loading = Loading()
    said: dict[str, Any] = {"by": "jo", "reason": "a test", "without_services": True}
    async with operator(fresh_broker) as jo, a_service(fresh_broker, loading) as bundles:
        loading.go.set()
        await jo.push(FIRST, SECOND)
        rollout = Rollout(jo.client, jo.log, BundleStore(jo.client, "ev", Verifier([KEY.public])))
        await rollout.make(Activate(FIRST.digest), **said)
        await bundles.start()
        asked: Counter[str] = Counter()
        really = rollout._ask

        async def counted(order: Order, *more: Any) -> list[Word]:
            asked[order.do] += 1
            return await really(order, *more)

        monkeypatch.setattr(rollout, "_ask", counted)
        loading.go.clear()
        making = asyncio.create_task(rollout.make(Activate(SECOND.digest), **said))
        await eventually(lambda: loading.count["2"] == 1)
        if dies:
            await bundles.close()
            async with asyncio.timeout(20):  # of the 110 s that loading may take
                with pytest.raises(UserError, match=f"{bundles.instance} went away"):
                    await making
            return
        await eventually(lambda: asked["status"] > 2 * rollout_.SILENT_CALLS)
        loading.go.set()
        assert (await making).activation.bundle == SECOND.digest


async def test_looking_after_the_living_never_outlives_their_answers(
    fresh_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roll calls one after the other: each ends with the answers, whatever it was waiting for."""
    monkeypatch.setattr(rollout_, "ALIVE_S", 0.0)
    loading = Loading()
    loading.go.set()
    async with operator(fresh_broker) as jo, a_service(fresh_broker, loading) as bundles:
        await jo.push(FIRST)
        await jo.write(Activate(FIRST.digest))
        await bundles.start()
        rollout = Rollout(jo.client, jo.log, BundleStore(jo.client, "ev", Verifier([KEY.public])))
        live = [word.who for word in await rollout.status()]
        order = Order(do="prepare", bundle=FIRST.digest)
        async with asyncio.timeout(30):
            for _ in range(300):
                assert len(await rollout._prepared_by(live, order, 5.0)) == 1
