"""The commands against a running system, and what they say to mistakes."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.integration.test_replay import World, running_world, settled
from tests.integration.test_stage_filter import Piped, call

from interlock.audit_sink.places import open_reader
from interlock.runtime.broker.connect import connect
from interlock.runtime.broker.credentials import load_credential
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.broker.topology import Topology
from interlock.runtime.keys import BUNDLES, trusted_keys_path
from interlock.runtime.signing import SigningKey
from interlock.sdk.producer import Producer
from interlock_contracts.answer import AnswerStatus
from interlock_contracts.table import BUNDLED

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One system for the module."""
    async with running_world(tmp_path_factory.mktemp("world")) as running:
        yield running


async def cli(world: World, *arguments: str) -> Piped:
    """A command on the world's state, beside the running system."""
    where = ("--state", str(world.settings.state))
    return await asyncio.to_thread(call, (*arguments, *where))


async def waiting(world: World, text: str, user: str) -> tuple[str, str]:
    """Ask for something that needs a review; the request's id and the action's."""
    credential = world.settings.state / "credentials/producer-globex.nk"
    async with await Producer.connect(world.system.broker.url, credential) as producer:
        request = producer.request(text, user=user, role="customer", timeout=60)
        await producer.submit(request)
        async for event in producer.follow(request.request_id):
            if event.subject.event == "notice":
                break
    return request.request_id, f"{request.request_id}/1-0"


async def test_a_review_from_the_list_to_the_answer(world: World) -> None:
    request_id, action = await waiting(world, "Refund $110.00 of order G-2001, late.", "noor")
    listed = await cli(world, "review", "list", "--json")
    assert [line["id"] for line in listed.lines] == [action]
    shown = (await cli(world, "review", "show", action)).out
    card = (await cli(world, "review", "show", action, "--json")).lines[0]
    for part in ("create_refund", "amount_cents = 11000", "user:", "order (get_order)", "noor"):
        assert part in shown
    for part in ("refund-above-limit", "review:refunds", card["digest"], "waiting", "expires"):
        assert part in shown

    own = await cli(world, "review", "approve", action, "--by", "noor")
    assert (own.status, own.out) == (1, "")
    assert "somebody else has to decide" in own.err

    done = await cli(world, "review", "approve", action, "--by", "rita", "--note", "fine")
    assert done.status == 0, done.err
    credential = world.settings.state / "credentials/producer-globex.nk"
    async with await Producer.connect(world.system.broker.url, credential) as producer:
        answer = await producer.answer(request_id, timeout=20)
    assert answer.status is AnswerStatus.ANSWERED
    assert [one.effect.value for one in answer.actions] == ["landed"]

    again = await cli(world, "review", "deny", action, "--by", "otto")
    assert (again.status, again.out) == (1, "")
    assert "not waiting any more: approved" in again.err
    assert (await cli(world, "review", "list", "--json")).lines == []
    decided = (await cli(world, "review", "list", "--all", "--json")).lines
    assert action in [line["id"] for line in decided]


async def test_a_denial_is_told_to_the_requester(world: World) -> None:
    request_id, action = await waiting(world, "Refund $130.00 of order G-2003, late.", "jonas")
    done = await cli(world, "review", "deny", action, "--by", "rita", "--json")
    assert done.lines[0]["decision"] == "deny"
    credential = world.settings.state / "credentials/producer-globex.nk"
    async with await Producer.connect(world.system.broker.url, credential) as producer:
        answer = await producer.answer(request_id, timeout=20)
    assert "approval_denied" in [one.code.value for one in answer.failures]


async def test_replay_of_everything_since_the_beginning(world: World) -> None:
    await settled(world)
    found = await cli(world, "replay", "--since", "1", "--json")
    assert found.status == 0, found.out
    assert set(world.requests.values()) <= {line["request_id"] for line in found.lines}
    assert all(line["identical"] for line in found.lines)
    text = await cli(world, "replay", world.requests["refund"])
    assert text.out.startswith(f"{world.requests['refund']} identical (11 events")


async def test_the_prompt_of_a_request_is_shown_and_is_the_one_that_was_sent(world: World) -> None:
    await settled(world)
    shown = await cli(world, "prompt", world.requests["refund"], "--json")
    assert shown.status == 0, shown.err
    assert [line["step"] for line in shown.lines] == [1, 2]
    assert all(line["same"] for line in shown.lines)
    assert "create_refund" in shown.lines[0]["prompt"]
    assert "<result id=" in shown.lines[1]["prompt"]
    text = await cli(world, "prompt", world.requests["refund"], "--step", "2")
    assert text.out.startswith("proposal 2: conclude by ")
    none = await cli(world, "prompt", world.requests["refund"], "--step", "9")
    assert (none.status, none.out) == (1, "")
    assert "no proposal 9 is logged" in none.err


