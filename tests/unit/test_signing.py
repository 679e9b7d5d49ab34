"""Signed grants: only the untouched one verifies."""

import base64
import pickle
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.runtime.errors import UserError
from interlock.runtime.signing import GrantInvalid, SigningKey, Verifier
from interlock_contracts.actions import Grant, effect_key
from interlock_contracts.canonical import digest
from interlock_contracts.failures import FailureCode

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY = SigningKey.generate()
VERIFIER = Verifier([KEY.public])
ARGUMENTS = {"order_id": "A-1001", "amount_cents": 1999}


def unsigned(**changes: Any) -> Grant:
    given: dict[str, Any] = {
        "action": "1-0",
        "tenant": "acme",
        "request_id": "01JD0000000000000000000000",
        "tool": "create_refund",
        "arguments": ARGUMENTS,
        "arguments_digest": digest(ARGUMENTS),
        "action_digest": digest("action"),
        "effect_key": effect_key("acme", "01JD0000000000000000000000", "create_refund", ARGUMENTS),
        "bundle": digest("bundle"),
        "requester": "ann",
        "issued_at": NOW,
        "expires_at": NOW + timedelta(minutes=5),
        "key_id": "unsigned",
        "signature": "",
    }
    return Grant(**(given | changes))


GRANT = KEY.sign(unsigned())


def verify(grant: Grant, **changes: Any) -> None:
    call: dict[str, Any] = {"tool": "create_refund", "tenant": "acme", "now": NOW}
    VERIFIER.verify(grant, **(call | changes))


def code_of(act: Callable[[], None]) -> FailureCode:
    with pytest.raises(GrantInvalid) as caught:
        act()
    return caught.value.code


def test_a_good_grant_verifies_also_after_the_wire() -> None:
    verify(Grant.model_validate_json(GRANT.model_dump_json()))


def test_signing_twice_gives_the_same_bytes() -> None:
    assert KEY.sign(unsigned()) == GRANT


def test_expired_is_told_apart_from_invalid() -> None:
    late = GRANT.expires_at
    assert code_of(lambda: verify(GRANT, now=late)) is FailureCode.GRANT_EXPIRED
    verify(GRANT, now=late - timedelta(microseconds=1))


@pytest.mark.parametrize("changes", [{"tool": "send_mail"}, {"tenant": "globex"}])
def test_for_another_tool_or_tenant_it_is_invalid(changes: dict[str, Any]) -> None:
    assert code_of(lambda: verify(GRANT, **changes)) is FailureCode.GRANT_INVALID


def test_another_key_is_not_trusted_until_it_is_listed() -> None:
    other = SigningKey.generate()
    theirs = other.sign(unsigned())
    assert code_of(lambda: verify(theirs)) is FailureCode.GRANT_INVALID
    rotating = Verifier.from_text([KEY.public_text, other.public_text])
    for grant in (theirs, GRANT):
        rotating.verify(grant, tool="create_refund", tenant="acme", now=NOW)
    claimed = theirs.model_copy(update={"key_id": KEY.key_id})
    assert code_of(lambda: verify(claimed)) is FailureCode.GRANT_INVALID


@pytest.mark.parametrize(
    "changes", [{"arguments_digest": digest("other")}, {"effect_key": "0" * 64}]
)
def test_a_signed_grant_that_contradicts_itself_is_invalid(changes: dict[str, Any]) -> None:
    grant = KEY.sign(unsigned(**changes))
    assert code_of(lambda: verify(grant)) is FailureCode.GRANT_INVALID


text = st.text("ab019-_", min_size=1, max_size=12)
MUTATIONS: dict[str, st.SearchStrategy[Any]] = {
    "action": text,
    "tenant": text,
    "request_id": st.just("01JD0000000000000000000001"),
    "tool": text,
    "arguments": st.dictionaries(text, st.integers(0, 9) | text, max_size=3),
    "arguments_digest": text.map(digest),
    "action_digest": text.map(digest),
    "effect_key": text,
    "bundle": text.map(digest),
    "requester": text,
    "approved_by": st.lists(text, min_size=1, max_size=2).map(tuple),
    "issued_at": st.timedeltas(timedelta(seconds=1), timedelta(days=9)).map(lambda d: NOW + d),
    "expires_at": st.timedeltas(timedelta(hours=1), timedelta(days=9)).map(lambda d: NOW + d),
    "epoch": st.integers(1, 9),
    "personal": st.dictionaries(text, text, min_size=1, max_size=2),
    "key_id": text,
    "signature": text | st.integers(0, 511).map(lambda bit: flipped(bit)),
}


def flipped(bit: int) -> str:
    raw = bytearray(base64.b64decode(GRANT.signature))
    raw[bit // 8] ^= 1 << bit % 8
    return base64.b64encode(raw).decode()


def test_every_field_is_mutated_below() -> None:
    assert set(MUTATIONS) == set(Grant.model_fields)


@given(
    st.sampled_from(sorted(MUTATIONS)).flatmap(
        lambda name: st.tuples(st.just(name), MUTATIONS[name])
    )
)
def test_no_mutation_of_a_signed_grant_verifies(mutation: tuple[str, Any]) -> None:
    name, value = mutation
    if value == getattr(GRANT, name):
        return
    changed = GRANT.model_copy(update={name: value})
    with pytest.raises(GrantInvalid):
        VERIFIER.verify(changed, tool=changed.tool, tenant=changed.tenant, now=NOW)


def test_another_spelling_of_the_same_signature_does_not_verify() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body, last = GRANT.signature[:85], GRANT.signature[85]
    respelled = f"{body}{alphabet[alphabet.index(last) ^ 1]}=="
    assert base64.b64decode(respelled) == base64.b64decode(GRANT.signature)
    changed = GRANT.model_copy(update={"signature": respelled})
    assert code_of(lambda: verify(changed)) is FailureCode.GRANT_INVALID


def test_a_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "gate.pem"
    key = SigningKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load_or_create(path).key_id == SigningKey.load(path).key_id == key.key_id
    assert [file.name for file in path.parent.iterdir()] == ["gate.pem"]


@pytest.mark.parametrize("content", ["", "secret-words", "-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_file_that_holds_no_key_is_refused_without_its_content(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "gate.pem"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(UserError, match="private key") as caught:
        SigningKey.load(path)
    assert "secret-words" not in str(caught.value)


def test_a_key_does_not_show_itself(tmp_path: Path) -> None:
    key = SigningKey.load_or_create(tmp_path / "gate.pem")
    assert repr(key) == f"SigningKey({key.key_id})"
    with pytest.raises(TypeError):
        pickle.dumps(key)
