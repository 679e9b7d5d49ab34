"""Keys that sign grants are replaced, retired and revoked under the services' feet."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.broker import connected
from tests.support.gate import CreateRefund, propose, refund_case, validators
from tests.support.system import logged, wait_logged
from typer.testing import CliRunner

from interlock.cli.app import app
from interlock.cli.keyrings import Holding, KeyDesk, key_desk
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.commit import Committer
from interlock.runtime.errors import UserError
from interlock.runtime.keyring import keyring_event, signed
from interlock.runtime.keys import further_keys, held_keys, signing_key, trusted_keys
from interlock.runtime.service import Connection, Handle, Service
from interlock.runtime.settings import Settings
from interlock.runtime.signing import SigningKey
from interlock.sdk import ToolContext, ToolExecutor
from interlock.tool_executor.serving import executor_handler
from interlock_contracts.actions import Effect, Grant, Result
from interlock_contracts.answer import DeadLetter
from interlock_contracts.failures import FailureCode
from interlock_contracts.keyring import Keyring


class Shop:
    """A gate in a process of its own, an operator, and an executor that notes what it did."""

    def __init__(self, broker: EmbeddedBroker, desk: KeyDesk) -> None:
        self.broker = broker
        self.desk = desk
        self.settings = desk.settings
        self.refunded: list[str] = []
        self.health: list[Any] = []

    async def grant(self, number: int) -> Grant:
        """Have an action approved; its grant."""
        case = refund_case(number, user=f"user-{number}")
        await propose(self.broker, case)
        at = f"ev.approved.acme.{case.request.request_id}.1-0.create_refund"
        (found,) = await wait_logged(self.broker, at)
        data = found.event().data
        assert isinstance(data, Grant)
        return data

    async def result(self, grant: Grant) -> Result:
        at = f"ev.result.acme.{grant.request_id}.1-0.create_refund"
        (found,) = await wait_logged(self.broker, at)
        data = found.event().data
        assert isinstance(data, Result)
        return data

    @asynccontextmanager
    async def executor(self) -> AsyncIterator[None]:
        tools = ToolExecutor()

        @tools.tool(CreateRefund)
        async def refund(arguments: CreateRefund, call: ToolContext) -> object:
            self.refunded.append(arguments.order_id)
            return {"refunded": arguments.cents}

        async def wire(connection: Connection) -> Handle:
            self.health = connection.health
            return executor_handler("tool-executor", tools, connection)

        service, stop = Service("tool-executor", self.settings, wire), asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        try:
            await service.wait_ready()
            yield
        finally:
            stop.set()
            await running


@pytest.fixture
async def shop(fresh_broker: EmbeddedBroker) -> AsyncIterator[Shop]:
    settings = Settings(state=fresh_broker.state, nats_url=fresh_broker.url)
    async with validators(fresh_broker), key_desk(settings) as desk:
        yield Shop(fresh_broker, desk)


async def test_a_key_is_replaced_while_its_grants_are_under_way(shop: Shop) -> None:
    old = held_keys(shop.settings.state)[0]
    before = await shop.grant(1)
    made = await shop.desk.rotate("jo", "every quarter")
    after = await shop.grant(2)
    assert (before.key_id, after.key_id) == (old, made.signing)
    with pytest.raises(UserError, match=r"1 grants signed with .* have not run"):
        await shop.desk.retire(old, "jo", "too early")
    with pytest.raises(UserError, match="rotate` comes first"):
        await shop.desk.retire(made.signing, "jo", "the one that signs")
    async with shop.executor():
        for grant in (before, after):
            assert (await shop.result(grant)).effect is Effect.LANDED
        await shop.desk.retire(old, "jo", "replaced")
        assert (await shop.result(await shop.grant(3))).effect is Effect.LANDED
    assert shop.refunded == ["A-1", "A-2", "A-3"]
    # What is in the folder is the new key alone: a new installation of it starts with that.
    first, held = held_keys(shop.settings.state)
    assert (first, set(held), further_keys(shop.settings.state)) == (made.signing, {first}, [])
    assert trusted_keys(shop.settings.state) == (held[first].public_text,)
    assert await logged(shop.broker, "ev.dead.>") == []


async def test_what_a_retired_key_signed_is_refused(shop: Shop) -> None:
    old = await shop.grant(1)
    await shop.desk.rotate("jo", "it leaked")
    await shop.desk.retire(old.key_id, "jo", "it leaked", force=True)
    async with shop.executor():
        (found,) = await wait_logged(shop.broker, "ev.dead.>")
        letter = found.event().data
        assert isinstance(letter, DeadLetter)
        assert letter.failure.code is FailureCode.GRANT_INVALID
        assert (await shop.result(await shop.grant(2))).effect is Effect.LANDED
    assert shop.refunded == ["A-2"]


async def test_a_raised_epoch_revokes_what_is_outstanding_and_nothing_of_it_runs(
    shop: Shop,
) -> None:
    grants = [await shop.grant(number) for number in (1, 2)]
    made, waiting = await shop.desk.revoke("jo", "a wrong policy was live")
    assert made.epoch == 1
    assert {one.request_id for one in waiting} == {one.request_id for one in grants}
    async with shop.executor():
        for grant in grants:
            result = await shop.result(grant)
            assert result.effect is Effect.DID_NOT_HAPPEN
            assert result.failure is not None
            assert result.failure.code is FailureCode.GRANT_REVOKED
        assert shop.refunded == []
        new = await shop.grant(3)  # the services have not been told, and were not restarted
        assert new.epoch == 1
        assert (await shop.result(new)).effect is Effect.LANDED
    assert shop.refunded == ["A-3"]
    assert await logged(shop.broker, "ev.dead.>") == []


async def test_a_keyring_without_the_operators_signature_stops_everything_until_it_is_mended(
    shop: Shop,
) -> None:
    """Who has the operator's credential, but not the key, cannot bring in a key of their own."""
    grant = await shop.grant(1)
    mallory = SigningKey.generate()
    await shop_writes(shop, await shop.desk.now(), mallory)
    async with shop.executor():
        async with asyncio.timeout(20):
            while True:
                if any(check() for check in shop.health):
                    break
                await asyncio.sleep(0.05)  # health offers no event to wait for
        assert shop.refunded == []
        mended = await shop.desk.rotate("jo", "a keyring was forged")
        assert mended.number == 2
        assert mallory.public_text not in mended.keys
        assert (await shop.result(grant)).effect is Effect.LANDED
    assert [one.keyring.number for one in await shop.desk.history()] == [2]
    assert await logged(shop.broker, "ev.dead.>") == []


