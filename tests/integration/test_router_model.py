"""A model chooses the intent: the example with a classifier, over HTTP, on a real broker."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from examples.support import shop
from tests.integration.test_models_live import asked
from tests.integration.test_stage_filter import call
from tests.unit.models_wire import Json, Reply, Server, answer, serving

from interlock.bundles.compile import compile_bundle
from interlock.bundles.store import FileBundles
from interlock.cli.system import System
from interlock.models.recording import FileRecordings
from interlock.replay.verify import verify_request
from interlock.runtime.settings import Settings
from interlock_contracts.answer import AnswerStatus
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.routing import Route

WITH_MODEL = """
extends: bundle.yaml
version: "1.0.0-chosen"
router:
  classifier: {model: choosing, timeout_s: 4}
models:
  choosing:
    prompt: choosing
    candidates:
      - provider: record
        model: m-small
        options: {of: openai, key_env: SHOP_API_KEY, base_url: URL, max_tokens: 50}
"""
PROMPT = """Which of these does the request ask for?
{% for one in intents %}
- {{ one.name }}: {{ one.description }}
{% endfor %}
{{ request.text | fence("request") }}
"""
TASTE = "The water tastes odd since Tuesday"
OWED = "The water tastes odd, and mail me@example.com"
SILENT = "The water tastes odd, says nobody"


def replies(sent: Json) -> Reply:
    """`product_reviews`; of a text with a placeholder `refund`; of `SILENT` nothing."""
    text = re.search(r"<request id=\w+>\n(.*)\n</request", sent["messages"][0]["content"])
    assert text is not None
    intent = "refund" if "[EMAIL_1]" in text[1] else "product_reviews"
    body = answer("openai", json.dumps({"intent": intent}))
    return Reply(body, hang="nobody" in text[1])


@asynccontextmanager
async def running(
    folder: Path, server: Server, patch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[System, Settings]]:
    example = folder / "support"
    shutil.copytree("examples/support", example)
    (example / "chosen.yaml").write_text(WITH_MODEL.replace("URL", server.url))
    (example / "prompts" / "choosing.jinja").write_text(PROMPT)
    patch.setenv("SHOP_API_KEY", "sk-very-secret")
    patch.setenv("SHOP_DATABASE", str(folder / "shop.sqlite"))
    shop.from_environment().seed()
    settings = Settings(state=folder / "state", bundle=example / "chosen.yaml")
    async with System(settings) as system:
        yield system, settings


def routed(events: list[Event], name: str) -> Route:
    (found,) = [event for event in events if event.subject.event == name]
    assert found.case.route is not None
    return found.case.route


async def test_a_model_chooses_the_intent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(Reply({})) as server, running(tmp_path, server, monkeypatch) as world:
        system, settings = world
        server.answers = replies
        _, taken = await asked(system, TASTE)
        route = routed(taken, "route")
        assert (route.intent, route.sources) == ("product_reviews", ("reviews",))
        assert route.choice is not None
        assert (route.choice.came_to, route.choice.examples) == ("taken", "out_of_scope")
        assert route.choice.model is not None
        assert route.choice.model.recording is not None
        kept = FileRecordings(settings.state / "recordings").get(route.choice.model.recording)
        assert TASTE in kept.prompt

        refused, held = await asked(system, OWED)
        assert refused.status is AnswerStatus.REFUSED
        assert [one.code for one in refused.failures] == [FailureCode.OUT_OF_SCOPE]
        route = routed(held, "declined")
        assert route.choice is not None
        assert (route.choice.came_to, route.choice.chosen) == ("riskier", "refund")
        assert "m-small" not in refused.model_dump_json(), "the producer is not told of it"

        refused, silent = await asked(system, SILENT)
        assert refused.status is AnswerStatus.REFUSED
        route = routed(silent, "declined")
        assert route.choice is not None
        assert (route.choice.came_to, route.choice.model) == ("unanswered", None)

        before = len(server.seen)
        assert "me@example.com" not in json.dumps([body for _, _, body in server.seen])
        bundles = FileBundles(compile_bundle(settings.bundle))
        for one in (taken, held, silent):
            found = await verify_request(list(one), bundles)
            assert found.identical, found
            # The same through the pipe, which is handed the record and asks nobody.
            lines = [event.to_line().strip() for event in one]
            options = ["--recorded", "--bundle", str(settings.bundle), "--state", str(tmp_path)]
            made = await asyncio.to_thread(call, ["stage", "intent-router", *options], lines)
            recorded = [x for x in map(json.loads, lines) if x["source"] == "/intent-router"]
            assert [one["data"] for one in made.lines] == [one["data"] for one in recorded]
        assert len(server.seen) == before

        request_id = taken[0].subject.request_id
        told = await asyncio.to_thread(
            call, ["prompt", request_id, "--step", "0", "--state", str(settings.state)]
        )
        assert told.status == 0, told.err
        assert TASTE in told.out
        assert "intent: classify by openai/m-small" in told.out
        assert '"chat.completion"' in told.out, "the provider's own response was recorded"

        shown = await asyncio.to_thread(
            call, ["route", TASTE, "--bundle", str(settings.bundle), "--state", str(tmp_path)]
        )
        assert (shown.status, len(server.seen)) == (0, before + 1)
        assert "openai/m-small chose product_reviews: taken" in " ".join(shown.out.split())
