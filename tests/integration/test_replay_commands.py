"""Replays of a stretch of the log as a user runs them: nothing acts, and each finds its fault."""

import asyncio
import os
import re
import sys
import tarfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.broker import connected
from tests.support.replays import SUPPORT, World, running_world

from interlock.audit_sink.checkpoint import verifier_key
from interlock.replay.message import LogMessage
from interlock.replay.pool import bundle_answer, replayers
from interlock.replay.scan import LogReader
from interlock.runtime.keys import signing_key_path
from interlock.runtime.wiring import load_bundles

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One system for the module."""
    made = tmp_path_factory.mktemp
    async with running_world(made("state"), made("files")) as running:
        yield running


async def test_a_stretch_of_the_log_is_identical(world: World) -> None:
    status, found = await world.found("replay", "--since", "1", "--processes", "2")
    assert [one["request_id"] for one in found] == list(world.requests.values())
    assert all(one["identical"] and one["reproduced"] for one in found)
    assert status == 0
    status, found = await world.found("replay", "--since", "1h", "--where", "tool=create_refund")
    assert {one["request_id"] for one in found} >= {world.requests["refund"]}
    assert world.requests["question"] not in {one["request_id"] for one in found}


async def test_a_what_if_finds_the_flip_and_executes_nothing(world: World) -> None:
    before = await world.state_of_the_world()
    report = world.folder / "report.html"
    status, found = await world.found(
        "replay", "--since", "1", "--with", f"bundle={world.low}", "--html", str(report)
    )
    assert status == 1
    by = {one["request_id"]: one for one in found}
    flipped = by.pop(world.requests["refund"])
    assert flipped["change"] == "flip"
    assert flipped["after"]["result"] == "would have been reviewed"
    assert flipped["before"]["actions"][0]["decision"] == "approve"
    assert {one["change"] for one in by.values()} == {"same"}
    assert await world.state_of_the_world() == before
    page = report.read_text(encoding="utf-8")
    assert world.requests["refund"] in page
    assert not re.search(r"(?:src|href)=[\"']?https?:", page)


async def test_the_same_bundle_flips_nothing(world: World) -> None:
    status, found = await world.found("replay", "--since", "1", "--with", f"bundle={SUPPORT}")
    assert (status, {one["change"] for one in found}) == (0, {"same"})


async def test_a_backtest_lists_first_what_would_be_let_through(world: World) -> None:
    def opened(text: str) -> str:
        lowered = text.replace("10000", "1000")
        return lowered.replace(
            "unless { context.arguments.amount_cents <= context.facts.order.refundable_cents }",
            "when { context.arguments.amount_cents > 100000000 }",
        )

    bundle = world.bundle("opened", "policies/refunds.cedar", opened)
    status, found = await world.found("policy", "backtest", "--bundle", bundle)
    assert status == 1
    assert [one["direction"] for one in found] == ["deny→allow", "tighter"]
    assert found[0]["request_id"] == world.requests["no-limit"]
    assert found[1]["request_id"] == world.requests["refund"]


async def test_a_backtest_passes_only_what_opens_nothing(world: World) -> None:
    assert await world.found("policy", "backtest", "--bundle", str(SUPPORT)) == (0, [])
    status, found = await world.found("policy", "backtest", "--bundle", world.low)
    assert (status, [one["direction"] for one in found]) == (1, ["tighter"])
    status, _ = await world.found("policy", "backtest", "--bundle", world.low, "--allow-tighter")
    assert status == 0


async def exported(world: World, name: str, *more: str) -> Path:
    """A case file of a request."""
    path = world.folder / f"{name}{''.join(more)}.tar.gz"
    status, _, err = await world.run("events", world.requests[name], "--export", str(path), *more)
    assert status == 0, err
    return path


async def test_an_exported_case_replays_without_a_broker(world: World) -> None:
    case = str(await exported(world, "refund"))
    status, (found,) = await world.found("replay", case, broker=False)
    assert (status, found["identical"]) == (0, True)
    assert found["reproduced"] > 5
    status, (found,) = await world.found(
        "replay", case, "--with", f"bundle={world.low}", broker=False
    )
    assert (status, found["change"]) == (1, "flip")


async def test_a_case_that_was_changed_is_refused(world: World) -> None:
    case = await exported(world, "refund")
    changed = world.folder / "changed.tar.gz"
    with tarfile.open(case) as old, tarfile.open(changed, "w:gz") as new:
        for entry in old:
            source = old.extractfile(entry)
            assert source is not None
            content = source.read()
            if entry.name == "messages.jsonl":
                content = content.replace(b"1250", b"9250")
            new.addfile(entry, BytesIO(content))
    status, out, err = await world.run("replay", str(changed), broker=False)
    assert (status, out) == (1, "")
    assert "was changed: messages.jsonl" in err


async def test_a_case_is_proven_against_the_audit_tree(world: World) -> None:
    case = await exported(world, "refund")
    key = world.state / "audit" / "key.pub"
    check = "audit", "verify", "--case", str(case), "--key", str(key)
    status, (found,) = await world.found(*check, broker=False)
    assert (status, found["findings"]) == (0, [])
    assert found["messages"] > 8
    other = world.folder / "other.pub"
    write_key(other)
    check = *check[:-1], str(other)
    status, (found,) = await world.found(*check, broker=False)
    assert (status, len(found["findings"])) == (1, found["messages"])
    assert "no signature of this key" in found["findings"][0]
    status, _, err = await world.run("replay", str(case), broker=False)
    assert status == 0
    assert "audit verify --case" in err


def write_key(path: Path) -> None:
    """A verifier key that nothing here is signed with."""
    public = Ed25519PrivateKey.generate().public_key()
    path.write_text(verifier_key(public), encoding="utf-8")


async def test_a_redacted_case_names_nobody_and_decides_the_same(world: World) -> None:
    case = await exported(world, "refund", "--redact")
    with tarfile.open(case) as archive:
        source = archive.extractfile("messages.jsonl")
        assert source is not None
        text = source.read().decode()
    assert "li@example.com" not in text
    assert not re.search(r'\\"user\\":\s*\\"li\\"', text)
    assert "PERSON_1" in text
    key = str(world.state / "audit" / "key.pub")
    status, _, err = await world.run("audit", "verify", "--case", str(case), "--key", key)
    assert status == 1
    assert "carries no proofs: it is redacted" in err
    status, _, err = await world.run("replay", str(case), broker=False)
    assert status == 1
    assert "redacted" in err
    status, found = await world.found(
        "replay", str(case), "--with", f"bundle={SUPPORT}", broker=False
    )
    assert (status, found[0]["change"]) == (0, "same")


async def test_a_case_becomes_a_test_that_can_fail(world: World) -> None:
    case = await exported(world, "refund")
    target = world.folder / "incident" / "test_incident.py"
    status, _, err = await world.run(
        "replay", str(case), "--to-test", str(target), "--with", f"bundle={world.low}"
    )
    assert status == 0, err
    assert await pytest_on(target) == 0
    text = target.read_text(encoding="utf-8")
    target.write_text(text.replace(world.low, str(SUPPORT)), encoding="utf-8")
    assert await pytest_on(target) == 1


async def pytest_on(target: Path) -> int:
    """The exit status of pytest on one file, away from this project's settings."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir",
        str(target.parent), "-c", os.devnull, str(target),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait()


