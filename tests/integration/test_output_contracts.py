"""An answer in the wrong form goes back with what is wrong, and is never let out: real broker."""

import json
import re
import shutil
from pathlib import Path

import pytest
from examples.support import shop
from tests.integration.test_models_live import QUOTE, asked
from tests.unit.models_wire import Json, Reply, answer, serving

from interlock.cli.system import System
from interlock.runtime.settings import Settings
from interlock_contracts.answer import AnswerStatus
from interlock_contracts.failures import FailureCode
from interlock_contracts.verdict import Decision

FORM = """
extends: bundle.yaml
version: "1.0.0-form"
outputs:
  default:
    language: en
    sections: [Answer]
    json_schema:
      type: object
      properties: {days: {$ref: "#/$defs/Days"}}
      required: [days]
      $defs: {Days: {type: integer, minimum: 1}}
  action: {citations: none}
models:
  default:
    prompt: answer
    candidates:
      - provider: openai
        model: m-large
        options: {key_env: SHOP_API_KEY, base_url: URL}
"""
GERMAN = "Answer: Sie können einen unbenutzten Artikel innerhalb von 60 Tagen zurückgeben."


def replies(sent: Json) -> Reply:
    """First an answer that is wrong in three ways; then a good one, unless it is about spades."""
    prompt = sent["messages"][0]["content"]
    source = re.search(r'handle="(c[1-5])"[^\n]*\nYou can return an unused', prompt)
    assert source is not None, prompt
    mended = "not accepted at /data/days" in prompt and "spade?" not in prompt
    text = "Answer: You have 60 days." if mended else GERMAN.removeprefix("Answer: ")
    cited = [{"handle": source[1], "quote": QUOTE}]
    data = {"days": 60 if mended else "60"}
    said = {"statements": [{"text": text, "citations": cited}], "abstained": False, "data": data}
    return Reply(answer("openai", json.dumps(said)))


async def test_a_wrong_form_is_repaired_and_then_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "sk-secret")
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.sqlite"))
    shop.from_environment().seed()
    async with serving(Reply({})) as server:
        server.answers = replies
        shutil.copytree("examples/support", tmp_path / "support")
        file = tmp_path / "support/form.yaml"
        file.write_text(FORM.replace("URL", server.url))
        async with System(Settings(state=tmp_path / "state", bundle=file)) as system:
            good, events = await asked(system, "How many days do I have to return an unused item?")
            asked_for = server.seen[0][2]["response_format"]["json_schema"]["schema"]
            bad, later = await asked(system, "How many days do I have to return an unused spade?")
    assert (good.status, good.data) == (AnswerStatus.ANSWERED, {"days": 60})
    verdicts = [one.case.verdict for one in events if one.subject.event == "verdict"]
    assert [one.decision for one in verdicts if one] == [Decision.REPAIR, Decision.ANSWER]
    assert verdicts[0] is not None
    assert {(one.code, one.path) for one in verdicts[0].violations} == {
        (FailureCode.DATA_INVALID, "/data/days"),
        (FailureCode.SECTION_MISSING, "/statements"),
        (FailureCode.LANGUAGE_WRONG, "/statements/0/text"),
    }
    assert "data" in asked_for["required"]
    assert asked_for["$defs"]["data_Days"]["minimum"] == 1
    assert (bad.status, bad.data) == (AnswerStatus.REFUSED, None)
    assert bad.failures[0].code is FailureCode.REPAIRS_EXHAUSTED
    assert [one.subject.event for one in later].count("repair") == 2
