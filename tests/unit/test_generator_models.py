"""The generator: reading outputs, prompts, routes of models."""

import json
from typing import Any

import pytest
from tests.support.generator import GET_ORDER, RECORD, SAID, bundle, case, scripted

from interlock.bundles.model import OutputContract
from interlock.bundles.routes import ModelCandidate
from interlock.generator.prompt import render
from interlock.models.hosted import output_schema
from interlock.models.parse import MAX_OUTPUT_CHARS, parse
from interlock.models.port import (
    ModelPassed,
    ModelRequest,
    ModelResponse,
)
from interlock.models.routes import ModelRoutes
from interlock.runtime.errors import NeverRetry, RetryLater
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import ToolCall

# reading an output


def test_a_complete_output_is_read() -> None:
    raw = json.dumps(
        {
            "statements": [{"text": "A.", "citations": [{"handle": "c1", "quote": "a"}]}],
            "calls": [{"tool": "get_order", "arguments": {"order_id": "A-1001"}}],
            "abstained": False,
        }
    )
    read = parse(raw, RECORD)
    assert read.malformed is None
    assert read.statements[0].citations[0].quote == "a"
    assert read.calls == (ToolCall(tool="get_order", arguments={"order_id": "A-1001"}),)


def test_abstaining_is_read() -> None:
    read = parse('{"abstained": true}', RECORD)
    assert (read.abstained, read.malformed) == (True, None)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "I think so.",
        "[]",
        "null",
        "{}",
        "{",
        '{"statements": []}',
        '{"statements": [{"text": "  "}]}',
        '{"statements": [{"text": 5}]}',
        '{"statements": [{"text": "a", "sure": true}]}',
        '{"statements": "a"}',
        '{"statements": [{"text": "a", "citations": [{"handle": "c1"}]}]}',
        '{"calls": [{"tool": "t"}]}',
        '{"calls": [{"tool": "t", "arguments": []}]}',
        '{"calls": [{"tool": "t", "arguments": {"a": NaN}}]}',
        '{"calls": [{"tool": "t", "arguments": {"a": 9007199254740993}}]}',
        '{"abstained": 1}',
        '{"abstained": true, "statements": [{"text": "a"}]}',
        '{"abstained": true, "approved": true}',
        '{"abstained": true} and more',
        '```json\n{"abstained": true}\n```',
        '{"statements": [{"text": "a\\u0000b"}]}',
        '{"statements": [{"text": "\\ud800"}]}',
        '{"abstained": true, "\\u0000": 1}',
        '{"abstained": true}\x00',
        '{"calls": [' + ",".join(['{"tool": "t", "arguments": {}}'] * 17) + "]}",
        '{"statements": [{"text": "' + "a" * MAX_OUTPUT_CHARS + '"}]}',
        "[" * 10_000,
    ],
)
def test_what_is_not_exactly_an_output_is_malformed(raw: str) -> None:
    read = parse(raw, RECORD)
    assert read.malformed
    assert (read.statements, read.calls, read.abstained) == ((), (), False)


def test_a_reason_does_not_repeat_the_content() -> None:
    read = parse('{"statements": [{"text": 4111111111111111}]}', RECORD)
    assert read.malformed is not None
    assert "4111" not in read.malformed


# prompts


def test_a_prompt_sees_the_request_the_context_the_tools_the_history_and_the_steps() -> None:
    text = render(bundle(), "answer", case(), (GET_ORDER,))
    assert text == "How long are returns?|Returns take 30 days.|get_order|Hello|0"


@pytest.mark.parametrize(
    "template",
    [
        "{{ secret }}",
        "{{ request.password }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ request.__init__.__globals__ }}",
        "{% include 'x' %}",
        "{{ request.text + 1 }}",
        "{{ 1 / 0 }}",
    ],
)
def test_what_is_undefined_or_unsafe_cannot_be_rendered(template: str) -> None:
    with pytest.raises(NeverRetry) as caught:
        render(bundle(prompt=template), "answer", case(), ())
    assert caught.value.code is FailureCode.STAGE_FAILED
    assert "30 days" not in caught.value.message


def test_a_template_in_the_request_is_text() -> None:
    text = render(bundle(prompt="{{ request.text }}"), "answer", case("{{ 1 + 1 }}"), ())
    assert text == "{{ 1 + 1 }}"


def test_an_unknown_prompt_is_never_retried() -> None:
    with pytest.raises(NeverRetry):
        render(bundle(), "other", case(), ())


# routes of models


def asked(*candidates: ModelCandidate, text: str = "Hello", step: int = 1) -> ModelRequest:
    return ModelRequest(case(text), candidates, "", (), OutputContract(), step)


async def test_the_first_candidate_that_answers_is_taken_and_the_others_are_recorded() -> None:
    response = await ModelRoutes().complete(
        asked(
            ModelCandidate(provider="nobody", model="big"),
            scripted({"match": "goodbye", "output": SAID}),
            scripted({"match": "HELLO", "output": SAID}, model="s2"),
            scripted({"match": "hello", "output": {}}, model="s3"),
        )
    )
    assert (response.provider, response.model) == ("scripted", "s2")
    assert json.loads(response.output) == SAID
    assert response.passed_over == (
        "nobody/big: this installation has no such provider",
        "scripted/s1: nothing is scripted for this text at step 1",
    )


async def test_a_script_can_be_for_one_step_only() -> None:
    candidate = scripted(
        {"match": "hello", "on_step": 2, "output": "second"}, {"match": "", "output": "any"}
    )
    routes = ModelRoutes()
    assert (await routes.complete(asked(candidate, step=1))).output == "any"
    assert (await routes.complete(asked(candidate, step=2))).output == "second"


@pytest.mark.parametrize("outputs", ["x", [{"match": "hello"}], [{"output": {}}], [5]])
async def test_wrong_options_of_a_script_are_passed_over(outputs: Any) -> None:
    candidate = ModelCandidate(provider="scripted", model="s", options={"outputs": outputs})
    with pytest.raises(RetryLater, match="its options are wrong"):
        await ModelRoutes().complete(asked(candidate))


async def test_a_route_where_every_candidate_passes_is_tried_later() -> None:
    class Down:
        async def complete(self, request: ModelRequest, candidate: ModelCandidate) -> ModelResponse:
            raise ModelPassed("HTTP 503")

    candidates = [ModelCandidate(provider="down", model=name) for name in ("a", "b")]
    with pytest.raises(RetryLater, match="down/a: HTTP 503; down/b: HTTP 503") as caught:
        await ModelRoutes({"down": Down()}).complete(asked(*candidates))
    assert caught.value.code is FailureCode.MODEL_UNAVAILABLE


def test_the_schema_a_provider_is_held_to_holds_the_contracts_own() -> None:
    own = {
        "type": "object",
        "properties": {"said": {"$ref": "#/$defs/Statement"}},
        "$defs": {"Statement": {"type": "string"}},
    }
    plain, held = output_schema(None), output_schema(own)
    assert "data" not in plain["properties"]
    # A definition of the same name as one of ours stays its own.
    assert held["$defs"]["Statement"] == plain["$defs"]["Statement"]
    assert held["$defs"]["data_Statement"] == {"type": "string"}
    data = held["properties"]["data"]["anyOf"][0]
    assert data["properties"]["said"] == {"$ref": "#/$defs/data_Statement"}
    assert held["required"] == [*plain["required"], "data"]
