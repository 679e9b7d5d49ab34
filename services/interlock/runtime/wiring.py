"""What the wiring of every stage has in common."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from nats.aio.client import Client

from interlock.bundles.compile import compile_bundle
from interlock.bundles.errors import BundleError, BundleRefused, BundleUnknown
from interlock.bundles.model import Bundle
from interlock.bundles.store import FileBundles
from interlock.runtime.bundles.live import LiveBundles, LoadTest
from interlock.runtime.bundles.pointer import last
from interlock.runtime.bundles.store import BundleStore
from interlock.runtime.decision import Decider
from interlock.runtime.errors import UserError
from interlock.runtime.keys import BUNDLES, verifier
from interlock.runtime.log import JetStreamLog
from interlock.runtime.loop import StageLoop
from interlock.runtime.service import Connection, Handle
from interlock.runtime.settings import Settings
from interlock.runtime.stage import Bundles, Draft, Input
from interlock_contracts.request import Request

CapabilitiesT = TypeVar("CapabilitiesT")
Stage = Callable[[Input, CapabilitiesT], Awaitable[Sequence[Draft]]]


async def live_bundles(connection: Connection, service: str, load_test: LoadTest) -> LiveBundles:
    """The bundles of a service, followed from here on; returns once one is active.

    `load_test` makes everything the service needs of a bundle, and raises if it cannot. Raises
    `UserError` if that fails for the bundle that is active.
    """
    settings = connection.settings
    store = BundleStore(connection.client, settings.cell, verifier(settings, BUNDLES))
    live = LiveBundles(service, connection.client, settings.cell, store, load_test)
    connection.closing.append(live.close)
    connection.health.append(lambda: live.problem)
    await live.start()
    return live


class StoredBundles:
    """The cell's bundles for who serves nothing, a replay: as they are stored, nothing is tested.

    What is active is as it was when this was made.
    """

    def __init__(self, store: BundleStore, active: Bundle | None) -> None:
        self._store = store
        self._active = active

    def active(self, request: Request | None = None) -> Bundle:  # noqa: ARG002
        """The bundle that most requests start on; raises `UserError` where none is active."""
        if self._active is None:
            raise UserError("no usable bundle is active; `interlock bundle list` says why")
        return self._active

    async def get(self, digest: str) -> Bundle:
        """The bundle with this digest; raises as `BundleStore.get`."""
        return await self._store.get(digest)


async def stored_bundles(client: Client, settings: Settings) -> StoredBundles:
    """The bundles on the broker, with any credential that may read them."""
    store = BundleStore(client, settings.cell, verifier(settings, BUNDLES))
    now = await last(JetStreamLog(client, settings.cell))
    active = None
    if now is not None:
        with suppress(BundleRefused, BundleUnknown):  # said when it is asked for
            active = await store.get(now.bundle)
    return StoredBundles(store, active)


@cache
def load_bundles(path: Path, folder: Path) -> FileBundles:
    """A folder's bundle, compiled once per process, and built ones below `folder`.

    For pipes, evals and replays of files; a service has `live_bundles`. Raises `UserError`.
    """
    try:
        return FileBundles(compile_bundle(path), folder)
    except BundleError as error:
        raise UserError(error.of(path)) from None


def bundles_of(settings: Settings) -> FileBundles:
    """The bundles that the settings name."""
    return load_bundles(settings.bundle, settings.state / "bundles")


def bundle_folder(path: Path) -> Path:
    """The folder a bundle's documents are in: the bundle's own, or that of its file."""
    return path if path.is_dir() else path.parent


def stage_handler(
    name: str,
    stage: Stage[CapabilitiesT],
    using: CapabilitiesT,
    connection: Connection,
    bundles: Bundles | None,
) -> Handle:
    """The handler that feeds `stage`, by the settings of the connection."""
    settings = connection.settings

    async def decide(given: Input) -> Sequence[Draft]:
        return await stage(given, using)

    loop = StageLoop(
        Decider(name, decide, cell=settings.cell, bundles=bundles, log=connection.log),
        connection.committer,
        max_deliver=settings.max_deliver,
        retry_delay=settings.retry_delay,
        dead_letters_per_minute=settings.dead_letters_per_minute,
    )
    connection.health.append(lambda: loop.halted)
    return loop.handle
