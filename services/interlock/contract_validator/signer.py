"""Signing grants: in the epoch, and with the key, that the cell's keyring asks for."""

from pathlib import Path

from interlock.runtime.errors import SlowDown
from interlock.runtime.keyring import WAIT_S, KeyringLog
from interlock.runtime.keys import held_keys, signing_key_path
from interlock.runtime.signing import SigningKey
from interlock_contracts.actions import Grant
from interlock_contracts.failures import FailureCode
from interlock_contracts.keyring import Keyring


class Signer:
    """The private keys below `state`. `problem` says which one is missing there."""

    def __init__(self, keyrings: KeyringLog, state: Path) -> None:
        """Raises `UserError` where there is no key, or one that others may read."""
        self.problem: str | None = None
        self._keyrings = keyrings
        self._state = state
        self._first, self._held = held_keys(state)

    async def sign(self, grant: Grant) -> Grant:
        """The grant, signed as the keyring says now; raises as `KeyringLog.last`.

        Until the key that it names is in the folder, another that is trusted will do; if none is,
        the grant waits.
        """
        keyring = await self._keyrings.last()
        if keyring is None:
            return self._held[self._first].sign(grant)
        key = self._key(keyring)
        return key.sign(grant.model_copy(update={"epoch": keyring.epoch}))

    def _key(self, keyring: Keyring) -> SigningKey:
        if keyring.signing not in self._held:
            self._first, self._held = held_keys(self._state)
        wanted = self._held.get(keyring.signing)
        if wanted is not None:
            self.problem = None
            return wanted
        folder = signing_key_path(self._state).parent
        self.problem = (
            f"keyring {keyring.number} has grants signed with the key {keyring.signing}, which is "
            f"not in {folder}: bring its file there"
        )
        for key in self._held.values():
            if key.public_text in keyring.keys:
                return key
        raise SlowDown(FailureCode.STAGE_FAILED, self.problem, WAIT_S)
