"""Producers that have neither the SDK nor CloudEvents: a NATS client and the JSON Schema."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import nats
import pytest
import pytest_asyncio
from nats.aio.msg import Msg
from tests.support.system import QUESTION, running_system

from interlock.cli.system import System
from interlock_contracts.ids import new_request_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "contracts" / "schemas"
NODE = Path(__file__).parent / "nodejs"
PRODUCER = "producer-acme"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running_system(tmp_path_factory.mktemp("producers")) as running:
        yield running


def plain_request(text: str) -> dict[str, Any]:
    """What the schema asks for, and no more."""
    return {
        "request_id": new_request_id(),
        "tenant": "acme",
        "principal": {"user": "maria", "role": "customer"},
        "text": text,
    }


def check(kind: str, body: object) -> None:
    """By the published JSON Schema, with a validator that knows nothing of Interlock."""
    (path,) = SCHEMAS.glob(f"{kind}.json")
    jsonschema_rs.validator_for(json.loads(path.read_text())).validate(body)


async def test_bare_nats_py(system: System) -> None:
    request = plain_request(QUESTION)
    check("request", request)
    answers: asyncio.Queue[Msg] = asyncio.Queue()
    seed = system.settings.state / "credentials" / f"{PRODUCER}.nk"
    client = await nats.connect(
        system.broker.url, nkeys_seed=str(seed), inbox_prefix=f"_INBOX_{PRODUCER}"
    )
    try:
        await client.subscribe("ev.answer.acme.>", cb=answers.put)
        await client.flush()
        subject = f"ev.request.acme.{request['request_id']}.0"
        stored = await client.request(subject, json.dumps(request).encode(), timeout=5)
        assert json.loads(stored.data)["stream"] == "EV"
        async with asyncio.timeout(15):
            message = await answers.get()
    finally:
        await client.close()
    answer = json.loads(message.data)
    check("answer", answer)
    assert message.subject == f"ev.answer.acme.{request['request_id']}.0"
    assert answer["request_id"] == request["request_id"]
    assert answer["status"] == "answered"
    assert answer["sources"]


async def run(*command: str, cwd: Path, given: str = "", **environment: str) -> str:
    """The standard output of a command that must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            output, errors = await process.communicate(given.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def node_folder() -> Path:
    """The Node.js producer with its client installed, kept below `.state` between runs."""
    assert shutil.which("node"), "this test needs Node.js"
    assert shutil.which("npm"), "this test needs npm"
    folder = ROOT / ".state" / "nodejs"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (NODE / "package.json").read_text()
    installed = folder / "package.json"
    shutil.copy(NODE / "producer.js", folder)
    if not (folder / "node_modules" / "nats").is_dir() or installed.read_text() != wanted:
        shutil.copy(NODE / "package.json", folder)
        await run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", cwd=folder)
    return folder


async def test_the_nodejs_client(system: System) -> None:
    folder = await node_folder()
    request = plain_request(QUESTION)
    seed = system.settings.state / "credentials" / f"{PRODUCER}.nk"
    said = await run(
        *("node", "producer.js", system.broker.url, str(seed), PRODUCER, "acme"),
        cwd=folder,
        given=json.dumps(request),
    )
    answer = json.loads(said)
    check("answer", answer)
    assert (answer["request_id"], answer["status"]) == (request["request_id"], "answered")


async def test_no_lock_file_names_where_packages_come_from() -> None:
    assert sorted(path.name for path in NODE.iterdir()) == ["package.json", "producer.js"]
