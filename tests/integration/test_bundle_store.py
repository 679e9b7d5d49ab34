"""Bundles on the real broker: by digest, signed, written once, and by whom."""

import asyncio
from pathlib import Path

import pytest
from tests.support.broker import call, connected

from interlock.bundles.compile import compile_bundle
from interlock.bundles.errors import BundleRefused, BundleUnknown
from interlock.bundles.model import Bundle
from interlock.runtime.broker.connect import PermissionDenied
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.broker.topology import bundle_subject
from interlock.runtime.bundles.store import AUTHOR, KEY, SIGNATURE, BundleStore, Pushed, push
from interlock.runtime.errors import UserError
from interlock.runtime.log import stored
from interlock.runtime.signing import SigningKey, Verifier
from interlock_contracts.canonical import canonical_json
from interlock_contracts.ids import new_request_id
from interlock_contracts.table import BUNDLED, SERVICES

OURS = SigningKey.generate()
TRUSTED = Verifier([OURS.public])
EXAMPLE = compile_bundle(Path("examples/support"))


def a_bundle() -> Bundle:
    """One that nobody has pushed."""
    changed = EXAMPLE.model_copy(update={"version": new_request_id()})
    return Bundle.model_validate_json(canonical_json(changed))  # a copy would keep its digest


@pytest.mark.parametrize("user", [*BUNDLED, "operator", "replay"])
async def test_whoever_may_read_gets_what_was_pushed(broker: EmbeddedBroker, user: str) -> None:
    bundle = a_bundle()
    async with connected(broker, "operator") as operator, connected(broker, user) as reader:
        assert await push(operator, "ev", bundle, OURS, "jo")
        assert not await push(operator, "ev", bundle, OURS, "kim"), "it is there already"
        store = BundleStore(reader, "ev", TRUSTED)
        assert await store.get(bundle.digest) == bundle
        with pytest.raises(BundleUnknown, match="bundle push"):
            await store.get("sha256:" + "0" * 64)
        pushed = [one async for one in store.pushed() if isinstance(one, Pushed)]
        assert [(one.bundle, one.author) for one in pushed][-1] == (bundle, "jo")


@pytest.mark.parametrize("user", [*SERVICES, "producer-acme", "reviewer-acme", "replay"])
async def test_only_the_operator_stores_bundles_and_says_which_is_active(
    broker: EmbeddedBroker, user: str
) -> None:
    async with connected(broker, user) as client, asyncio.timeout(5):
        for subject in (
            bundle_subject("ev", a_bundle().digest),
            "ev.activated._.bundle.1",
            "ev.evaluated._.bundle.1",
            "ev.prepare.generator",
        ):
            with pytest.raises(PermissionDenied):
                await client.request(subject, b"{}", timeout=30)


@pytest.mark.parametrize(
    "user", ["tool-executor", "audit-sink", "producer-acme", "executor-mailer"]
)
async def test_who_needs_no_bundle_cannot_read_one(broker: EmbeddedBroker, user: str) -> None:
    async with connected(broker, user) as client, asyncio.timeout(5):
        with pytest.raises(PermissionDenied):
            await BundleStore(client, "ev", TRUSTED).get(EXAMPLE.digest)


async def test_nobody_overwrites_or_deletes_a_bundle(broker: EmbeddedBroker) -> None:
    bundle = a_bundle()
    subject = bundle_subject("ev", bundle.digest)
    async with (
        connected(broker, "operator") as operator,
        connected(broker, "provisioner") as provisioner,
    ):
        await push(operator, "ev", bundle, OURS, "jo")
        assert "error" in await call(operator, subject, {"another": "bundle"})
        stream = "$JS.API.STREAM"
        assert "error" in await call(provisioner, f"{stream}.PURGE.EV_BUNDLES", {})
        assert "error" in await call(provisioner, f"{stream}.MSG.DELETE.EV_BUNDLES", {"seq": 1})
        for forbidden in (f"{stream}.DELETE.EV_BUNDLES", f"{stream}.UPDATE.EV_BUNDLES"):
            with pytest.raises(PermissionDenied):
                await operator.request(forbidden, b"{}", timeout=30)
        assert await BundleStore(operator, "ev", TRUSTED).get(bundle.digest) == bundle


async def refused(broker: EmbeddedBroker, bundle: Bundle, body: bytes, **headers: str) -> str:
    """What is said of a message that somebody with the operator's credential has stored."""
    async with connected(broker, "operator") as operator:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        await operator.request(bundle_subject("ev", bundle.digest), body, headers=given or None)
        with pytest.raises(BundleRefused) as error:
            await BundleStore(operator, "ev", TRUSTED).get(bundle.digest)
        return str(error.value)


async def test_what_is_altered_or_not_signed_is_refused(broker: EmbeddedBroker) -> None:
    theirs = SigningKey.generate()
    async with connected(broker, "operator") as operator:
        stranger = a_bundle()
        await push(operator, "ev", stranger, theirs, "jo")
        with pytest.raises(BundleRefused, match="not signed by a key that is trusted"):
            await BundleStore(operator, "ev", TRUSTED).get(stranger.digest)
        both = Verifier([OURS.public, theirs.public])
        assert await BundleStore(operator, "ev", both).get(stranger.digest) == stranger
    unsigned = a_bundle()
    assert "not signed" in await refused(broker, unsigned, canonical_json(unsigned))
    altered = a_bundle()
    body = canonical_json(altered).replace(b'"format":1', b'"format":1 ')
    assert "altered" in await refused(broker, altered, body)


async def test_a_signature_is_for_one_bundle_and_one_author(broker: EmbeddedBroker) -> None:
    one, other = a_bundle(), a_bundle()
    async with connected(broker, "operator") as operator:
        await push(operator, "ev", one, OURS, "jo")
        query = {"last_by_subj": bundle_subject("ev", one.digest)}
        found = await stored(operator, "EV_BUNDLES", query)
    assert found is not None
    taken = {KEY: found.headers[KEY], SIGNATURE: found.headers[SIGNATURE]}
    assert "not signed" in await refused(
        broker, other, canonical_json(other), **taken, **{AUTHOR: "jo"}
    )
    third = a_bundle()
    assert "not signed" in await refused(
        broker, third, canonical_json(third), **taken, **{AUTHOR: "somebody else"}
    )


async def test_a_bundle_that_is_too_large_is_said_so(broker: EmbeddedBroker) -> None:
    huge = EXAMPLE.model_copy(update={"prompts": {"answer": "x" * 2_200_000}})
    async with connected(broker, "operator") as operator:
        with pytest.raises(UserError, match=r"2,\d+,\d+ bytes"):
            await push(operator, "ev", huge, OURS, "jo")