async def test_replay_names_a_divergence_and_fails(world: World) -> None:
    """The key that signed its bundle is not trusted: nothing can be said to be identical."""
    trusted = trusted_keys_path(world.settings.state, BUNDLES)
    kept = trusted.read_text()
    trusted.write_text(SigningKey.generate().public_text)
    try:
        found = await cli(world, "replay", world.requests["cited"])
    finally:
        trusted.write_text(kept)
    assert found.status == 1
    assert found.out.startswith(
        f"{world.requests['cited']} diverged at the intent-router: ev.route."
    )
    assert "bundle_unknown" in found.out


async def test_audit_verify(world: World, tmp_path: Path) -> None:
    await settled(world)
    good = await cli(world, "audit", "verify", "--json")
    assert good.status == 0
    assert good.lines[0]["ok"] is True
    with open_reader(world.settings) as store:
        note = store.checkpoint()
    witness = tmp_path / "checkpoint"
    witness.write_text(note)
    assert (await cli(world, "audit", "verify", "--checkpoint", str(witness))).status == 0
    witness.write_text(note.replace("\n", "\n1", 1))
    bad = await cli(world, "audit", "verify", "--checkpoint", str(witness))
    assert bad.status == 1
    assert "checkpoint_invalid" in bad.out


async def test_doctor_of_a_well_installation_but_for_its_dead_letters(world: World) -> None:
    await settled(world)
    found = await cli(world, "doctor", "--json", "--bundle", str(world.settings.bundle))
    wrong = {line["name"]: line for line in found.lines if not line["ok"]}
    assert set(wrong) == {"dead letters"}
    assert "dlq list" in wrong["dead letters"]["mend"]
    assert found.status == 1
    names = {line["name"] for line in found.lines}
    assert {"broker", "stream", "consumer audit-sink", "credentials", "audit store"} <= names
    assert {line["found"] for line in found.lines if line["name"] == "models"} == {"none is hosted"}


async def test_doctor_of_nothing_says_how_to_begin(tmp_path: Path) -> None:
    found = await asyncio.to_thread(call, ("doctor", "--state", str(tmp_path / "none")))
    assert found.status == 1
    assert "interlock up" in found.out
    assert "Traceback" not in found.out + found.err


async def test_doctor_sees_a_secret_that_others_may_read(world: World) -> None:
    path = world.settings.state / "credentials/operator.nk"
    path.chmod(0o644)
    try:
        found = await cli(world, "doctor", "--json")
    finally:
        path.chmod(0o600)
    wrong = {line["name"]: line["found"] for line in found.lines if not line["ok"]}
    assert "0644" in wrong["credentials"]


async def test_bundle_check_and_build(tmp_path: Path) -> None:
    good = await asyncio.to_thread(call, ("bundle", "check", "examples/support"))
    assert good.status == 0
    assert "create_refund" in good.out and "sha256:" in good.out
    where = ("--state", str(tmp_path))
    built = await asyncio.to_thread(call, ("bundle", "build", "examples/support", "--json", *where))
    file = Path(built.lines[0]["file"])
    assert file.parent == tmp_path / "bundles"
    assert file.stem == built.lines[0]["digest"].removeprefix("sha256:")
    again = await asyncio.to_thread(call, ("bundle", "check", str(file), "--json"))
    assert again.lines[0]["digest"] == built.lines[0]["digest"]
    assert built.lines[0]["folders"]["runbooks"] == "knowledge/{tenant}/runbooks"
    assert "do not travel with it" in built.err and "interlock ingest" in built.err


async def test_bundle_check_says_every_problem_with_its_line(tmp_path: Path) -> None:
    broken = tmp_path / "support"
    shutil.copytree("examples/support", broken)
    source = broken / "bundle.yaml"
    text = source.read_text().replace("get_order", "get_odrer", 1).replace("risk: ", "rsik: ", 1)
    source.write_text(text)
    found = await asyncio.to_thread(call, ("bundle", "check", str(broken)))
    assert (found.status, found.out) == (1, "")
    assert all(line.startswith("bundle.yaml:") for line in found.err.splitlines())
    listed = await asyncio.to_thread(call, ("bundle", "check", str(broken), "--json"))
    assert listed.lines[0]["ok"] is False
    assert len(listed.lines[0]["problems"]) == len(found.err.splitlines()) >= 1


async def test_deploy_init_gives_every_part_its_own(tmp_path: Path) -> None:
    await asyncio.to_thread(check_what_init_writes, tmp_path)


