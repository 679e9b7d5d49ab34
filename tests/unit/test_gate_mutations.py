"""Nothing that was approved can be changed, and nothing unknown comes in."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts.goldens import golden, wire
from tests.unit.gate_world import KEY, NOW, World, make_case, proposal, refund

from interlock.bundles.model import NO_BUNDLE
from interlock.models.parse import Output
from interlock.runtime.bundles.words import Order, Word
from interlock.runtime.errors import NeverRetry
from interlock.runtime.signing import GrantInvalid, Verifier
from interlock.runtime.stage import Input
from interlock.sdk.outcome import Outcome
from interlock.tool_executor.stage import Capabilities, decide
from interlock_contracts.actions import Effect, Grant
from interlock_contracts.answer import FactReply, FactRequest
from interlock_contracts.base import Model
from interlock_contracts.case import Case
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.failures import FailureCode
from interlock_contracts.table import EVENTS
from interlock_contracts.verdict import ActionVerdict

TRUSTED = Verifier([KEY.public])


def approved() -> Event:
    """A grant of the gate, as the log has it."""
    drafts = asyncio.run(World().decide_proposal(make_case(proposal(refund()))))
    (draft,) = [one for one in drafts if one.event == "approved"]
    subject = f"ev.approved.acme.{make_case(proposal()).request.request_id}.1-0.create_refund"
    assert isinstance(draft.data, Grant)
    return Event.decode(subject, {}, draft.data.model_dump_json().encode(), logged_at=NOW)


APPROVED = approved()
BODY = APPROVED.body()


def ran(body: bytes, subject: str = str(APPROVED.subject)) -> list[Grant]:
    """What an executor does with these bytes."""
    done: list[Grant] = []

    async def verify(grant: Grant, now: Any) -> None:
        try:
            TRUSTED.verify(grant, tool=grant.tool, tenant=grant.tenant, now=now)
        except GrantInvalid as error:
            raise NeverRetry(error.code, error.message) from None

    async def perform(grant: Grant) -> Outcome:
        done.append(grant)
        return Outcome(effect=Effect.LANDED)

    async def act() -> None:
        event = Event.decode(subject, {}, body, logged_at=NOW)
        using = Capabilities(verify=verify, check=lambda _tool, _arguments: None, perform=perform)
        await decide(Input(event, NO_BUNDLE, NOW), using)

    try:
        asyncio.run(act())
    except InvalidEvent:
        assert done == []
    return done


def test_the_approved_action_itself_runs() -> None:
    assert ran(BODY) == [APPROVED.data]


edits = st.tuples(
    st.integers(0, len(BODY) - 1), st.sampled_from(["set", "insert", "cut"]), st.integers(0, 255)
)


@given(st.lists(edits, min_size=1, max_size=3))
def test_no_change_of_any_byte_lets_something_else_run(changes: list[tuple[int, str, int]]) -> None:
    body = bytearray(BODY)
    for at, how, byte in changes:
        match how:
            case "set":
                body[min(at, len(body) - 1)] = byte
            case "insert":
                body.insert(at, byte)
            case _:
                del body[min(at, len(body) - 1)]
    # Blanks between JSON's marks change nothing: then it is the same grant.
    assert ran(bytes(body)) in ([], [APPROVED.data])


@given(st.integers(0, 5), st.text("abcXYZ019-_", min_size=1, max_size=26))
def test_no_grant_runs_on_another_subject(place: int, token: str) -> None:
    tokens = str(APPROVED.subject).split(".")
    if tokens[place] == token or place == 0:  # the cell is the broker's: a replay has its own
        return
    tokens[place] = token
    assert ran(BODY, ".".join(tokens)) == []


# people

values = st.one_of(
    st.integers(-5, 30_000), st.booleans(), st.none(), st.text("aA1- ", max_size=6),
    st.lists(st.integers(0, 3), max_size=2), st.dictionaries(st.just("x"), st.just(1)),
)  # fmt: skip
names = st.sampled_from(["order_id", "amount_cents", "reason", "iban", "lines", "new"])


@settings(max_examples=60)
@given(names, values | st.just(...), st.booleans(), st.booleans())
def test_no_argument_changes_after_an_approval(
    name: str, value: Any, resealed: bool, shown: bool
) -> None:
    """Not by who alters the case, nor with a digest that fits what was altered."""

    async def act() -> None:
        world = World()
        text = "Refund A-1001 101.00 EUR"
        case = (await world.judge(make_case(proposal(refund(10_100)), text=text)))["verdict"]
        assert isinstance(case, Case)
        assert case.verdict is not None
        action = case.verdict.actions[0]
        arguments = dict(action.arguments)
        if value is ...:
            arguments.pop(name, None)
        else:
            arguments[name] = value
        if json.dumps(arguments) == json.dumps(action.arguments):
            return
        other = await reseal(case, arguments) if resealed else action.digest
        changed = action.model_copy(update={"arguments": arguments, "digest": other})
        verdict = case.verdict.model_copy(update={"actions": (changed,)})
        altered = case.model_copy(update={"verdict": verdict})
        # `shown`: the decision is about the digest that was shown, else about the altered one.
        with pytest.raises(NeverRetry) as caught:
            await world.person(altered, "bob", digest=action.digest if shown else other)
        assert caught.value.code is FailureCode.APPROVAL_MISMATCH

    asyncio.run(act())


async def reseal(case: Case, arguments: dict[str, Any]) -> str:
    """The digest that the gate itself would have given the altered action."""
    from tests.unit.gate_world import BUNDLE

    from interlock.contract_validator.binding import bind

    assert case.verdict is not None
    action: ActionVerdict = case.verdict.actions[0]
    changed = action.model_copy(update={"arguments": arguments})
    return bind(case.request, BUNDLE.digest, changed, case.verdict.facts)


# what comes in

OPEN = frozenset({"arguments", "output", "value", "personal", "filters", "parameters"})
"""Members whose own members nobody has declared: arguments, outputs, facts, tables of values."""


def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all objects with declared members."""
    if isinstance(value, dict):
        yield path
        for name, part in value.items():
            if name not in OPEN or isinstance(part, list):
                yield from objects(part, (*path, name))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from objects(part, (*path, at))


