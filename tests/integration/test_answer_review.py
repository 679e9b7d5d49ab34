"""An answer that a person has to see: asked, decided, expired; over a restart. Real broker."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from examples.support import shop
from tests.integration.test_models_live import QUOTE
from tests.integration.test_stage_filter import Piped, call

from interlock.cli.common import operator_log
from interlock.cli.system import System
from interlock.runtime.settings import Settings
from interlock.sdk.producer import NoAnswer, Producer
from interlock_contracts.actions import Notice
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode

MADE_UP = {"text": "Everybody gets a free rake, too.", "citations": []}
"""A sentence without a source."""

FORM = """
extends: bundle.yaml
version: "1.0.0-reviewed"
limits: {approval_ttl_s: TTL, budget: {max_repairs: 1}}
outputs:
  default: {fallback: review, review_class: help-desk}
groups: {desk: [rita]}
reviewers: {help-desk: [desk]}
overrides:
  - {id: staff_answers, effect: review, answers: true, roles: [agent], review_class: lawyers}
models:
  default:
    prompt: answer
    candidates:
      - provider: scripted
        model: s
        options: {outputs: OUTPUTS}
"""
SPADE = "How many days do I have to return an unused spade?"
RAKE = "How many days do I have to return an unused rake?"


def bundle(folder: Path, ttl_s: int) -> Path:
    """The example with a model that has an uncited sentence to say, except about rakes."""
    cited = {"text": "You have 60 days.", "citations": [{"handle": "HANDLE", "quote": QUOTE}]}
    clean = {"statements": [cited], "abstained": False}
    wrong = {"statements": [cited, MADE_UP], "abstained": False}
    outputs = [{"match": "spade", "output": wrong}, {"match": "rake", "output": clean}]
    shutil.copytree("examples/support", folder / "support")
    file = folder / "support/reviewed.yaml"
    text = FORM.replace("TTL", str(ttl_s)).replace("OUTPUTS", json.dumps(outputs))
    file.write_text(text.replace("HANDLE", "c1"))
    return file


async def asked(system: System, text: str, role: str = "customer") -> str:
    """Ask, until a person is; the request's id."""
    credential = system.settings.credential_of("producer-acme")
    async with await Producer.connect(system.broker.url, credential) as producer:
        request = producer.request(text, user="maria", role=role)
        await producer.submit(request)
        async with asyncio.timeout(30):
            async for event in producer.follow(request.request_id):
                assert isinstance(event.data, Notice), event.data
                assert event.data.waiting_for == "review"
                break
        with pytest.raises(NoAnswer, match="it waits for a reviewer") as caught:
            await producer.answer(request.request_id, timeout=0.5)
        assert caught.value.waiting_for is not None
        return request.request_id


async def answered(system: System, request_id: str) -> Answer:
    credential = system.settings.credential_of("producer-acme")
    async with await Producer.connect(system.broker.url, credential) as producer:
        return await producer.answer(request_id, timeout=20)


async def logged(system: System, request_id: str) -> list[Event]:
    settings = system.settings.model_copy(update={"credential": None})
    async with operator_log(settings) as (_, log):
        return [message.event() for message in await log.of_request(request_id)]


async def cli(system: System, *arguments: str, lines: Sequence[str] = ()) -> Piped:
    where = ("--state", str(system.settings.state))
    return await asyncio.to_thread(call, [*arguments, *where], lines)


def the_gates(events: Sequence[Event]) -> list[dict[str, Any]]:
    """What the gate made of them, as data."""
    return [
        json.loads(one.body())
        for one in events
        if one.source == "/contract-validator" and one.spec.name != "shadow"
    ]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.sqlite"))
    shop.from_environment().seed()
    return Settings(state=tmp_path / "state", bundle=tmp_path / "support/reviewed.yaml")


