"""A model swap is a bundle change: the example on a hosted model, over HTTP, on a real broker."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from examples.support import shop
from tests.support.broker import connected
from tests.support.system import sdk
from tests.unit.models_wire import Json, Reply, Server, answer, serving

from interlock.bundles.compile import compile_bundle
from interlock.bundles.store import FileBundles
from interlock.cli.system import System
from interlock.models import forgetting
from interlock.models.recording import FileRecordings
from interlock.replay.verify import verify_request
from interlock.runtime.commit import EXPECT_NEW, Committer
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.custody import Custody
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import ModelRecord

QUOTE = "You can return an unused item, such as a spade or a rake, within 60 days of delivery."

SWAP = """
extends: bundle.yaml
version: "1.0.0-hosted"
models:
  default:
    candidates:
      - &hosted
        provider: record
        model: m-large
        options: {of: openai, key_env: SHOP_API_KEY, base_url: URL, max_tokens: 500}
      - {provider: extractive, model: extractive-1}
  strict:
    candidates: [*hosted]
intents:
  product_reviews:
    sources: [reviews]
    model: strict
    rules: [{id: stars, pattern: '\\bstars\\b'}]
  draft_reply:
    sources: [public_help]
    data_class: personal
    rules: [{id: draft, pattern: '^draft'}]
prices:
  openai/m-large: {input: 2, output: 8}
limits:
  budget: {max_tokens: 8000}
"""


def replies(sent: Json) -> Reply:
    """A good answer to a question about returns; to one about stars, no JSON, and not cheap."""
    prompt = sent["messages"][0]["content"]
    if "stars" in prompt.rpartition("Request of")[2]:
        body = answer("openai", "Four stars, I would say.")
        body["usage"]["prompt_tokens"] = 7_000
        return Reply(body)
    source = re.search(r'handle="(c[1-5])"[^\n]*\nYou can return an unused', prompt)
    assert source is not None, prompt
    citation = {"handle": source[1], "quote": QUOTE}
    said = {"statements": [{"text": "You have 60 days.", "citations": [citation]}]}
    return Reply(answer("openai", json.dumps(said | {"abstained": False})))


@asynccontextmanager
async def running(
    folder: Path, server: Server, patch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[System, Settings]]:
    example = folder / "support"
    shutil.copytree("examples/support", example)
    (example / "hosted.yaml").write_text(SWAP.replace("URL", server.url))
    state = folder / "state"
    patch.setenv("SHOP_API_KEY", "sk-very-secret")
    patch.setenv("SHOP_DATABASE", str(folder / "shop.sqlite"))
    shop.from_environment().seed()
    settings = Settings(state=state, bundle=example / "hosted.yaml")
    async with System(settings) as system:
        yield system, settings


async def asked(system: System, text: str) -> tuple[Answer, list[Event]]:
    async with await sdk(system.broker) as producer:
        request = producer.request(text, user="maria", role="customer", timeout=30)
        await producer.submit(request)
        answered = await producer.answer(request.request_id, timeout=30)
    async with connected(system.broker, "operator") as client:
        messages = await JetStreamLog(client, "ev").of_request(request.request_id)
    return answered, [message.event() for message in messages]


async def order_erased(system: System, request_id: str) -> None:
    order = Custody(act="erased", by="ops", data_subject="p1").model_dump_json().encode()
    async with connected(system.broker, "operator") as client:
        committer = Committer(client)
        address = f"ev.custody.acme.{request_id}.erased-p1"
        await committer.commit_wire([(address, order, EXPECT_NEW)])
        await committer.close()


def records(events: list[Event]) -> list[ModelRecord]:
    return [
        event.case.proposal.model
        for event in events
        if event.subject.event == "proposal" and event.case.proposal is not None
    ]


async def test_the_example_on_a_hosted_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "LOOK_S", 0.05)
    async with serving(Reply({})) as server, running(tmp_path, server, monkeypatch) as world:
        system, settings = world
        server.answers = replies
        cited, events = await asked(system, "How many days do I have to return an unused item?")
        assert (cited.status, cited.text) == (AnswerStatus.ANSWERED, "You have 60 days.")
        assert [source.quote for source in cited.sources] == [QUOTE]
        (record,) = records(events)
        assert (record.provider, record.model, record.task) == ("openai", "m-large", "answer")
        assert (record.input_tokens, record.output_tokens, record.cost_micros) == (11, 7, 78)
        assert record.elapsed_ms is not None
        assert record.recording is not None
        kept = FileRecordings(settings.state / "recordings").get(record.recording)
        assert "You can return an unused item" in kept.prompt

        dear, over = await asked(system, "How many stars does the hose reel have?")
        assert dear.status is AnswerStatus.FAILED
        assert [one.code for one in dear.failures] == [FailureCode.BUDGET_EXCEEDED]
        assert [one.input_tokens for one in records(over)] == [7_000], "asked once only"

        before = len(server.seen)
        private, kept_back = await asked(system, "Draft an answer: is the return label free?")
        assert private.status is AnswerStatus.ANSWERED
        (record,) = records(kept_back)
        assert record.provider == "extractive"
        assert "may not have data of class personal" in record.passed_over[0]
        assert len(server.seen) == before, "it was never sent"

        # An erasure is an order on the log, which the running generator follows.
        await order_erased(system, cited.request_id)
        recordings = FileRecordings(settings.state / "recordings")
        async with asyncio.timeout(20):
            while True:
                if ("acme", cited.request_id) not in recordings.requests():
                    break
                await asyncio.sleep(0.05)  # a disk offers no event to wait for
        assert ("acme", dear.request_id) in recordings.requests()

        bundles = FileBundles(compile_bundle(settings.bundle))
        for one in (events, over, kept_back):
            found = await verify_request(list(one), bundles)
            assert found.identical, found
        logged = json.dumps([event.to_cloudevent() for event in (*events, *over, *kept_back)])
        assert "secret" not in logged
