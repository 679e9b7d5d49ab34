"""What the wiring of every stage has in common."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from interlock.bundles.compile import compile_bundle
from interlock.bundles.errors import BundleError
from interlock.bundles.store import FileBundles
from interlock.runtime.decision import Decider
from interlock.runtime.errors import UserError
from interlock.runtime.loop import StageLoop
from interlock.runtime.service import Connection, Handle
from interlock.runtime.settings import Settings
from interlock.runtime.stage import Bundles, Draft, Input

CapabilitiesT = TypeVar("CapabilitiesT")
Stage = Callable[[Input, CapabilitiesT], Awaitable[Sequence[Draft]]]


@cache
def load_bundles(path: Path, folder: Path) -> FileBundles:
    """The installation's bundles; compiled once per process. Raises `UserError`."""
    try:
        return FileBundles(compile_bundle(path), folder)
    except BundleError as error:
        raise UserError(f"bundle {path}: {error}") from None


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