async def shop_writes(shop: Shop, now: Holding, key: SigningKey) -> None:
    """Log a keyring that trusts `key` alone, signed with it."""
    unsigned = Keyring(
        number=now.number + 1,
        how="rotate",
        keys=(key.public_text,),
        signing=key.key_id,
        epoch=now.epoch,
        by="mallory",
        reason="mine",
        signed_by="x",
        signature="",
    )
    async with connected(shop.broker, "operator") as client:
        committer = Committer(client)
        await committer.commit([keyring_event("ev", signed(unsigned, key))])
        await committer.close()


async def test_a_gate_without_the_new_key_goes_on_with_the_old_one(
    shop: Shop, tmp_path: Path
) -> None:
    """Where parts run apart, the new key comes to the gate after it was announced."""
    elsewhere = tmp_path / "vault"
    (elsewhere / "keys").mkdir(parents=True)
    for file in (shop.settings.state / "keys").iterdir():
        (elsewhere / "keys" / file.name).write_bytes(file.read_bytes())
        (elsewhere / "keys" / file.name).chmod(0o600)
    vault = shop.settings.model_copy(update={"state": elsewhere})
    desk = KeyDesk(vault, shop.desk.client, shop.desk.log)
    made = await desk.rotate("jo", "made in the vault")
    old = await shop.grant(1)
    assert old.key_id != made.signing
    async with shop.executor():
        assert (await shop.result(old)).effect is Effect.LANDED
    with pytest.raises(UserError, match="the gate still signs with"):
        await desk.retire(old.key_id, "jo", "too early")
    (new,) = further_keys(elsewhere)
    target = shop.settings.state / "keys" / new.name
    target.write_bytes(new.read_bytes())
    target.chmod(0o600)
    assert (await shop.grant(2)).key_id == made.signing
    await desk.retire(old.key_id, "jo", "replaced", force=True)


async def test_the_commands(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_NATS_URL", shop.broker.url)
    old = signing_key(shop.settings).key_id

    async def keys(*arguments: str) -> Any:
        given = ["keys", *arguments, "--state", str(shop.settings.state), "--json"]
        done = await asyncio.to_thread(CliRunner().invoke, app, given)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    assert await keys("list") == {
        "number": 0, "epoch": 0, "keys": [{"key": old, "is": "signs", "since": None}]
    }  # fmt: skip
    made = await keys("rotate", "--reason", "every quarter", "--author", "jo")
    assert (made["number"], made["by"]) == (1, "jo")
    assert (await keys("revoke", "--reason", "to be sure"))["revoked"] == []
    assert (await keys("retire", old, "--reason", "replaced"))["retired"] == [old]
    told = await keys("list")
    assert (told["number"], told["epoch"]) == (3, 1)
    assert [(one["key"], one["is"]) for one in told["keys"]] == [
        (made["signing"], "signs"), (old, "retired")
    ]  # fmt: skip
    assert all(one["since"] for one in told["keys"])
    given = ["keys", "revoke", "--state", str(shop.settings.state)]
    done = await asyncio.to_thread(CliRunner().invoke, app, given)
    assert isinstance(done.exception, UserError)  # no reason
