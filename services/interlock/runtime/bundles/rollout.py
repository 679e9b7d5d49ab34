"""An operator's side: ask every live instance to load and test a bundle, then activate it.

Two phases. First every instance that answers a roll call loads the bundle and says whether it
works there; one refusal, and nothing is changed. Then the activation is logged, and the instances
that were asked say when they follow it. What was missed by the roll call (a process that was just
starting) follows the log like any other, and refuses for itself what does not work there.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nats.aio.msg import Msg

from interlock.bundles.errors import BundleRefused, BundleUnknown
from interlock.bundles.model import Bundle
from interlock.runtime.broker.connect import BrokerClient
from interlock.runtime.bundles import pointer
from interlock.runtime.bundles.changes import Change
from interlock.runtime.bundles.store import BundleStore
from interlock.runtime.bundles.words import Order, Word, prepare_subject
from interlock.runtime.commit import Committer
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog
from interlock_contracts.activation import Acceptance, Activation
from interlock_contracts.table import BUNDLED, Actor

ROLL_CALL_S = 1.0
"""How long a roll call waits at most for the first word of every service."""

QUIET_S = 0.15
"""After every service has answered, a roll call ends when nobody has for so long."""

PREPARE_S = 110.0
"""How long loading and testing may take. The broker forgets who asked after two minutes."""

ALIVE_S = 3.0
"""How often those that are loading and testing are asked whether they are still there."""

SILENT_CALLS = 4
"""So many times in a row without a word, and an instance is taken for dead: 16 s at most."""

URGENT_S = 2.0
"""How long a rollback waits for who does not answer, before it goes ahead."""

FOLLOW_S = 10.0
"""How long an instance may take to follow; those that have loaded the bundle need milliseconds."""

Who = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a change: the activation, and each instance's word on preparing, following.

    `live` are the instances that answered the roll call.
    """

    activation: Activation
    live: tuple[Who, ...]
    prepared: tuple[Word, ...]
    following: tuple[Word, ...]

    @property
    def missing(self) -> list[Who]:
        """Those that are live and did not say in time that they follow."""
        said = {word.who for word in self.following if word.problem is None}
        return [who for who in self.live if who not in said]