async def test_a_person_lets_an_answer_out_after_everything_was_restarted(
    tmp_path: Path, settings: Settings
) -> None:
    bundle(tmp_path, 3600)
    async with System(settings) as system:
        request_id = await asked(system, SPADE)
        id_ = f"{request_id}/2-answer"
        (card,) = (await cli(system, "review", "list", "--json")).lines
        assert (card["id"], card["about"], card["review_class"]) == (id_, "answer", "help-desk")
        shown = (await cli(system, "review", "show", id_)).out
        for part in ("free rake", "citation_missing", SPADE, "maria", QUOTE[:40], "waiting"):
            assert part in shown
        own = await cli(system, "review", "approve", id_, "--by", "maria")
        assert (own.status, own.out) == (1, "")
        assert "may decide   rita" in shown
        other = await cli(system, "review", "approve", id_, "--by", "otto")
        assert (other.status, other.out) == (1, "")
        assert "otto does not decide about help-desk; who does: rita" in other.err
    async with System(settings) as system:
        done = await cli(system, "review", "approve", id_, "--by", "rita", "--note", "we do")
        assert done.status == 0, done.err
        answer = await answered(system, request_id)
        assert (answer.status, answer.text.split("\n\n")[-1]) == ("answered", MADE_UP["text"])
        assert answer.approval is not None
        assert answer.approval.by == ("rita",)
        assert answer.approval.accepted == (FailureCode.CITATION_MISSING,)
        again = await cli(system, "ask", SPADE, "--user", "maria", "--request-id", request_id)
        assert "let out by rita, past citation_missing" in again.out, again.err
        late = await cli(system, "review", "deny", id_, "--by", "otto")
        assert "not waiting any more: approved" in late.err
        replayed = await cli(system, "replay", request_id)
        assert replayed.out.startswith(f"{request_id} identical"), replayed.out
        events = await logged(system, request_id)
    lines = [json.dumps(one.to_cloudevent()) for one in events]
    where = ("--bundle", str(settings.bundle), "--state", str(settings.state))
    piped = await asyncio.to_thread(call, ["stage", "contract_validator", *where], lines)
    assert [line["data"] for line in piped.lines] == the_gates(events), piped.err
    told = await cli(system, "audit", "lineage", "--request", request_id)
    assert "with the word of rita, past citation_missing" in told.out, told.out + told.err
    why = ("--action", f"ev.answer.acme.{request_id}.0", "--json")
    led = await cli(system, "audit", "lineage", *why)
    assert {"reviewed", "answer_review", "proposal"} <= {
        line["subject"].split(".")[1] for line in led.lines
    }


async def test_what_it_would_have_come_to_under_another_contract(
    tmp_path: Path, settings: Settings
) -> None:
    bundle(tmp_path, 3600)
    async with System(settings) as system:
        request_id = await asked(system, SPADE)
        await cli(system, "review", "approve", f"{request_id}/2-answer", "--by", "rita")
        await answered(system, request_id)
        same = await cli(system, "replay", request_id, "--with", f"bundle={settings.bundle}")
        assert same.status == 0, same.out
        strict = settings.bundle.with_name("strict.yaml")
        given = settings.bundle.read_text().replace("review, review_class: help-desk", "refuse")
        strict.write_text(given)
        flip = await cli(system, "replay", request_id, "--with", f"bundle={strict}", "--json")
        assert (flip.status, flip.lines[0]["after"]["result"]) == (1, "refused"), flip.err
        tested = await cli(system, "policy", "backtest", "--bundle", str(strict), "--json")
        flips = [line for line in tested.lines if line.get("change") == "flip"]
        assert [one["direction"] for one in flips] == ["tighter"], tested.out + tested.err
        assert [one["before"]["decision"] for one in flips] == ["review"]


async def test_denied_it_never_goes_out(tmp_path: Path, settings: Settings) -> None:
    bundle(tmp_path, 3600)
    async with System(settings) as system:
        request_id = await asked(system, SPADE)
        done = await cli(system, "review", "deny", f"{request_id}/2-answer", "--by", "rita")
        assert done.status == 0, done.err
        answer = await answered(system, request_id)
        assert (answer.status, answer.failures[0].code) == ("refused", FailureCode.ANSWER_DENIED)
        assert str(MADE_UP["text"]) not in answer.text
        replayed = await cli(system, "replay", request_id)
        assert replayed.out.startswith(f"{request_id} identical"), replayed.out


async def test_every_answer_of_a_class_waits_and_expires_by_itself_over_a_restart(
    tmp_path: Path, settings: Settings
) -> None:
    bundle(tmp_path, 3)
    settings = settings.model_copy(update={"ack_wait": 2.0})
    async with System(settings) as system:
        request_id = await asked(system, RAKE, role="agent")
        (card,) = (await cli(system, "review", "list", "--json")).lines
        assert (card["objections"], card["overrides"]) == ([], ["staff_answers"])
        assert card["review_class"] == "lawyers"
    async with System(settings) as system:
        answer = await answered(system, request_id)
        assert (answer.status, answer.sources) == (AnswerStatus.REFUSED, ())
        assert [one.code for one in answer.failures] == [FailureCode.ANSWER_EXPIRED]
        replayed = await cli(system, "replay", request_id)
        assert replayed.out.startswith(f"{request_id} identical"), replayed.out
        credential = settings.credential_of("producer-acme")
        async with await Producer.connect(system.broker.url, credential) as producer:
            free = await producer.ask(RAKE, user="maria", role="customer")
        assert (free.status, free.approval) == (AnswerStatus.ANSWERED, None)
