"""Every hosted provider over real HTTP: what it says, what it proposes, and how it fails."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.models_wire import Reply, Server, answer, error, serving

from interlock.bundles.model import OutputContract
from interlock.bundles.routes import ModelCandidate
from interlock.models.hosted import HostedModel
from interlock.models.parse import parse
from interlock.models.port import ModelPassed, ModelRequest, ModelResponse
from interlock.models.routes import HOSTED, ModelRoutes
from interlock.runtime.errors import RetryLater, SlowDown
from interlock_contracts.case import Case
from interlock_contracts.proposal import ModelRecord, Proposal
from interlock_contracts.request import Principal, Request
from interlock_contracts.routing import Risk
from interlock_contracts.tools import ToolSpec

SAID: dict[str, Any] = {
    "statements": [{"text": "Ten days.", "citations": [{"handle": "c1", "quote": "ten days"}]}],
    "calls": [],
    "abstained": False,
}
TOOL = ToolSpec(
    name="create_refund",
    description="Pay money back.",
    effect="write",
    risk=Risk.HIGH,
    recovery="operator",
    parameters={
        "type": "object",
        "properties": {"order_id": {"type": "string"}, "amount_cents": {"type": "integer"}},
        "required": ["order_id", "amount_cents"],
    },
)
REFUND = ("create_refund", {"order_id": "A-1001", "amount_cents": 2000})
NAMES = {
    "openai": "gpt-4o",
    "anthropic": "claude-opus-4-6",
    "google": "gemini-2.5-flash",
    "vertex": "gemini-2.5-flash",
    "bedrock": "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
}
KEY = "sk-very-secret"

pytestmark = pytest.mark.parametrize("provider", HOSTED)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHOP_API_KEY", KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)


@pytest.fixture
async def model() -> AsyncIterator[HostedModel]:
    model = HostedModel()
    yield model
    await model.aclose()


def candidate(provider: str, server: Server, timeout_s: float = 10, **more: Any) -> ModelCandidate:
    options = {"key_env": "SHOP_API_KEY", "base_url": server.url}
    if provider == "bedrock":
        # Its own keys go over HTTPS only: here the machine's AWS role signs.
        options = {"base_url": server.url, "region": "eu-central-1"}
    return ModelCandidate(
        provider=provider, model=NAMES[provider], options=options | more, timeout_s=timeout_s
    )


def request(*candidates: ModelCandidate, tools: tuple[ToolSpec, ...] = ()) -> ModelRequest:
    case = Case(
        request=Request(
            request_id="01JD0000000000000000000000",
            tenant="acme",
            principal=Principal(user="u", role="customer"),
            text="hello",
        ),
        bundle="sha256:" + "0" * 64,
    )
    return ModelRequest(case, candidates, "THE PROMPT", tools, OutputContract(), 1)


def proposal(response: ModelResponse) -> Proposal:
    record = ModelRecord(
        route="default",
        provider=response.provider,
        model=response.model,
        prompt="sha256:" + "0" * 64,
        output=response.output or " ",
        stop_reason=response.stop_reason,
    )
    return parse(response.output, record)


async def ask(
    model: HostedModel,
    provider: str,
    reply: Reply,
    offered: tuple[ToolSpec, ...] = (),
    **more: Any,
) -> tuple[ModelResponse, Server]:
    async with serving(reply) as server:
        chosen = candidate(provider, server, **more)
        response = await model.complete(request(chosen, tools=offered), chosen)
        await model.aclose()
        return response, server


async def test_structured_output_is_the_proposal(provider: str, model: HostedModel) -> None:
    response, server = await ask(model, provider, Reply(answer(provider, json.dumps(SAID))))
    assert json.loads(response.output) == SAID
    assert (response.stop_reason, response.input_tokens, response.output_tokens) == ("end", 11, 7)
    assert proposal(response).text == "Ten days."
    assert json.loads(response.raw or b"") == answer(provider, json.dumps(SAID))
    ((_, headers, body),) = server.seen
    sent = json.dumps(body)
    assert "THE PROMPT" in sent
    assert ("AKIDEXAMPLE" if provider == "bedrock" else KEY) in json.dumps(headers)
    assert KEY not in sent
    assert "abstained" in sent


async def test_the_schema_is_left_out_where_the_prompt_asks_for_it(
    provider: str, model: HostedModel
) -> None:
    reply = Reply(answer(provider, f"```json\n{json.dumps(SAID)}\n```"))
    response, server = await ask(model, provider, reply, output="prompt")
    assert "abstained" not in json.dumps(server.seen[0][2])
    assert proposal(response).text == "Ten days."


async def test_plain_text_is_no_proposal(provider: str, model: HostedModel) -> None:
    response, _ = await ask(model, provider, Reply(answer(provider, "It takes ten days.")))
    assert response.output == "It takes ten days."
    assert proposal(response).malformed is not None


async def test_tool_calls_are_mapped_and_only_offered_tools_are_sent(
    provider: str, model: HostedModel
) -> None:
    reply = Reply(answer(provider, "Let me do that.", (REFUND, REFUND), stop="calls"))
    response, server = await ask(model, provider, reply, (TOOL,))
    proposed = proposal(response)
    assert [(call.tool, call.arguments) for call in proposed.calls] == [REFUND, REFUND]
    assert proposed.statements == ()
    sent = json.dumps(server.seen[0][2])
    assert "create_refund" in sent
    assert "amount_cents" in sent


async def test_without_tools_none_is_offered(provider: str, model: HostedModel) -> None:
    reply = Reply(answer(provider, json.dumps(SAID)))
    _, server = await ask(model, provider, reply)
    assert "create_refund" not in json.dumps(server.seen[0][2])
    _, server = await ask(model, provider, reply, (TOOL,), tools="prompt")
    assert "create_refund" not in json.dumps(server.seen[0][2])


async def test_a_refusal_is_an_abstention(provider: str, model: HostedModel) -> None:
    response, _ = await ask(model, provider, Reply(answer(provider, "", stop="refusal")))
    assert proposal(response).abstained
    assert response.stop_reason == "content_filter"


@pytest.mark.parametrize("calls", [(), (REFUND,)])
async def test_what_was_cut_off_is_no_proposal(
    provider: str, model: HostedModel, calls: tuple[tuple[str, Any], ...]
) -> None:
    text = "" if calls else json.dumps(SAID)[:40]
    response, _ = await ask(
        model, provider, Reply(answer(provider, text, calls, "length")), (TOOL,)
    )
    assert response.stop_reason == "length"
    assert proposal(response).malformed is not None
    assert proposal(response).calls == ()


async def refused(model: HostedModel, provider: str, reply: Reply, **more: Any) -> ModelPassed:
    async with serving(reply) as server:
        chosen = candidate(provider, server, **more)
        with pytest.raises(ModelPassed) as passed:
            await model.complete(request(chosen), chosen)
        assert len(server.seen) == 1, "a provider is not asked twice"
        assert "secret" not in str(passed.value)
        await model.aclose()
        return passed.value


async def test_too_many_requests_says_how_long_to_wait(provider: str, model: HostedModel) -> None:
    passed = await refused(model, provider, error(provider, 429, "7"))
    assert passed.retry_after == 7
    assert "too many requests" in str(passed)


@pytest.mark.parametrize(
    ("status", "unwell"), [(500, True), (503, True), (401, True), (400, False)]
)
async def test_an_error_is_passed_on_by_its_kind(
    provider: str, model: HostedModel, status: int, unwell: bool
) -> None:
    reply = error(provider, status)
    if provider == "bedrock" and status == 400:
        reply.headers["x-amzn-ErrorType"] = "ValidationException"
    assert (await refused(model, provider, reply)).unwell is unwell


@pytest.mark.parametrize("body", [b"<html>oops", b'{"id": ', b"{}", b"[]"])
async def test_invalid_json_is_no_answer(provider: str, model: HostedModel, body: bytes) -> None:
    passed = await refused(model, provider, Reply(body))
    assert passed.unwell
    assert "could not be read" in str(passed)


@pytest.mark.parametrize("how", ["hang", "drip"])
async def test_a_silent_or_dripping_provider_is_given_up_in_time(provider: str, how: str) -> None:
    model = HostedModel()
    routes = ModelRoutes({provider: model})
    reply = Reply(answer(provider, json.dumps(SAID)), hang=how == "hang", drip=how == "drip")
    async with serving(reply) as server:
        chosen = candidate(provider, server, timeout_s=0.2)
        with pytest.raises(RetryLater, match=r"no answer within|in time"):
            await routes.complete(request(chosen))
        await model.aclose()


async def test_a_server_that_is_not_there_is_passed_over(provider: str, model: HostedModel) -> None:
    async with serving(Reply({})) as server:
        chosen = candidate(provider, server)
    with pytest.raises(ModelPassed, match="could not be reached") as passed:
        await model.complete(request(chosen), chosen)
    assert passed.value.unwell


async def test_the_next_candidate_answers_and_the_reason_is_recorded(
    provider: str, model: HostedModel
) -> None:
    routes = ModelRoutes({provider: model})
    good = Reply(answer(provider, json.dumps(SAID)))
    async with serving(error(provider, 500)) as broken, serving(good) as well:
        first, second = candidate(provider, broken), candidate(provider, well)
        response = await routes.complete(request(first, second))
        await model.aclose()
    assert proposal(response).text == "Ten days."
    (why,) = response.passed_over
    assert why.startswith(f"{provider}/{NAMES[provider]}: it failed")


async def test_the_slower_of_two_is_hung_up_on(provider: str, model: HostedModel) -> None:
    routes = ModelRoutes({provider: model})
    good = answer(provider, json.dumps(SAID))
    async with serving(Reply(good, hang=True)) as silent, serving(Reply(good)) as well:
        first, second = candidate(provider, silent), candidate(provider, well)
        hedged = replace(request(first, second), hedge_after_s=0.2)
        response = await routes.complete(hedged)
        await routes.aclose()
    assert proposal(response).text == "Ten days."
    (why,) = response.passed_over
    assert "another answered first; cancelled" in why
    assert (len(silent.seen), len(well.seen)) == (1, 1)


async def test_a_provider_that_asks_for_time_is_left_alone_for_it(
    provider: str, model: HostedModel
) -> None:
    now = [0.0]
    routes = ModelRoutes({provider: model}, clock=lambda: now[0])
    async with serving(error(provider, 429, "20")) as server:
        chosen = candidate(provider, server)
        for _ in range(3):
            with pytest.raises(SlowDown) as slow:
                await routes.complete(request(chosen))
        assert (slow.value.delay, len(server.seen)) == (20, 1)
        now[0] = 21.0
        server.reply = Reply(answer(provider, json.dumps(SAID)))
        assert proposal(await routes.complete(request(chosen))).text == "Ten days."
        await model.aclose()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"key_env": "NOT_SET_API_KEY"}, "NOT_SET_API_KEY is not set"),
        ({"key_env": "DATABASE_PASSWORD"}, "wrong at key_env"),
        ({"api_key": KEY}, "wrong at api_key"),
        ({"base_url": "file:///etc"}, "wrong at base_url"),
        ({}, "no key_env"),
    ],
)
async def test_wrong_options_are_named_and_never_quoted(
    provider: str, model: HostedModel, options: dict[str, str], why: str
) -> None:
    chosen = ModelCandidate(provider=provider, model="m", options=options)
    if provider == "bedrock" and not options:
        why = "no region"  # its keys may come from the machine's own role
    if provider == "vertex" and not options:
        why = "no project"
    with pytest.raises(ModelPassed, match=why) as passed:
        await model.complete(request(chosen), chosen)
    assert KEY not in str(passed.value)


async def test_a_key_is_not_sent_in_the_clear_to_bedrock(provider: str, model: HostedModel) -> None:
    options = {"key_env": "SHOP_API_KEY", "base_url": "http://127.0.0.1:1", "region": "eu-west-1"}
    chosen = ModelCandidate(provider=provider, model=NAMES[provider], options=options)
    why = "plain HTTP" if provider == "bedrock" else "could not be reached"
    with pytest.raises(ModelPassed, match=why):
        await model.complete(request(chosen), chosen)


async def test_without_the_machines_identity_bedrock_is_passed_over(
    provider: str, model: HostedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    async with serving(Reply(answer(provider, json.dumps(SAID)))) as server:
        chosen = candidate(provider, server)
        if provider != "bedrock":  # they have a key of their own
            assert proposal(await model.complete(request(chosen), chosen)).statements
        else:
            with pytest.raises(ModelPassed) as passed:
                await model.complete(request(chosen), chosen)
            assert passed.value.unwell
        await model.aclose()
