"""What an operator's commands share: a connection, the stored bundles, and naming one of them."""

import getpass
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from interlock.bundles.model import Bundle
from interlock.cli.common import operator_log
from interlock.cli.evaluations import required
from interlock.runtime.broker.connect import BrokerClient
from interlock.runtime.bundles import pointer
from interlock.runtime.bundles.changes import Activate, Change
from interlock.runtime.bundles.rollout import Outcome, Rollout
from interlock.runtime.bundles.store import BundleStore, Pushed, push
from interlock.runtime.errors import UserError
from interlock.runtime.keys import BUNDLES, signing_key, verifier
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings
from interlock.runtime.wiring import load_bundles
from interlock_contracts.activation import Activation

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")


@dataclass(frozen=True, slots=True)
class Desk:
    """An operator at work: the connection, the log, the bundles."""

    settings: Settings
    client: BrokerClient
    log: JetStreamLog
    store: BundleStore

    @property
    def rollout(self) -> Rollout:
        """Changes of what requests start on."""
        return Rollout(self.client, self.log, self.store)

    async def push(self, bundle: Bundle, author: str) -> bool:
        """Store a bundle, signed with the operator's key; False if it was stored before."""
        key = signing_key(self.settings, BUNDLES)
        return await push(self.client, self.settings.cell, bundle, key, author)

    async def start_on(
        self,
        digest: str,
        change: Change,
        by: str,
        reason: str,
        gold: Sequence[Path] = (),
        **how: bool,
    ) -> Outcome:
        """Change what requests start on, to a bundle whose gates are open.

        `gold` are further gold sets that it must have passed; `how` as `Rollout.make`. Raises
        `UserError`.
        """
        rests_on = await required(self.log, self.store, digest, gold)
        return await self.rollout.make(change, by=by, reason=reason, evaluations=rests_on, **how)

    async def pushed(self) -> list[Pushed]:
        """Every stored bundle that may be used, in the order it was pushed."""
        return [one async for one in self.store.pushed() if isinstance(one, Pushed)]

    async def find(self, reference: str) -> str:
        """The digest that `reference` means: a digest or its first digits, NAME@VERSION, NAME.

        A NAME alone is the last that was pushed. Raises `UserError` if it means none or several.
        """
        all_ = await self.pushed()
        digits = _DIGEST.fullmatch(reference)
        found = [p.bundle for p in all_ if digits and p.bundle.digest[7:].startswith(digits[1])]
        if not found:
            name, at, version = reference.partition("@")
            found = [p.bundle for p in all_ if p.bundle.name == name]
            found = [b for b in found if b.version == version] if at else found[-1:]
        if len(found) == 1:
            return found[0].digest
        if not found:
            raise UserError(
                f"no bundle {reference!r} is stored; `interlock bundle list` names them"
            )
        told = ", ".join(bundle.digest[:19] for bundle in found)
        raise UserError(f"{reference!r} is {len(found)} bundles: {told}; name one by its digest")

    async def read(self, reference: str) -> Bundle:
        """A stored bundle; raises `UserError`."""
        return await self.store.get(await self.find(reference))


@asynccontextmanager
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    """An operator's connection; raises `UserError` without credential, key or broker."""
    trusted = verifier(settings, BUNDLES)
    async with operator_log(settings) as (client, log):
        yield Desk(settings, client, log, BundleStore(client, settings.cell, trusted))


def author() -> str:
    """Who is at the command line, unless it says so itself."""
    return getpass.getuser()


async def activate_folder(
    settings: Settings, *, given: bool, reason: str | None = None
) -> Activation:
    """For `interlock up` and `deploy activate`: what requests start on from here on.

    The bundle of the settings' folder is pushed, and activated unless `up` has done so before:
    what has been rolled back stays so when everything is started again. A folder that nobody
    has named counts only where nothing is active yet.
    """
    async with desk(settings) as at:
        history = await pointer.history(at.log)
        if history and not given:
            return history[-1].activation
        bundle = load_bundles(settings.bundle, settings.state / "bundles").active()
        await at.push(bundle, author())
        by_up = [one.activation.bundle for one in history if one.activation.how == "up"]
        if by_up[-1:] == [bundle.digest] or (
            history and history[-1].activation.bundle == bundle.digest
        ):
            return history[-1].activation
        change = Activate(bundle.digest, how="up")
        reason = reason or f"interlock up --bundle {settings.bundle}"
        if history:
            made = await at.start_on(bundle.digest, change, author(), reason, without_services=True)
        else:  # nothing is active yet, and nothing could have been evaluated here
            made = await at.rollout.make(change, by=author(), reason=reason)
        return made.activation