def check_what_init_writes(tmp_path: Path) -> None:
    """Run it twice: who holds what, and that nothing is made anew."""
    arguments = ("deploy", "init", "--state", str(tmp_path), "--tenants", "acme,initech")
    made = call((*arguments, "--json"))
    assert made.status == 0, made.err
    folders: dict[str, Any] = made.lines[0]["folders"]
    seeds = {
        name: sorted(path.name for path in (tmp_path / name).rglob("*.nk")) for name in folders
    }
    assert seeds["retriever"] == ["retriever.nk"]
    assert seeds["provisioner"] == ["provisioner.nk"]
    assert "producer-initech.nk" in seeds["clients"]
    assert not {"provisioner.nk", "contract-validator.nk"} & set(seeds["clients"])
    holders = {path.parts[-3] for path in tmp_path.glob("*/keys/grants.pem")}
    assert holders == {"vault", "contract-validator"}
    assert (tmp_path / "contract-validator/keys/grants.pem").is_file()
    assert (tmp_path / "tool-executor/keys/grants.pub").is_file()
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.suffix in (".nk", ".pem"):
            assert file.stat().st_mode & 0o077 == 0, file
    holders = {path.parts[-3] for path in tmp_path.glob("*/keys/bundles.pem")}
    assert holders == {"vault", "clients"}
    verifiers = {path.parts[-3] for path in tmp_path.glob("*/keys/bundles.pub")}
    assert verifiers == {"vault", "clients", "tool-executor", *BUNDLED}
    seed = (tmp_path / "retriever/credentials/retriever.nk").read_bytes()
    assert call(arguments).status == 0
    assert (tmp_path / "retriever/credentials/retriever.nk").read_bytes() == seed


async def test_deploy_provision_from_what_init_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker of the vault's seeds, run by others; the provisioner sees its own folder only."""
    arguments = ("deploy", "init", "--state", str(tmp_path), "--tenants", "acme")
    made = await asyncio.to_thread(call, arguments)
    assert made.status == 0, made.err
    broker = EmbeddedBroker(tmp_path / "vault", Topology(tenants=("acme",)))
    await broker.start()
    try:
        monkeypatch.setenv("INTERLOCK_NATS_URL", broker.url)
        monkeypatch.setenv("INTERLOCK_STATE", str(tmp_path / "provisioner"))
        provision = ("deploy", "provision", "--tenants", "acme", "--json")
        first = await asyncio.to_thread(call, provision)
        second = await asyncio.to_thread(call, provision)
        monkeypatch.setenv("INTERLOCK_STATE", str(tmp_path / "clients"))
        activate = ("deploy", "activate", "--bundle", "examples/support", "--json")
        active = [await asyncio.to_thread(call, activate) for _ in range(2)]
        client = await connect(
            broker.url,
            load_credential(tmp_path / "retriever/credentials/retriever.nk"),
            name="retriever",
        )
        await client.close()
    finally:
        await broker.stop()
    assert first.status == second.status == 0, first.err + second.err
    assert len(first.lines[0]["created"]) == 9
    assert second.lines[0]["created"] == [] and len(second.lines[0]["unchanged"]) == 9
    assert [made.lines[0]["number"] for made in active] == [1, 1], active[0].err


MISTAKES = [
    (("stage", "nobody"), "no stage is called 'nobody'"),
    (("stage", "producer"), "no stage is called 'producer'"),
    (("stage", "retriever", "--bundle", "nowhere"), "nowhere"),
    (("replay",), "which requests?"),
    (("replay", "a.b"), "is no request id"),
    (("replay", "01JD0000000000000000000000", "--state", "nowhere"), "no credential"),
    (("review", "show", "nonsense"), "is not of the form REQUEST_ID/ACTION"),
    (("review", "list", "--tenant", "a.b"), "is no tenant"),
    (("review", "list", "--state", "nowhere"), "no credential"),
    (("audit", "verify", "--state", "nowhere"), "no audit key"),
    (("bundle", "check", "nowhere"), "nowhere"),
    (("bundle", "build", "examples/support", "-o", "/dev/null/x"), "cannot be written"),
    (("deploy", "init", "--tenants", "a.b", "--state", "nowhere"), "TENANTS"),
    (("deploy", "init", "--tenants", "acme", "--state", "/dev/null/x"), "cannot be written"),
    (("deploy", "provision", "--state", "nowhere"), "no credential"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES)
async def test_a_mistake_is_one_clear_line(arguments: tuple[str, ...], said: str) -> None:
    found = await asyncio.to_thread(call, arguments)
    assert found.status == 1
    assert found.out == ""
    assert said in found.err
    assert len(found.err.splitlines()) == 1
    assert "Traceback" not in found.err


MISSES = [
    (("replay", "01JD0000000000000000000000"), "nothing is logged of a request"),
    (("review", "show", "01JD0000000000000000000000/1-0"), "no review"),
    (("review", "approve", "01JD0000000000000000000000/1-0"), "no review"),
]


@pytest.mark.parametrize(("arguments", "said"), MISSES)
async def test_what_is_not_there_is_said(
    world: World, arguments: tuple[str, ...], said: str
) -> None:
    found = await cli(world, *arguments)
    assert (found.status, found.out) == (1, "")
    assert said in found.err


async def test_a_name_with_control_characters_decides_nothing(world: World) -> None:
    _, action = await waiting(world, "Refund $140.00 of order G-2003, late.", "jonas")
    for by in ("", "ri\x07ta"):
        found = await cli(world, "review", "approve", action, "--by", by)
        assert (found.status, found.out) == (1, "")
        assert "--by or --note" in found.err
    assert (await cli(world, "review", "deny", action, "--by", "rita")).status == 0
