"""`interlock audit` over a running system: what happened is told, proven, and forgotten on order.

The tests of this module build on each other, in order: the erasure comes last.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from examples.support import shop
from tests.integration.test_replay import QUESTIONS, World, running_world, send, settled
from tests.integration.test_stage_filter import Piped, call
from tests.support.broker import connected
from tests.support.system import logged

from interlock.audit_sink.custody import Custodian
from interlock.audit_sink.overwriting import Overwriter
from interlock.audit_sink.places import keys_file, open_for_custody, open_reader, store_file
from interlock.cli.system import Task
from interlock.runtime.broker.connect import PermissionDenied
from interlock.runtime.broker.permissions import ERASER
from interlock.runtime.errors import UserError
from interlock.sdk.producer import Producer
from interlock_contracts.actions import Notice
from interlock_contracts.subjects import Subject

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = "trimmer arrived damaged"
"""Maria's own, in the request `review` only."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_world(tmp_path_factory.mktemp("audited")) as running:
        await settled(running)
        yield running


async def audit(world: World, *arguments: str) -> Piped:
    return await asyncio.to_thread(
        call, ("audit", *arguments, "--state", str(world.settings.state))
    )


async def test_queries(world: World) -> None:
    found = (
        await audit(world, "query", "--tool", "create_refund", "--event", "result", "--json")
    ).lines
    assert {line["request_id"] for line in found} >= {world.requests["refund"]}
    assert all(line["facets"]["tool"] == ["create_refund"] for line in found)
    maria = (
        await audit(world, "query", "--tenant", "acme", "--principal", "maria", "--json")
    ).lines
    hers = {world.requests[name] for name, one in QUESTIONS.items() if one[1] == "maria"}
    assert {line["request_id"] for line in maria} == hers
    page = (await audit(world, "query", "--tenant", "acme", "--limit", "3")).out
    assert len(page.splitlines()) == 3
    assert (await audit(world, "query", "--principal", "maria")).status == 1
    denied = await audit(world, "query", "--code", "requester_is_approver", "--json")
    assert [line["event"] if "event" in line else line["type"] for line in denied.lines]


async def test_the_influence_of_a_document(world: World) -> None:
    (context,) = (
        await audit(
            world, "query", "--request", world.requests["cited"], "--event", "context", "--json"
        )
    ).lines
    document = context["facets"]["document"][0]
    expected = set()
    for line in (await audit(world, "query", "--event", "context", "--limit", "0", "--json")).lines:
        if document in line["facets"].get("document", []):
            expected.add(line["request_id"])
    touched = (await audit(world, "lineage", "--document", document, "--json")).lines
    assert {line["request_id"] for line in touched} == expected
    assert all(line["event"] not in ("request", "route") for line in touched)
    text = (await audit(world, "lineage", "--document", document)).out
    assert f"{len(expected)} requests" in text
    assert (await audit(world, "lineage", "--document", "no such")).status == 1


async def test_the_story_of_an_action(world: World) -> None:
    request = world.requests["review"]
    told = (
        await audit(world, "lineage", "--action", f"ev.approved.acme.{request}.1-0.create_refund")
    ).out
    for part in (
        "maria (customer) asked",
        WORDS,
        "policies",
        "comes from user",
        "rita decided: approve",
        "approved create_refund(",
        "landed",
    ):
        assert part in told, part
    whole = (await audit(world, "lineage", "--request", request)).out
    assert "the answer (answered)" in whole


async def test_an_event_is_proven_to_who_has_the_public_key(world: World, tmp_path: Path) -> None:
    subject = f"ev.approved.acme.{world.requests['review']}.1-0.create_refund"
    early = tmp_path / "checkpoint"
    early.write_text((await audit(world, "checkpoint")).out)
    proof = tmp_path / "proof.json"
    proof.write_text((await audit(world, "prove", "--event", subject, "--content")).out)
    key = tmp_path / "key.pub"
    key.write_text((world.settings.state / "audit/key.pub").read_text())
    checked = await asyncio.to_thread(
        call, ("audit", "verify", "--proof", str(proof), "--key", str(key), "--state", "nowhere")
    )
    assert checked.status == 0, checked.err
    proof.write_text((await audit(world, "prove", "--since", str(early))).out)
    assert (await audit(world, "verify", "--proof", str(proof))).status == 0
    proof.write_text(proof.read_text().replace("interlock/audit", "interlock/other", 1))
    bad = await audit(world, "verify", "--proof", str(proof))
    assert bad.status == 1, bad.out
    both = await audit(world, "verify", "--proof", str(proof), "--export", str(proof))
    assert both.status == 1 and "one at a time" in both.err  # neither passes unlooked at
    sealed = await audit(world, "verify", "--sealed", "--key", str(key), "--checkpoint", str(early))
    assert sealed.status == 0


