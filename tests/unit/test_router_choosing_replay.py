"""A model's choice of the intent, run again: the record is heard, and nobody is asked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.test_router import BUNDLE, request_input
from tests.unit.test_router_choosing import ODD, USING, Says, bundle, choosing

from interlock.bundles.classifier import ModelClassifier
from interlock.bundles.model import Bundle
from interlock.bundles.routes import ModelCandidate, ModelRoute
from interlock.cli.commands.prompt import said_of_intent
from interlock.intent_router.stage import decide
from interlock.models.recording import FileRecordings
from interlock.replay.log import MemoryLog
from interlock.replay.verify import verify_request
from interlock.replay.whatif import Setup, WhatIf
from interlock.runtime.decision import Decider
from interlock.runtime.errors import RetryLater, UserError
from interlock.runtime.stage import Draft, Input
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Request


class Only:
    """One bundle."""

    def __init__(self, given: Bundle) -> None:
        self._given = given

    def active(self, request: Request | None = None) -> Bundle:
        return self._given

    async def get(self, digest: str) -> Bundle:
        return self._given


async def history(only: Only, model: Says) -> list[Event]:
    """What the log has of a request that the router decided with this model."""
    using = replace(USING, models=model.complete)

    async def live(about: Input) -> Sequence[Draft]:
        return await decide(about, using)

    asked = request_input(ODD, bundle=only.active()).event
    asked = replace(asked, logged_at=asked.time)
    decider = Decider("intent-router", live, cell="ev", bundles=only, log=MemoryLog([asked]))
    made = await decider.follow(asked, asked.time)
    return [asked, *(Event.from_cloudevent(one.to_line()) for one in made)]


async def test_a_what_if_takes_the_recorded_choice_where_the_same_would_be_asked() -> None:
    model = choosing("refund")
    only = Only(bundle())
    entries = await history(only, model)
    what_if = WhatIf(only, None)
    same = await what_if.run(entries, Setup())
    assert (same.missing, same.outcome.status) == (None, "refused")
    allowed = bundle(ModelClassifier(model="choosing", upwards=("refund",)))
    now = await what_if.run(entries, Setup(bundle=allowed))
    assert any(one.subject.event == "route" for one in now.events)
    other = await what_if.run(entries, Setup(bundle=bundle(prompts={"choosing": "Choose!"})))
    assert "that chooses the intent would be asked something else (the prompt)" in str(
        other.missing
    )
    small = ModelRoute(
        candidates=(ModelCandidate(provider="openai", model="tiny"),), prompt="choosing"
    )
    other = await what_if.run(entries, Setup(bundle=bundle(models={"choosing": small})))
    assert "(the model)" in str(other.missing)
    plain = Only(BUNDLE)
    other = await WhatIf(plain, None).run(await history(plain, model), Setup(bundle=bundle()))
    assert "(none was asked)" in str(other.missing)
    assert len(model.asked) == 1


async def test_the_prompt_is_shown_again(tmp_path: Path) -> None:
    only = Only(bundle())
    _, made, *_ = await history(only, choosing("policy_question"))
    one = said_of_intent(made.case, only.active(), FileRecordings(tmp_path))
    assert (one.step, one.same, one.record.task) == (0, True, "classify")
    assert ODD in one.prompt
    other = bundle(prompts={"choosing": "Choose!"})
    assert not said_of_intent(made.case, other, FileRecordings(tmp_path)).same
    with pytest.raises(UserError, match="no model chose"):
        said_of_intent(made.case, BUNDLE, FileRecordings(tmp_path))


@pytest.mark.parametrize(
    "said",
    [
        '{"intent": "policy_question"}',
        '{"intent": "refund"}',
        '{"intent": "out_of_scope"}',
        "nonsense",
        "x" * 100_000,
        RetryLater(FailureCode.MODEL_UNAVAILABLE, "nobody is there"),
    ],
    ids=["taken", "riskier", "agreed", "invalid", "too long", "unanswered"],
)
async def test_a_replay_gives_the_same_and_asks_nobody(said: str | Exception) -> None:
    given, model = bundle(), Says(said)
    only = Only(given)
    asked, *made = entries = await history(only, model)
    assert len(model.asked) == 1
    found = await verify_request(entries, only)
    assert [str(one) for one in found.divergences] == []
    assert found.reproduced == len(made)
    assert len(model.asked) == 1
    altered = made[0].case.model_copy(
        update={"route": made[0].case.route.model_copy(update={"choice": None})}  # type: ignore[union-attr]  # it has one
    )
    lost = [asked, replace(made[0], data=altered), *made[1:]]
    found = await verify_request(lost, only)
    assert "no choice of the intent by a model is recorded" in str(found.divergences[0])
