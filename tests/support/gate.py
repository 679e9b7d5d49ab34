"""The contract-validator as a process on a real broker, and proposals put on the log for it."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field
from tests.support.broker import connected
from tests.support.system import a_request

from interlock.bundles.model import Bundle, Intent, RouterSpec
from interlock.bundles.routes import ModelCandidate, ModelRoute
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.bundles import pointer
from interlock.runtime.bundles.changes import Activate
from interlock.runtime.bundles.store import push
from interlock.runtime.commit import Committer
from interlock.runtime.keys import BUNDLES, make_keys, signing_key_path
from interlock.runtime.log import JetStreamLog
from interlock.runtime.signing import SigningKey
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.proposal import ModelRecord, Proposal, ToolCall
from interlock_contracts.request import Principal
from interlock_contracts.routing import Risk, Route
from interlock_contracts.rules import limit
from interlock_contracts.subjects import Subject
from interlock_contracts.tools import ToolArguments, tool, tool_spec

ROOT = Path(__file__).parents[2]


@tool(effect="write", recovery="idempotent", limits=[limit(2, per="day")])
class CreateRefund(ToolArguments):
    """Two a day by user."""

    order_id: str
    cents: int = Field(gt=0)


BUNDLE = Bundle(
    name="limited",
    version="1",
    tools={"create_refund": tool_spec(CreateRefund)},
    intents={"refund": Intent(tools=("create_refund",), examples=("Refund me",))},
    policies={
        "all.cedar": '@id("all") permit(principal, action == '
        'Interlock::Action::"create_refund", resource);'
    },
    models={"default": ModelRoute(candidates=(ModelCandidate(provider="x", model="x"),))},
    prompts={"answer": "{{ request.text }}"},
    router=RouterSpec(fallback="refund"),
)
ROUTE = Route(
    intent="refund",
    risk=Risk.LOW,
    confidence=1.0,
    margin=1.0,
    sources=(),
    tools=("create_refund",),
    output="default",
    model_route="default",
)


def refund_case(number: int, user: str = "ann") -> Case:
    """A case whose model proposes a refund of its own order."""
    arguments = {"order_id": f"A-{number}", "cents": 100}
    return Case(
        request=a_request(
            f"Refund 100 cents of A-{number}", principal=Principal(user=user, role="customer")
        ),
        bundle=BUNDLE.digest,
        step=1,
        route=ROUTE,
        proposal=Proposal(
            calls=(ToolCall(tool="create_refund", arguments=arguments),),
            model=ModelRecord(
                route="x", provider="x", model="x", prompt=digest_bytes(b""), output=""
            ),
        ),
    )


async def propose(broker: EmbeddedBroker, *cases: Case, honest: Case | None = None) -> None:
    """Log the context of each case as the retriever does, and its proposal as the generator.

    `honest`: what the retriever logged, where the generator sends something else.
    """
    await _log(broker, "retriever", "context", [honest or case for case in cases])
    await _log(broker, "generator", "proposal", cases)


async def _log(broker: EmbeddedBroker, user: str, event: str, cases: Sequence[Case]) -> None:
    async with connected(broker, user) as client:
        committer = Committer(client)
        for case in cases:
            step = "0" if event == "context" else str(case.step)
            data = case if step != "0" else case.model_copy(update={"step": 0, "proposal": None})
            request = case.request
            at = Subject("ev", event, request.tenant, request.request_id, step)
            made = Event(at, data, f"{user}-{request.request_id}", f"/{user}", datetime.now(UTC))
            await committer.commit([made])
        await committer.close()


async def _activate(broker: EmbeddedBroker) -> None:
    """Push this file's bundle and have requests start on it, unless that was done before."""
    async with connected(broker, "operator") as client:
        log = JetStreamLog(client, "ev")
        if await pointer.last(log) is not None:
            return
        key = SigningKey.load(signing_key_path(broker.state, BUNDLES))
        await push(client, "ev", BUNDLE, key, "jo")
        change = Activate(BUNDLE.digest).over(None)
        named = {"name": BUNDLE.name, "version": BUNDLE.version, "by": "jo", "reason": "a test"}
        committer = Committer(client)
        await pointer.write(log, committer, change.model_copy(update=named))
        await committer.close()


@asynccontextmanager
async def validators(
    broker: EmbeddedBroker, count: int = 1, module: str = "interlock.contract_validator", *args: str
) -> AsyncIterator[list[Process]]:
    """Contract-validators as processes, with this file's bundle; killed at the end."""
    make_keys(broker.state)
    await _activate(broker)
    given = {"state": broker.state, "nats_url": broker.url, "ack_wait": 2}
    env = {**os.environ, **{f"INTERLOCK_{k.upper()}": str(v) for k, v in given.items()}}
    started = [
        await asyncio.create_subprocess_exec(sys.executable, "-m", module, *args, env=env, cwd=ROOT)
        for _ in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()