async def test_a_hold_forbids_an_erasure(world: World) -> None:
    maria = ("--subject", "acme/maria")
    held = await audit(
        world, "hold", "--tenant", "acme", "--user", "maria", "--reason", "court", "--json"
    )
    id_ = held.lines[0]["hold"]
    refused = await audit(world, "erase", *maria)
    assert refused.status == 1
    assert "court" in refused.err
    assert id_ in (await audit(world, "holds")).out
    would = await audit(world, "erase", "--subject", "acme/tom", "--dry-run", "--json")
    assert would.lines[0]["contents"] > 0
    assert (await audit(world, "release", id_, "--by", "judge")).status == 0
    assert (await audit(world, "holds", "--json")).lines == []
    assert (await audit(world, "release", id_)).status == 1


async def test_an_erased_person_is_unreadable_everywhere_and_the_tree_still_verifies(
    world: World, tmp_path: Path
) -> None:
    state, request = world.settings.state, world.requests["review"]
    export = tmp_path / "acme.jsonl"
    early = tmp_path / "checkpoint"
    early.write_text((await audit(world, "checkpoint")).out)
    assert (await audit(world, "export", str(export), "--tenant", "acme")).status == 0
    plain = ("export", str(tmp_path / "plain.jsonl"), "--tenant", "acme", "--plain")
    assert (await audit(world, *plain)).status == 1
    assert (await audit(world, *plain, "--reason", "the court")).status == 0
    assert WORDS in (tmp_path / "plain.jsonl").read_text()
    assert WORDS in (await audit(world, "open", str(export))).out
    assert holding(state / "broker", WORDS)

    done = await audit(world, "erase", "--subject", "acme/maria", "--reason", "asked", "--json")
    assert done.status == 0, done.err
    assert "the court (plain.jsonl)" in done.lines[0]["plain_exports"][0]
    assert done.lines[0]["requests"] == sum(one[1] == "maria" for one in QUESTIONS.values())

    left = {
        message.subject.split(".")[1]
        for message in await logged(world.system.broker, f"ev.*.*.{request}.>")
    }
    assert left == {"reserved", "custody"}
    assert not holding(state / "broker", WORDS)
    assert not holding(store_file(state).parent, WORDS)
    assert not holding(keys_file(state).parent, "maria")
    opened = (await audit(world, "open", str(export))).lines
    assert not any(WORDS in str(line) for line in opened)
    assert {line["state"] for line in opened if line["request_id"] == request} == {"erased"}
    assert (await audit(world, "verify", "--export", str(export))).status == 0
    await settled(world)
    for arguments in ((), ("--sealed",)):
        report = await audit(world, "verify", "--json", "--checkpoint", str(early), *arguments)
        assert report.lines[0]["ok"] is True, report.out
        assert report.lines[0]["gone"] > 0
    told = (await audit(world, "lineage", "--request", request)).out
    assert "its content is erased" in told
    assert "had it erased: asked" in told
    shown = await asyncio.to_thread(call, ("events", request, "--state", str(state)))
    assert "erased by" in shown.out
    replayed = await asyncio.to_thread(call, ("replay", request, "--state", str(state)))
    assert (replayed.status, f"{request} erased" in replayed.out) == (0, True)
    others = (await audit(world, "query", "--tenant", "acme", "--principal", "tom", "--json")).lines
    assert {line["state"] for line in others} == {"readable"}
    assert (
        await audit(world, "erase", "--subject", "acme/maria")
    ).status == 1  # nobody by that name