HOSTILE = """
import asyncio, ctypes, os, socket, subprocess
import _socket, nats

async def listen():
    server = await asyncio.start_server(print, "127.0.0.1", 0)
    if not server.sockets:  # asyncio goes on without the sockets that it was refused
        raise PermissionError

def attempts(port, key, signing, open_file):
    parent = os.getppid()
    yield "network", lambda: socket.create_connection(("127.0.0.1", port), 2)
    yield "raw_network", lambda: _socket.socket(2, 1)
    yield "datagram", lambda: _socket.socket(2, 2)
    yield "socket_pair", lambda: _socket.socketpair()
    yield "publish", lambda: nats.connect(
        f"nats://127.0.0.1:{port}", allow_reconnect=False, nkeys_seed=key)
    yield "listen", lambda: listen()
    yield "key_file", lambda: open(key).read()
    yield "key_by_number", lambda: os.open(key, os.O_RDONLY)
    yield "signing_key", lambda: open(signing, "rb").read()
    yield "listing", lambda: os.listdir(os.path.dirname(key))
    yield "other_file", lambda: open("/etc/passwd").read()
    yield "secrets_of_the_parent", lambda: open(f"/proc/{parent}/environ").read()
    yield "memory_of_the_parent", lambda: os.open(f"/proc/{parent}/mem", os.O_RDONLY)
    yield "writing", lambda: open(open_file, "w")
    yield "process", lambda: subprocess.run(["true"])
    yield "process_later", lambda: asyncio.create_subprocess_exec("true")
    yield "fork", lambda: os.fork()
    yield "replace", lambda: os.execv("/bin/true", ["true"])
    yield "signal", lambda: os.kill(parent, 0)
    yield "native", lambda: ctypes.CDLL(None)
    yield "environment", lambda: os.environ["INTERLOCK_STATE"]
    yield "secret", lambda: os.environ["SHOP_API_KEY"]

async def decide(given, using):
    done = ["nothing"]
    for name, attempt in attempts(*PLACES):
        try:
            made = attempt()
            if asyncio.iscoroutine(made):
                await made
        except (PermissionError, KeyError, nats.errors.Error):
            continue
        done.append(name)
    raise type("did_" + "_".join(done), (Exception,), {})
"""


async def messages(world: World, name: str) -> list[LogMessage]:
    """A request as the log has it, read with the credential of replays."""
    async with connected(world.system.broker, "replay") as client:
        return await LogReader(client, "ev").of_request(world.requests[name])


async def test_hostile_code_in_a_replay_process_reaches_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = world.folder / "code"
    code.mkdir()
    credential = world.state / "credentials" / "operator.nk"
    assert credential.exists()
    port = int(world.system.broker.url.rpartition(":")[2])
    signing = signing_key_path(world.state)
    assert signing.exists()
    places = (port, str(credential), str(signing), str(world.folder / "written"))
    (code / "hostile.py").write_text(f"PLACES = {places!r}\n{HOSTILE}", encoding="utf-8")
    monkeypatch.syspath_prepend(str(code))
    monkeypatch.setenv("INTERLOCK_STATE", str(world.state))
    monkeypatch.setenv("SHOP_API_KEY", "sk-very-secret")
    config = {
        "task": "what-if",
        "stages": {"intent-router": "hostile:decide"},
        "private": [str(world.state)],
    }
    answers = {"bundle": bundle_answer(load_bundles(SUPPORT, world.folder))}
    before = await world.state_of_the_world()
    async with replayers(config, answers, 1) as (worker,):
        if sys.platform == "linux":
            assert worker.layers == ["audit hooks", "seccomp"]
        (found,) = await worker.run([await messages(world, "question")])
    assert found["after"]["reasons"] == ["did_nothing in the intent-router"]
    assert not (world.folder / "written").exists()
    assert await world.state_of_the_world() == before
