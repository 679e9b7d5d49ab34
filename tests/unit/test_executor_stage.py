"""The executor's decision: which grants it runs, and what it makes of their outcome."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from interlock.bundles.model import NO_BUNDLE
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input
from interlock.sdk import ToolContext, ToolExecutor
from interlock.sdk.outcome import Outcome, in_doubt
from interlock.tool_executor.stage import Capabilities, decide
from interlock_contracts.actions import Effect, Grant, Result, effect_key
from interlock_contracts.answer import DeadLetter
from interlock_contracts.base import Model
from interlock_contracts.canonical import digest, digest_bytes
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.subjects import Subject
from interlock_contracts.tools import ToolArguments, tool

REQUEST = "01JD0000000000000000000000"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@tool(effect="write", recovery="idempotent")
class CreateRefund(ToolArguments):
    """Refund an order."""

    order_id: str
    cents: int


EXECUTOR = ToolExecutor()


@EXECUTOR.tool(CreateRefund)
async def create_refund(arguments: CreateRefund, call: ToolContext) -> dict[str, object]:
    raise AssertionError("the stage itself calls nothing")


def granted(**changes: Any) -> Grant:
    arguments = changes.pop("arguments", {"order_id": "A-1", "cents": 5})
    values: dict[str, Any] = {
        "action": "1-0",
        "tenant": "acme",
        "request_id": REQUEST,
        "tool": "create_refund",
        "arguments": arguments,
        "arguments_digest": digest(arguments),
        "action_digest": digest("action"),
        "effect_key": effect_key("acme", REQUEST, changes.get("tool", "create_refund"), arguments),
        "bundle": digest("bundle"),
        "requester": "ann",
        "issued_at": NOW,
        "expires_at": NOW + timedelta(minutes=5),
        "key_id": "k",
        "signature": "s",
    }
    return Grant(**{**values, **changes})


def event(data: Model, **address: str) -> Event:
    subject = Subject("ev", "approved", "acme", REQUEST, "1-0", "create_refund")
    return Event(replace(subject, **address), data, "id", "/t", NOW, logged_at=NOW, sequence=7)


class Performed:
    """Capabilities that record what was asked of them."""

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.outcome = outcome or Outcome(effect=Effect.LANDED, output={"refund": 1})
        self.grants: list[Grant] = []
        self.verified: list[datetime] = []

    async def _perform(self, grant: Grant) -> Outcome:
        self.grants.append(grant)
        return self.outcome

    async def _verify(self, grant: Grant, now: datetime) -> None:
        self.verified.append(now)
        if grant.signature != "s":
            raise NeverRetry(FailureCode.GRANT_INVALID, "bad signature")

    async def decide(self, event: Event) -> tuple[Draft, ...]:
        using = Capabilities(self._verify, EXECUTOR.check, self._perform)
        return tuple(await decide(Input(event, NO_BUNDLE, NOW), using))


async def test_a_result_has_placeholders_for_the_personal_data_of_its_grant() -> None:
    grant = granted(
        arguments={"order_id": "ana@x.com", "cents": 5}, personal={"[EMAIL_1]": "ana@x.com"}
    )
    done = Outcome(effect=Effect.LANDED, output={"sent": ["to ana@x.com"], "ana@x.com": 1})
    (draft,) = await Performed(done).decide(event(grant))
    assert isinstance(draft.data, Result)
    assert draft.data.output == {"sent": ["to [EMAIL_1]"], "[EMAIL_1]": 1}
    result, dead = await Performed(in_doubt("ana@x.com?")).decide(event(grant))
    assert isinstance(dead.data, DeadLetter)
    assert dead.data.original is None
    assert "ana@x.com" not in result.data.model_dump_json() + dead.data.model_dump_json()


async def test_a_grant_is_performed_and_its_result_emitted() -> None:
    performed = Performed()
    (draft,) = await performed.decide(event(granted()))
    assert (draft.event, draft.step, draft.tail) == ("result", "1-0", "create_refund")
    assert draft.data == Result(
        action="1-0",
        tool="create_refund",
        effect=Effect.LANDED,
        effect_key=granted().effect_key,
        output={"refund": 1},
    )
    assert performed.verified == [NOW]


@pytest.mark.parametrize(
    ("data", "address", "code"),
    [
        (granted(signature="forged"), {}, FailureCode.GRANT_INVALID),
        (granted(), {"tenant": "globex"}, FailureCode.TENANT_BOUNDARY),
        (granted(), {"request_id": "01JD0000000000000000000001"}, FailureCode.GRANT_INVALID),
        (granted(), {"step": "2-0"}, FailureCode.GRANT_INVALID),
        (granted(), {"tail": "close_account"}, FailureCode.GRANT_INVALID),
        (granted(arguments_digest=digest("other")), {}, FailureCode.GRANT_INVALID),
        (granted(effect_key="e" * 64), {}, FailureCode.GRANT_INVALID),
    ],
)
async def test_a_grant_that_is_not_for_this_runs_nothing(
    data: Grant, address: dict[str, str], code: FailureCode
) -> None:
    performed = Performed()
    with pytest.raises(NeverRetry) as refused:
        await performed.decide(event(data, **address))
    assert refused.value.code == code
    assert performed.grants == []


async def test_anything_but_a_grant_is_refused() -> None:
    result = Result(action="1-0", tool="t", effect=Effect.LANDED, effect_key="e")
    with pytest.raises(NeverRetry):
        await Performed().decide(event(result))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"order_id": "A-1"}, "cents: Field required"),
        ({"order_id": "A-1", "cents": "5"}, "cents: Input should be a valid integer"),
        (
            {"order_id": "A-1", "cents": 5, "hunter2": 1},
            "arguments: Extra inputs are not permitted",
        ),
    ],
)
async def test_arguments_outside_the_contract_run_nothing(
    arguments: dict[str, Any], says: str
) -> None:
    performed = Performed()
    (draft,) = await performed.decide(event(granted(arguments=arguments)))
    assert isinstance(draft.data, Result)
    assert draft.data.effect is Effect.DID_NOT_HAPPEN
    assert draft.data.failure is not None
    assert draft.data.failure.code is FailureCode.ARGUMENTS_INVALID
    assert draft.data.failure.message == says
    assert performed.grants == []


async def test_a_tool_this_executor_does_not_have_did_not_happen() -> None:
    performed = Performed()
    (draft,) = await performed.decide(event(granted(tool="rob"), tail="rob"))
    assert isinstance(draft.data, Result)
    assert draft.data.failure is not None
    assert draft.data.failure.code is FailureCode.TOOL_UNKNOWN
    assert performed.grants == []


async def test_an_effect_in_doubt_is_parked_for_the_operator_too() -> None:
    approved = event(granted())
    result, dead = await Performed(in_doubt("cut off")).decide(approved)
    assert isinstance(result.data, Result)
    assert result.data.effect is Effect.IN_DOUBT
    assert (dead.event, dead.step, dead.tail) == ("dead", "approved-1-0-0", "tool-executor")
    letter = dead.data
    assert isinstance(letter, DeadLetter)
    assert letter.failure.code is FailureCode.EFFECT_IN_DOUBT
    assert (letter.subject, letter.sequence) == (str(approved.subject), 7)
    assert letter.original == approved.body()
    assert letter.original_digest == digest_bytes(approved.body())


def test_a_tool_is_registered_once_and_is_async() -> None:
    executor = ToolExecutor()

    async def run(arguments: CreateRefund, call: ToolContext) -> None: ...

    def blocking(arguments: CreateRefund, call: ToolContext) -> Any: ...

    with pytest.raises(TypeError, match="async"):
        executor.tool(CreateRefund)(blocking)
    executor.tool(CreateRefund)(run)
    with pytest.raises(ValueError, match="already"):
        executor.tool(CreateRefund)(run)
    assert executor.specs["create_refund"].recovery == "idempotent"
    assert list(executor.tools) == ["create_refund"]


def test_reconcile_is_for_tools_that_declare_it() -> None:
    async def ask(arguments: CreateRefund, call: ToolContext) -> Any: ...

    with pytest.raises(ValueError, match="register that first"):
        ToolExecutor().reconcile(CreateRefund)(ask)
    with pytest.raises(ValueError, match="does not declare"):
        EXECUTOR.reconcile(CreateRefund)(ask)