async def test_an_erasure_that_was_cut_off_is_given_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its steps in turn: before messages go, and after the key went."""
    request = world.requests["fabricated"]
    with open_reader(world.settings) as reader:
        whose = reader.by_request(request)[0].data_subject
    real, calls = Overwriter.last_sequence, 0

    async def again(name: str) -> None:
        with open_for_custody(world.settings) as (database, keys):
            async with connected(world.system.broker, ERASER) as client:
                await Custodian(client, "ev", database, keys).erase(("acme", name), "jo", "")

    async def cut_off(*_: object) -> None:
        raise UserError("cut off")

    async def cut_off_later(self: Overwriter) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            await cut_off()
        return await real(self)

    for step, how in (("overwrite", cut_off), ("last_sequence", cut_off_later)):
        with monkeypatch.context() as patch:
            patch.setattr(Overwriter, step, how)
            with pytest.raises(UserError, match="cut off"):
                await again("ines")
    with pytest.raises(UserError, match="nobody"):
        await again("ines")
    await again(whose)
    kept = await logged(world.system.broker, f"ev.*.acme.{request}.>")
    assert {message.subject.split(".")[1] for message in kept} == {"custody"}
    await settled(world)
    assert (await audit(world, "verify")).status == 0


def holding(folder: Path, words: str) -> list[Path]:
    """The files that hold these words in the clear."""
    return [
        one for one in folder.rglob("*") if one.is_file() and words.encode() in one.read_bytes()
    ]


async def test_an_erased_request_that_is_submitted_again_refunds_nothing_again(
    world: World,
) -> None:
    books = shop.from_environment()
    before = books.refunds("globex", "G-2005")
    assert before
    erased = await audit(world, "erase", "--subject", "globex/li")
    assert erased.status == 0, erased.err
    # Neither a broker nor an executor that remembers would let it come as far as this.
    await world.system.broker.kill()
    await world.system.broker.ready()
    await world.system.workers["tool-executor"][0].stop()
    executor = Task("tool-executor", world.settings, asyncio.Event(), asyncio.Event().wait)
    await executor.start()
    request_id = world.requests["refund"]
    _, user, role, text = QUESTIONS["refund"]
    credential = world.settings.state / "credentials/producer-globex.nk"
    try:
        async with await Producer.connect(world.system.broker.url, credential) as producer:
            request = producer.request(text, user=user, role=role, timeout=60)
            await producer.submit(request.model_copy(update={"request_id": request_id}))
            answer = await producer.answer(request_id, timeout=30)
    finally:
        await executor.stop()
    assert [one.effect.value for one in answer.actions] == ["in_doubt"]
    assert books.refunds("globex", "G-2005") == before
    await settled(world)
    again = await audit(world, "query", "--request", request_id, "--event", "answer", "--json")
    assert [line["state"] for line in again.lines] == ["erased", "readable"]
    assert (await audit(world, "verify")).status == 0


async def test_old_contents_expire_by_policy_but_not_what_is_held(
    world: World, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    for wrong in ("- a", "acme: {conversation: 0}", "acme: {reserved: 3}", "acme: 3", "\x00"):
        policy.write_text(wrong)
        assert (await audit(world, "expire", "--policy", str(policy))).status == 1
    policy.write_text("'*': {conversation: 90, actions: 400}\nglobex: {answer: 30}\n")
    found = (await audit(world, "expire", "--policy", str(policy), "--json")).lines
    assert found
    assert {line["expired"] for line in found} == {0}


async def test_what_is_old_goes_and_what_is_held_stays(world: World) -> None:
    with open_for_custody(world.settings) as (database, keys):
        async with connected(world.system.broker, ERASER) as client:
            custodian = Custodian(client, "ev", database, keys)
            now, answers = datetime.now(UTC), ["answer"]
            assert await custodian.expire("globex", answers, now - timedelta(days=1), "jo") == 0
            everybody = await custodian.hold("globex", None, "jo", "")
            with pytest.raises(UserError, match="all of globex"):
                await custodian.expire("globex", answers, now, "jo")
            await custodian.release(everybody, "jo", "")
            await custodian.hold("globex", "noor", "jo", "")
            count = await custodian.expire("globex", answers, now, "jo", dry_run=True)
            assert await custodian.expire("globex", answers, now, "jo") == count > 0
            with pytest.raises(UserError, match="never expire"):
                await custodian.expire("globex", ["reserved"], now, "jo")
    await settled(world)
    found = (await audit(world, "query", "--tenant", "globex", "--event", "answer", "--json")).lines
    states = {line["request_id"]: line["state"] for line in found}
    assert states[world.requests["cited-globex"]] == "readable"  # noor's
    assert states[world.requests["denied"]] == "expired"
    assert not await logged(world.system.broker, f"ev.answer.globex.{world.requests['denied']}.>")
    assert (await audit(world, "verify", "--sealed")).status == 0


async def test_what_comes_in_of_an_erased_request_afterwards_goes_too(world: World) -> None:
    request = world.requests["review"]
    late = Subject("ev", "notice", "acme", request, "9-0")
    notice = Notice(waiting_for="review", action="9-0", message=WORDS)
    await send(world, "contract-validator", late, notice)
    await settled(world)
    with open_for_custody(world.settings) as (database, keys):
        async with connected(world.system.broker, ERASER) as client:
            assert await Custodian(client, "ev", database, keys).sweep() == 1
            assert await Custodian(client, "ev", database, keys).sweep() == 0
    assert not holding(world.settings.state / "broker", WORDS)
    assert not holding(store_file(world.settings.state).parent, WORDS)
    assert (await audit(world, "verify")).status == 0


async def test_only_the_eraser_may_overwrite_the_log(world: World) -> None:
    for user in ("operator", "audit-sink", "contract-validator", "producer-acme"):
        async with connected(world.system.broker, user) as client:
            with pytest.raises(PermissionDenied):
                await client.request("$JS.API.STREAM.MSG.DELETE.EV", b'{"seq": 1}')
    with open_reader(world.settings) as reader:
        assert reader.find("1") is not None