def put(value: Any, path: tuple[Any, ...], name: str) -> Any:
    """A copy with one more member in the object at `path`."""
    if not path:
        return {**value, name: None}
    head, *rest = path
    part = put(value[head], tuple(rest), name)
    if isinstance(value, list):
        return [*value[:head], part, *value[head + 1 :]]
    return {**value, head: part}


PLACES = [
    (spec.name, path) for spec in EVENTS for path in objects(golden(spec.name)["data"])
]  # fmt: skip


@given(st.sampled_from(PLACES), st.text("abcdefg_XYZ", min_size=12, max_size=20))
def test_an_unknown_field_passes_in_no_event_at_no_depth(
    place: tuple[str, tuple[Any, ...]], name: str
) -> None:
    event, path = place
    given = golden(event)
    body = json.dumps(put(given["data"], path, name)).encode()
    headers, _ = wire(event)
    with pytest.raises(InvalidEvent) as caught:
        Event.decode(given["subject"], headers, body)
    assert caught.value.code is FailureCode.EVENT_INVALID
    assert name not in str(caught.value)


def test_every_event_is_among_them() -> None:
    assert {event for event, _ in PLACES} == {spec.name for spec in EVENTS}
    assert len(PLACES) > 100


ASKED: list[tuple[type[Model], dict[str, Any]]] = [
    (FactRequest, {"tenant": "acme", "request_id": "r", "tool": "get_order", "arguments": {}}),
    (FactReply, {"value": {"paid_cents": 1}}),
    (Order, {"do": "status"}),
    (Word, {"service": "s", "instance": "i", "number": 1, "milliseconds": 1}),
    (Output, {"statements": [], "calls": []}),
]


@pytest.mark.parametrize(("model", "fields"), ASKED)
def test_an_unknown_field_passes_in_no_question_reply_or_output(
    model: type[Model], fields: dict[str, Any]
) -> None:
    model.model_validate_json(json.dumps(fields))
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        model.model_validate_json(json.dumps({**fields, "surprise": 1}))