class Rollout:
    """Changes what requests start on, with the operator's connection."""

    def __init__(self, client: BrokerClient, log: JetStreamLog, store: BundleStore) -> None:
        self._client = client
        self._log = log
        self._store = store

    async def status(self) -> list[Word]:
        """Every live instance of the services that need a bundle."""
        return await self._ask(Order(do="status"), None, ROLL_CALL_S)

    async def make(
        self,
        change: Change,
        *,
        by: str,
        reason: str,
        evaluations: Sequence[str] = (),
        without_services: bool = False,
        urgent: bool = False,
    ) -> Outcome:
        """Carry a change out.

        `without_services` lets it through although a service is not live to test the bundle. An
        `urgent` one, a rollback, waits for nobody longer than `URGENT_S`: who does not answer
        follows the log later.

        Raises:
            UserError: there is no such bundle, an instance refuses it or does not answer in
                time, a service is not live, or somebody else was first. Nothing was changed.
        """
        before = await pointer.last(self._log)
        wanted = change.over(before)
        named = await self._bundle(wanted.bundle)
        live = await self.status()
        absent = [str(name) for name in BUNDLED if name not in {word.service for word in live}]
        if absent and before is not None and not (without_services or urgent):
            raise UserError(
                f"no live {', '.join(absent)} to test the bundle; nothing was changed "
                "(--without-services activates it all the same)"
            )
        prepared = await self._prepare_all(wanted, live, urgent)
        activation = wanted.model_copy(
            update={
                "name": named.name,
                "version": named.version,
                "by": by,
                "reason": reason,
                "evaluations": tuple(evaluations),
                "accepted": tuple(
                    Acceptance(
                        service=word.service, instance=word.instance, milliseconds=word.milliseconds
                    )
                    for word in prepared
                ),
            }
        )
        committer = Committer(self._client)
        try:
            await pointer.write(self._log, committer, activation)
        finally:
            await committer.close()
        order = Order(do="follow", number=activation.number)
        following = await self._ask(order, [word.who for word in prepared], FOLLOW_S)
        who = tuple(word.who for word in live)
        return Outcome(activation, who, tuple(prepared), tuple(following))

    async def _prepare_all(
        self, wanted: Activation, live: Sequence[Word], urgent: bool
    ) -> list[Word]:
        """Have everything tested that is new: each instance's word, with the time it took in all.

        A shadow is the contract-validator's alone; one that stands already stands in nobody's way.
        """
        everybody = [word.who for word in live]
        words = dict[Who, Word]()
        for digest in dict.fromkeys(wanted.bundles):
            for word in await self._prepare(digest, everybody, urgent):
                took = words[word.who].milliseconds if word.who in words else 0
                words[word.who] = word.model_copy(update={"milliseconds": took + word.milliseconds})
        if wanted.how == "shadow" and wanted.shadow is not None:
            judges = [who for who in everybody if who[0] == Actor.CONTRACT_VALIDATOR]
            await self._prepare(wanted.shadow, judges, urgent)
        return list(words.values())

    async def _bundle(self, digest: str) -> Bundle:
        try:
            return await self._store.get(digest)
        except (BundleUnknown, BundleRefused) as error:
            raise UserError(str(error)) from None

    async def _prepare(self, digest: str, live: Sequence[Who], urgent: bool) -> list[Word]:
        patience = URGENT_S if urgent else PREPARE_S
        await self._bundle(digest)
        words = await self._prepared_by(live, Order(do="prepare", bundle=digest), patience)
        refused = [word for word in words if word.problem is not None]
        if refused:
            told = "\n".join(f"  {one.service} {one.instance}: {one.problem}" for one in refused)
            raise UserError(f"{digest} was refused; nothing was changed:\n{told}")
        silent = sorted(set(live) - {word.who for word in words})
        if silent and not urgent:
            told = ", ".join(" ".join(who) for who in silent)
            raise UserError(f"no word from {told} within {patience:.0f} s; nothing was changed")
        return words

    async def _prepared_by(self, live: Sequence[Who], order: Order, within: float) -> list[Word]:
        """The words of all of `live`; raises `UserError` once one of them has died meanwhile."""
        asking = asyncio.create_task(self._ask(order, live, within))
        watching = asyncio.create_task(self._one_that_died(live))
        try:
            await asyncio.wait((asking, watching), return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            service, instance = watching.result()
            raise UserError(
                f"{service} {instance} went away while it tested the bundle; nothing was changed"
            )
        finally:
            asking.cancel()
            watching.cancel()
            await asyncio.gather(asking, watching, return_exceptions=True)

    async def _one_that_died(self, live: Sequence[Who]) -> Who:
        """Wait until one of them has not answered for a while. Loading leaves them time to."""
        silent: Counter[Who] = Counter()
        while True:
            await asyncio.sleep(ALIVE_S)
            there = {word.who for word in await self._ask(Order(do="status"), live, ROLL_CALL_S)}
            silent = Counter({who: silent[who] + 1 for who in live if who not in there})
            for who, calls in silent.items():
                if calls >= SILENT_CALLS:
                    return who

    async def _ask(self, order: Order, who: Iterable[Who] | None, within: float) -> list[Word]:
        """The words of all of `who`, or of those who came in time; without `who` a roll call."""
        expected = None if who is None else set(who)
        services = BUNDLED if expected is None else sorted({service for service, _ in expected})
        if not services:
            return []
        came: asyncio.Queue[Msg] = asyncio.Queue()
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=came.put)
        try:
            for service in services:
                subject = prepare_subject(self._log.cell, service)
                await self._client.publish(subject, order.model_dump_json().encode(), reply=inbox)
            return await _collect(came, expected, len(services), within)
        finally:
            await subscription.unsubscribe()


async def _collect(
    came: "asyncio.Queue[Msg]", expected: set[Who] | None, services: int, within: float
) -> list[Word]:
    words: dict[Who, Word] = {}
    gone = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while expected is None or not expected <= set(words):
        complete = gone + len({service for service, _ in words}) >= services
        patience = end - loop.time()
        if expected is None and complete:
            patience = min(patience, QUIET_S)
        try:
            # Not `wait_for`: it can lose a cancellation that comes together with what it waits for.
            async with asyncio.timeout(patience):
                message = await came.get()
        except TimeoutError:
            break
        if not message.data:  # nobody listens there
            gone += 1
            if expected is not None and gone >= services:
                break
            continue
        word = Word.model_validate_json(message.data)
        words[word.who] = word
    return sorted(words.values(), key=lambda word: word.who)
