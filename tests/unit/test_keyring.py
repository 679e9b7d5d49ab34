"""Revoked grants open nothing; a keyring counts only as an operator signed it."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.effects import World, grant

from interlock.contract_validator.signer import Signer
from interlock.runtime.errors import RetryLater, SlowDown, UserError
from interlock.runtime.keyring import KeyringLog, keyring_event, opened, signed
from interlock.runtime.keys import BUNDLES, held_keys, make_keys, next_key_path, signing_key
from interlock.runtime.log import StoredMessage
from interlock.runtime.settings import Settings
from interlock.runtime.signing import SigningKey, Verifier
from interlock_contracts.actions import Effect, Grant
from interlock_contracts.failures import FailureCode
from interlock_contracts.keyring import Keyring

KEY = SigningKey.generate()
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def keyring(number: int = 1, key: SigningKey = KEY, **changes: Any) -> Keyring:
    given: dict[str, Any] = {
        "number": number,
        "how": "rotate",
        "keys": (KEY.public_text,),
        "signing": KEY.key_id,
        "epoch": 0,
        "by": "jo",
        "reason": "a test",
        "signed_by": "x",
        "signature": "",
    }
    return signed(Keyring(**(given | changes)), key)


def stored(keyring: Keyring, sequence: int = 7) -> StoredMessage:
    event = keyring_event("ev", keyring)
    head = "".join(f"{name}: {value}\r\n" for name, value in event.headers().items())
    return StoredMessage(
        {
            "subject": str(event.subject),
            "seq": sequence,
            "data": base64.b64encode(event.body()).decode(),
            "hdrs": base64.b64encode(f"NATS/1.0\r\n{head}\r\n".encode()).decode(),
            "time": NOW.isoformat(),
        }
    )


class Told(KeyringLog):
    """The keyrings of a log that holds this one."""

    def __init__(self, settings: Settings, holds: StoredMessage | None = None) -> None:
        self.holds = holds
        super().__init__(self, settings)  # type: ignore[arg-type]  # it reads itself

    cell = "ev"

    async def fetch(self, query: dict[str, Any]) -> StoredMessage | None:
        assert query == {"last_by_subj": "ev.keyring._.grants.*"}
        return self.holds


@pytest.mark.parametrize("name", ["pay_again", "pay_ask", "pay_once"])
async def test_a_revoked_grant_is_not_acted_on(name: str) -> None:
    world = World()
    world.epoch = 1
    outcome = await world.process().perform(grant(name))
    assert outcome.effect is Effect.DID_NOT_HAPPEN
    assert outcome.failure is not None
    assert outcome.failure.code is FailureCode.GRANT_REVOKED
    assert world.calls == []
    current = grant(name, "2-0", cents=7).model_copy(update={"epoch": 1})
    assert (await world.process().perform(current)).effect is Effect.LANDED
    assert len(world.calls) == 1


async def test_a_revoked_grant_to_read_is_refused_as_well() -> None:
    world = World()
    world.epoch = 1
    outcome = await world.process().perform(grant("balance", account="a"))
    assert outcome.failure is not None
    assert outcome.failure.code is FailureCode.GRANT_REVOKED
    assert world.calls == []


async def test_what_was_called_before_the_revocation_is_not_said_not_to_have_happened() -> None:
    """The call was cut off; then the epoch was raised; then the grant came again."""
    world = World()

    def cut_off() -> None:
        raise ConnectionError

    world.after_call = cut_off
    process = world.process()
    with pytest.raises(RetryLater):
        await process.perform(grant("pay_again"))
    world.epoch = 1
    outcome = await process.perform(grant("pay_again"))
    assert outcome.effect is Effect.IN_DOUBT
    assert len(world.calls) == 1


def test_an_operators_keyring_is_opened() -> None:
    assert opened(stored(keyring()), Verifier([KEY.public])) == keyring()


MUTATED: dict[str, st.SearchStrategy[Any]] = {
    "number": st.integers(2, 9),
    "how": st.sampled_from(["retire", "revoke"]),
    "keys": st.just((SigningKey.generate().public_text,)),
    "signing": st.sampled_from(["a" * 16, "b"]),
    "epoch": st.integers(1, 9),
    "retired": st.just((KEY.key_id,)),
    "by": st.sampled_from(["eve", "Jo"]),
    "reason": st.sampled_from(["other", "a test."]),
    "signed_by": st.just("a" * 16),
    "signature": st.binary(min_size=64, max_size=64).map(lambda b: base64.b64encode(b).decode()),
}


def test_every_field_of_a_keyring_is_mutated() -> None:
    assert set(MUTATED) == set(Keyring.model_fields)


@given(st.data(), st.sampled_from(sorted(MUTATED)))
def test_no_altered_keyring_counts(data: st.DataObject, name: str) -> None:
    altered = keyring().model_copy(update={name: data.draw(MUTATED[name])})
    with pytest.raises(UserError, match="not signed by an operator's key"):
        opened(stored(altered), Verifier([KEY.public]))


async def test_a_log_that_loses_its_keyring_is_not_believed(tmp_path: Path) -> None:
    make_keys(tmp_path)
    settings = Settings(state=tmp_path)
    ours = signing_key(settings, BUNDLES)
    told = Told(settings)
    assert await told.last() is None
    told.holds = stored(keyring(3, ours, epoch=2), sequence=9)
    found = await told.last()
    assert found is not None
    assert found.epoch == 2
    for lost in (None, stored(keyring(2, ours), sequence=4)):
        told.holds = lost
        with pytest.raises(SlowDown, match="has lost a keyring"):
            await told.last()
        assert told.problem is not None
    told.holds = stored(keyring(4, ours, epoch=2), sequence=11)
    assert await told.last() is not None
    assert told.problem is None


async def test_the_gate_signs_with_the_key_of_the_keyring_or_another_that_is_trusted(
    tmp_path: Path,
) -> None:
    make_keys(tmp_path)
    settings = Settings(state=tmp_path)
    ours = signing_key(settings, BUNDLES)
    first = held_keys(tmp_path)[1][held_keys(tmp_path)[0]]
    told = Told(settings)
    signer = Signer(told, tmp_path)
    unsigned = grant("pay_once")
    assert (await signer.sign(unsigned)).key_id == first.key_id

    new = SigningKey.generate()
    both = (first.public_text, new.public_text)
    told.holds = stored(keyring(1, ours, keys=both, signing=new.key_id, epoch=5), sequence=8)
    by_the_old = await signer.sign(unsigned)
    assert (by_the_old.key_id, by_the_old.epoch) == (first.key_id, 5)
    assert signer.problem is not None
    assert new.key_id in signer.problem

    told.holds = stored(keyring(2, ours, keys=both[1:], signing=new.key_id), sequence=9)
    with pytest.raises(SlowDown):  # the old one is retired, the new one is not here yet
        await signer.sign(unsigned)
    new.save(next_key_path(tmp_path, new.key_id))
    by_the_new: Grant = await signer.sign(unsigned)
    assert by_the_new.key_id == new.key_id
    assert signer.problem is None


def test_a_keyring_says_nothing_that_is_not_in_its_bytes() -> None:
    body = json.loads(keyring().signed_bytes())
    assert set(body) == set(Keyring.model_fields) - {"signature"}
