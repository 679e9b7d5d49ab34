"""`interlock prompt`: the prompt of a step is rendered again, and is the one that was sent."""

from pathlib import Path

import pytest
from tests.support.generator import FakeLog, bundle, given
from tests.unit.test_models_choice import done, routed

from interlock.bundles.model import Bundle
from interlock.bundles.routes import ModelCandidate
from interlock.cli.commands.prompt import said
from interlock.generator.stage import Capabilities, decide
from interlock.models.recording import FileRecordings
from interlock.models.routes import ModelRoutes, known_models
from interlock.runtime.errors import UserError
from interlock_contracts.case import Case

RECORDER = ModelCandidate(provider="record", model="e1", options={"of": "extractive"})


async def proposed(known: Case, of: Bundle, folder: Path) -> Case:
    models = ModelRoutes(known_models(FileRecordings(folder)))
    using = Capabilities(models=models.complete, log=FakeLog())
    (draft,) = await decide(given(known, of), using)
    assert isinstance(draft.data, Case)
    return draft.data


@pytest.mark.parametrize("steps", [0, 1])
async def test_the_prompt_that_was_sent_is_rendered_again(tmp_path: Path, steps: int) -> None:
    known = routed(tools=("get_order",))
    known = known.model_copy(update={"steps": (done(),) * steps, "step": steps})
    of = bundle(RECORDER)
    case = await proposed(known, of, tmp_path)
    one = said(case, of, FileRecordings(tmp_path))
    assert (one.step, one.same) == (steps + 1, True)
    assert "How long are returns?" in one.prompt
    assert one.record.recording is not None
    assert FileRecordings(tmp_path).get(one.record.recording).prompt == one.prompt


async def test_another_bundle_shows_as_another_prompt(tmp_path: Path) -> None:
    case = await proposed(routed(), bundle(RECORDER), tmp_path)
    other = bundle(RECORDER, prompt="Be brief. {{ request.text }}")
    assert not said(case, other, FileRecordings(tmp_path)).same


async def test_a_recording_that_is_gone_is_left_out(tmp_path: Path) -> None:
    case = await proposed(routed(), bundle(RECORDER), tmp_path)
    assert said(case, bundle(RECORDER), FileRecordings(tmp_path / "other")).raw is None


async def test_a_bundle_that_cannot_render_it_is_one_clear_line(tmp_path: Path) -> None:
    case = await proposed(routed(), bundle(RECORDER), tmp_path)
    with pytest.raises(UserError, match="proposal 1: prompt 'answer'"):
        said(case, bundle(RECORDER, prompt="{{ nothing }}"), FileRecordings(tmp_path))
