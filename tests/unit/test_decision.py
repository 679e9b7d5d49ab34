"""What the runtime itself decides around a stage: attempts, deadlines, questions that wait."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.contracts.goldens import golden_event

from interlock.bundles.model import Bundle
from interlock.runtime.decision import Decider
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input
from interlock_contracts.answer import Answer, DeadLetter, Retry
from interlock_contracts.event import Event
from interlock_contracts.request import Request
from interlock_contracts.subjects import Subject

BUNDLE = Bundle(name="test", version="1")


class OneBundle:
    def active(self, request: Request | None = None) -> Bundle:
        return BUNDLE

    async def get(self, digest: str) -> Bundle:
        assert digest
        return BUNDLE


class Logged:
    """A log of these events."""

    def __init__(self, *events: Event) -> None:
        self._events = {str(event.subject): event for event in events}

    async def read(
        self, event: str, tenant: str, request_id: str, step: str, tail: str | None = None
    ) -> Event | None:
        return self._events.get(str(Subject("ev", event, tenant, request_id, step, tail)))


def decider(*logged: Event, drafts: Sequence[Draft] = ()) -> tuple[Decider, list[Input]]:
    seen: list[Input] = []

    async def decide(given: Input) -> Sequence[Draft]:
        seen.append(given)
        return drafts

    log = Logged(*logged)
    return Decider("generator", decide, cell="ev", bundles=OneBundle(), log=log), seen


async def test_an_attempt_goes_with_everything_that_follows_from_it() -> None:
    result = replace(golden_event("result"), attempt=1)
    again = Event.decode(str(result.subject), result.headers(), result.body())
    assert again.attempt == 1
    assert Event.from_cloudevent(json.dumps(result.to_cloudevent())).attempt == 1
    answer = Draft("answer", "1", golden_event("answer").data)
    made, seen = decider(golden_event("verdict"), drafts=[answer])
    (event,) = await made.follow(again, again.time)
    assert seen[0].case.attempt == 1
    assert event.attempt == 1
    assert event.headers()["ce-attempt"] == "1"


def test_a_producer_does_not_say_which_attempt_or_bundle_it_is() -> None:
    request = golden_event("request")
    headers = {"ce-attempt": "7", "ce-bundle": "sha256:" + "0" * 64}
    event = Event.decode(str(request.subject), headers, request.body())
    assert (event.attempt, event.bundle) == (0, None)


async def test_a_late_request_is_answered_as_late_unless_something_was_done() -> None:
    context = golden_event("context")
    case = context.case.model_copy(update={"deadline": context.time, "steps": ()})
    made, seen = decider()
    late = replace(context, data=case)
    (event,) = await made.follow(late, context.time + timedelta(seconds=1))
    assert isinstance(event.data, Answer)
    assert event.data.failures[0].code == "deadline_exceeded"
    assert seen == []
    assert await made.follow(late, context.time) == []
    assert len(seen) == 1


async def test_a_question_to_a_person_is_decided_when_it_has_expired() -> None:
    confirm = golden_event("confirm")
    expires = confirm.data.expires_at  # type: ignore[attr-defined]  # it is a Confirm
    made, seen = decider(golden_event("verdict"))
    await made.follow(confirm, expires - timedelta(seconds=1))
    assert seen == []
    await made.follow(confirm, expires)
    assert len(seen) == 1


async def test_a_retry_of_another_tenants_dead_letter_is_refused() -> None:
    dead, retry = golden_event("dead"), golden_event("retry")
    assert isinstance(dead.data, DeadLetter) and isinstance(retry.data, Retry)
    order = replace(
        retry,
        subject=replace(retry.subject, tenant="globex"),
        data=retry.data.model_copy(update={"dead_letter": str(dead.subject)}),
    )
    made, _ = decider(dead)
    with pytest.raises(NeverRetry, match="another tenant"):
        await made.follow(order, retry.time)
