"""The cell's keyring: which keys grants are signed with, by the last `keyring` event on the log.

The log is asked whenever a grant is signed or about to be acted on: a change holds for every
service from the moment it is logged, and nobody has to be told. Before the first keyring the keys
hold that the installation was made with, in epoch 0.

A keyring counts only with the signature of an operator's key. Who has a broker credential, or the
broker's disk, but not that key, can neither bring in a key nor take back a revocation.
"""

from datetime import UTC, datetime

import structlog

from interlock.runtime.errors import SlowDown, UserError
from interlock.runtime.keys import BUNDLES, verifier
from interlock.runtime.log import JetStreamLog, StoredMessage
from interlock.runtime.settings import Settings
from interlock.runtime.signing import SigningKey, Verifier
from interlock_contracts.activation import NO_TENANT
from interlock_contracts.event import Event, InvalidEvent, subject_id
from interlock_contracts.failures import FailureCode
from interlock_contracts.keyring import KEYRING, Keyring
from interlock_contracts.subjects import Subject

WAIT_S = 2.0
"""How long a grant waits until a keyring that could not be used is looked at again, in seconds."""

log = structlog.get_logger(__name__)


class KeyringLog:
    """Reads a cell's keyrings. `problem` says why the last one cannot be used here."""

    def __init__(self, log_: JetStreamLog, settings: Settings) -> None:
        self.problem: str | None = None
        self._log = log_
        self._settings = settings
        self._known: Keyring | None = None
        self._sequence = 0

    @property
    def pattern(self) -> str:
        """The subjects of all keyrings."""
        return f"{self._log.cell}.keyring.{NO_TENANT}.{KEYRING}.*"

    async def last(self) -> Keyring | None:
        """What holds at this moment, by the word of the log's leader; None before the first.

        Raises:
            RetryLater: the log did not answer.
            SlowDown: what it says cannot be used here. Nothing is signed or done until it can.
        """
        found = await self._log.fetch({"last_by_subj": self.pattern})
        sequence = 0 if found is None else found.sequence
        if sequence != self._sequence:
            try:
                self._known = self._newer(found)
            except UserError as error:
                if self.problem is None:
                    log.error("keyring_refused", reason=str(error))  # noqa: TRY400  # its reason says it all
                self.problem = str(error)
                raise SlowDown(FailureCode.STAGE_FAILED, self.problem, WAIT_S) from None
            self._sequence = sequence
        self.problem = None
        return self._known

    def _newer(self, found: StoredMessage | None) -> Keyring:
        if found is None or found.sequence < self._sequence:
            raise UserError("the log has lost a keyring that it had")
        return opened(found, verifier(self._settings, BUNDLES))


def opened(found: StoredMessage, trusted: Verifier) -> Keyring:
    """The keyring in a message; raises `UserError` if it is none, or none of an operator's."""
    try:
        keyring = found.event().data
    except InvalidEvent as error:
        raise UserError(f"{found.subject}: {error.message}") from None
    assert isinstance(keyring, Keyring)  # the event table says so
    if not trusted.signed(keyring.signed_by, keyring.signature, keyring.signed_bytes()):
        raise UserError(
            f"keyring {keyring.number} is not signed by an operator's key that is trusted here: "
            "see keys/bundles.pub"
        )
    try:
        Verifier.from_text(keyring.keys)
    except ValueError:
        raise UserError(f"keyring {keyring.number} holds what is no Ed25519 key") from None
    return keyring


def signed(keyring: Keyring, key: SigningKey) -> Keyring:
    """The keyring with an operator's signature."""
    named = keyring.model_copy(update={"signed_by": key.key_id})
    return named.model_copy(update={"signature": key.signature(named.signed_bytes())})


def keyring_event(cell: str, keyring: Keyring) -> Event:
    """What makes a keyring hold. The number in its subject makes it a compare-and-swap."""
    at = Subject(cell, "keyring", NO_TENANT, KEYRING, str(keyring.number))
    return Event(at, keyring, subject_id(at), f"/operator/{keyring.by}", datetime.now(UTC))
