"""What an operator does to the keys that sign grants: rotate, retire, revoke."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from interlock.cli.common import operator_log
from interlock.runtime.broker.connect import BrokerClient
from interlock.runtime.broker.topology import executor_user, stream_name
from interlock.runtime.commit import CommitRefused, Committed, Committer
from interlock.runtime.errors import UserError
from interlock.runtime.keyring import KeyringLog, keyring_event, opened, signed
from interlock.runtime.keys import (
    BUNDLES,
    held_keys,
    next_key_path,
    signing_key,
    signing_key_path,
    trusted_keys,
    trusted_keys_path,
    verifier,
)
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings
from interlock.runtime.signing import SigningKey, key_id_of
from interlock_contracts.actions import Grant
from interlock_contracts.keyring import How, Keyring
from interlock_contracts.table import Actor


@dataclass(frozen=True, slots=True)
class Entry:
    """One keyring, and when it was logged (UTC)."""

    keyring: Keyring
    at: datetime
    sequence: int


@dataclass(frozen=True, slots=True)
class Holding:
    """What holds: as the fields of `Keyring`. Before the first keyring the number is 0."""

    number: int
    keys: tuple[str, ...]
    signing: str
    epoch: int = 0
    retired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """An operator at work on the keys; the state folder is that of whoever keeps them."""

    settings: Settings
    client: BrokerClient
    log: JetStreamLog

    async def history(self) -> list[Entry]:
        """Every keyring, oldest first, but those that are not signed by an operator."""
        trusted = verifier(self.settings, BUNDLES)
        entries = []
        async for found in self.log.matching(KeyringLog(self.log, self.settings).pattern):
            with suppress(UserError):
                entries.append(Entry(opened(found, trusted), found.logged_at, found.sequence))
        return entries

    async def now(self) -> Holding:
        """By the log; before the first keyring, by what the state folder says."""
        found = await self.history()
        pattern = KeyringLog(self.log, self.settings).pattern
        newest = await self.log.fetch({"last_by_subj": pattern})
        # One that does not count has its number all the same: the next one takes its place.
        number = 0 if newest is None else int(newest.subject.rpartition(".")[2])
        if found:
            last = found[-1].keyring
            return Holding(number, last.keys, last.signing, last.epoch, last.retired)
        state = self.settings.state
        keys = trusted_keys(state)
        here = signing_key_path(state).exists()
        signing = held_keys(state)[0] if here else id_of(keys[-1])
        return Holding(number, keys, signing)

    async def rotate(self, by: str, reason: str) -> Keyring:
        """Have grants signed with a new key from here on; those of the old one still verify."""
        before = await self.now()
        key = SigningKey.generate()
        path = next_key_path(self.settings.state, key.key_id)
        key.save(path)
        keys = (*before.keys, key.public_text)
        try:
            return await self._write(
                replace(before, keys=keys, signing=key.key_id), "rotate", by, reason
            )
        except UserError:
            path.unlink()
            raise

    async def retire(self, key_id: str, by: str, reason: str, *, force: bool = False) -> Keyring:
        """Trust a key no longer; what it has signed is refused.

        Raises `UserError` if grants are signed with it, or unless `force`, if such are under way.
        """
        before = await self.now()
        keys = tuple(key for key in before.keys if id_of(key) != key_id)
        if keys == before.keys:
            raise UserError(f"no key {key_id} is trusted; `interlock keys list` names them")
        if key_id == before.signing:
            raise UserError(f"grants are signed with {key_id}: `interlock keys rotate` comes first")
        if not force:
            await self._refuse_in_use(key_id)
        after = replace(before, keys=keys, retired=(*before.retired, key_id))
        made = await self._write(after, "retire", by, reason)
        self._forget(key_id, made)
        return made

    async def revoke(self, by: str, reason: str) -> tuple[Keyring, list[Grant]]:
        """Void every grant there is; and which had not run when this was done."""
        before = await self.now()
        after = replace(before, epoch=before.epoch + 1)
        made = await self._write(after, "revoke", by, reason)
        return made, [grant for grant in await self.outstanding() if grant.epoch < made.epoch]

    async def outstanding(self) -> list[Grant]:
        """The grants that executors have not dealt with, and that have not expired."""
        found = []
        async for message in self.log.matching(
            f"{self.log.cell}.approved.>", after=await self._dealt_with()
        ):
            grant = message.event().data
            assert isinstance(grant, Grant)  # the event table says so
            address = (grant.tenant, grant.request_id, grant.action, grant.tool)
            if grant.expires_at > datetime.now(UTC) and not await self.log.read("result", *address):
                found.append(grant)
        return found

    async def _dealt_with(self) -> int:
        """The sequence up to which every executor has acknowledged its grants."""
        subject = f"$JS.API.CONSUMER.LIST.{stream_name(self.log.cell)}"
        reply = await self.client.request(subject, b"{}", timeout=5)
        consumers: list[dict[str, Any]] = json.loads(reply.data)["consumers"]
        executors = (Actor.TOOL_EXECUTOR.value, executor_user(""))
        floors: list[int] = [
            one["ack_floor"]["stream_seq"] for one in consumers if one["name"].startswith(executors)
        ]
        return min(floors, default=0)

    async def _refuse_in_use(self, key_id: str) -> None:
        waiting = [one for one in await self.outstanding() if one.key_id == key_id]
        if waiting:
            until = max(one.expires_at for one in waiting)
            raise UserError(
                f"{len(waiting)} grants signed with {key_id} have not run; the last expires at "
                f"{until:%H:%M:%S} UTC (--force refuses them)"
            )
        history = await self.history()
        newest = await self.log.fetch({"last_by_subj": f"{self.log.cell}.approved.>"})
        grant = None if newest is None else newest.event().data
        late = newest is not None and history and newest.sequence > history[-1].sequence
        if late and isinstance(grant, Grant) and grant.key_id == key_id:
            raise UserError(
                f"the gate still signs with {key_id}: the new key has not come to it; its /ready "
                "says what is missing (--force retires it all the same)"
            )

    async def _write(self, wanted: Holding, how: How, by: str, reason: str) -> Keyring:
        """Log what shall hold, as the keyring after the one that it was made of."""
        unsigned = Keyring(
            number=wanted.number + 1,
            how=how,
            keys=wanted.keys,
            signing=wanted.signing,
            epoch=wanted.epoch,
            retired=wanted.retired,
            by=by,
            reason=reason,
            signed_by="nobody",
            signature="",
        )
        keyring = signed(unsigned, signing_key(self.settings, BUNDLES))
        committer = Committer(self.client)
        try:
            stored = await committer.commit([keyring_event(self.log.cell, keyring)])
        except CommitRefused as error:
            raise UserError(f"the broker refused: {error}") from None
        finally:
            await committer.close()
        if stored is not Committed.NEW:
            raise UserError(
                f"keyring {keyring.number} has just been somebody else's; `interlock keys list` "
                "says whose"
            )
        public = trusted_keys_path(self.settings.state)
        if public.exists():  # what holds where the log has no keyring yet: a new, empty one
            public.write_text("\n".join(keyring.keys) + "\n")
        return keyring

    def _forget(self, key_id: str, made: Keyring) -> None:
        """Remove a private key that is not used any more, where it is kept here."""
        state = self.settings.state
        first, follower = signing_key_path(state), next_key_path(state, made.signing)
        next_key_path(state, key_id).unlink(missing_ok=True)
        if first.exists() and held_keys(state)[0] == key_id and follower.exists():
            follower.replace(first)


def id_of(public: str) -> str:
    """The id of a public key in base64."""
    return key_id_of(base64.b64decode(public))


@asynccontextmanager
async def key_desk(settings: Settings) -> AsyncIterator[KeyDesk]:
    """An operator's connection; raises `UserError` without credential or broker."""
    async with operator_log(settings) as (client, log):
        yield KeyDesk(settings, client, log)
