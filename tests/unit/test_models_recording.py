"""`record`: what was asked and answered is kept by digest, and can be said again."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.models_wire import Reply, answer, serving
from tests.unit.test_models_pressure import Fake, request

from interlock.bundles.routes import ModelCandidate
from interlock.models.hosted import IDLE_S, HostedModel
from interlock.models.port import ModelPassed, ModelResponse
from interlock.models.recording import FileRecordings, Recording, RecordModel
from interlock.models.routes import ModelRoutes, known_models
from interlock.models.scripted import ScriptedModel
from interlock.runtime.errors import RetryLater
from interlock_contracts.ids import new_request_id

SAID = '{"statements": [{"text": "Ten days."}]}'
OF = request().case.request
RECORDING = Recording(provider="p", model="m", prompt="ask", output=SAID, stop_reason="end")


def recorder(of: str, **options: str) -> ModelCandidate:
    return ModelCandidate(provider="record", model="m", options={"of": of, **options})


async def test_both_sides_of_a_hosted_call_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "sk-very-secret")
    routes = ModelRoutes(known_models(FileRecordings(tmp_path)))
    async with serving(Reply(answer("openai", SAID))) as server:
        chosen = recorder("openai", key_env="SHOP_API_KEY", base_url=server.url)
        asked = replace(request(chosen), prompt="THE PROMPT")
        response = await routes.complete(asked)
        await routes.aclose()
    assert (response.provider, response.output) == ("openai", SAID)
    assert response.recording is not None
    kept = FileRecordings(tmp_path).get(response.recording)
    assert (kept.prompt, kept.output, kept.input_tokens) == ("THE PROMPT", SAID, 11)
    assert kept.raw is not None
    assert json.loads(kept.raw) == answer("openai", SAID), "byte by byte"
    assert "secret" not in kept.model_dump_json()


async def test_what_could_not_be_read_is_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "k")
    routes = ModelRoutes(known_models(FileRecordings(tmp_path)))
    async with serving(Reply(b"<html>oops")) as server:
        chosen = recorder("openai", key_env="SHOP_API_KEY", base_url=server.url)
        fallback = ModelCandidate(provider="p", model="m")
        with pytest.raises(RetryLater) as later:
            await routes.complete(request(chosen, fallback))
        await routes.aclose()
    found = re.search(r"could not be read; recorded as (sha256:\w+)", later.value.message)
    assert found is not None
    assert FileRecordings(tmp_path).get(found[1]).raw == "<html>oops"


async def test_a_recording_is_said_again_by_a_script(tmp_path: Path) -> None:
    recordings = FileRecordings(tmp_path)
    options = {"outputs": [{"match": "", "recording": recordings.put(RECORDING, OF)}]}
    chosen = ModelCandidate(provider="scripted", model="incident", options=options)
    routes = ModelRoutes(known_models(recordings))
    assert (await routes.complete(request(chosen))).output == SAID


@pytest.mark.parametrize(
    "outputs", [[{"match": ""}], [{"match": "", "output": "x", "recording": "sha256:" + "0" * 64}]]
)
async def test_a_script_says_an_output_or_a_recording(outputs: list[dict[str, str]]) -> None:
    chosen = ModelCandidate(provider="scripted", model="m", options={"outputs": outputs})
    with pytest.raises(ModelPassed, match="options are wrong"):
        await ScriptedModel().complete(request(chosen), chosen)


async def test_a_missing_recording_is_passed_over(tmp_path: Path) -> None:
    missing = "sha256:" + "0" * 64
    options = {"outputs": [{"match": "", "recording": missing}]}
    chosen = ModelCandidate(provider="scripted", model="m", options=options)
    for model in (ScriptedModel(), ScriptedModel(FileRecordings(tmp_path))):
        with pytest.raises(ModelPassed, match="no recording"):
            await model.complete(request(chosen), chosen)


def test_recordings_are_for_the_owner_alone_and_cannot_be_changed_unseen(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    recordings = FileRecordings(folder)
    digest = recordings.put(RECORDING, OF)
    assert recordings.put(RECORDING, OF) == digest
    (file,) = folder.rglob("*.json")
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert recordings.get(digest) == RECORDING
    file.write_bytes(file.read_bytes().replace(b"Ten", b"Two"))
    with pytest.raises(LookupError, match="not what it was"):
        recordings.get(digest)
    with pytest.raises(LookupError):
        recordings.get("sha256:../../etc/passwd")


def test_recordings_of_a_request_go_together(tmp_path: Path) -> None:
    recordings = FileRecordings(tmp_path)
    other = OF.model_copy(update={"request_id": new_request_id()})
    digests = [
        recordings.put(RECORDING, OF),
        recordings.put(RECORDING.model_copy(update={"prompt": "again"}), OF),
    ]
    recordings.put(RECORDING, other)
    assert recordings.requests() == {(one.tenant, one.request_id) for one in (OF, other)}
    assert recordings.last(OF.tenant, OF.request_id) > 0 == recordings.last("acme", "nobody")
    recordings.delete(OF.tenant, OF.request_id)
    recordings.delete(OF.tenant, OF.request_id)
    with pytest.raises(LookupError, match="no recording"):
        recordings.get(digests[1])
    assert recordings.get(digests[0]) == RECORDING, "the other request said the same"
    assert recordings.requests() == {(other.tenant, other.request_id)}


async def test_a_full_disk_does_not_silence_the_feature(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recordings = FileRecordings(tmp_path / "file" / "below")
    model = RecordModel({"p": Fake()}, recordings)
    response = await model.complete(request(), recorder("p"))
    assert (response.output, response.recording) == ("{}", None)


@pytest.mark.parametrize("of", ["nobody", "record", ""])
async def test_what_it_wraps_has_to_be_known(of: str, tmp_path: Path) -> None:
    model = known_models(FileRecordings(tmp_path))["record"]
    with pytest.raises(ModelPassed, match="wraps no provider"):
        await model.complete(request(), recorder(of))


async def test_clients_that_nobody_uses_any_more_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "k")
    now = [0.0]
    model = HostedModel(lambda: now[0])
    async with serving(Reply(answer("openai", SAID))) as server:

        async def ask(name: str) -> ModelResponse:
            options = {"key_env": "SHOP_API_KEY", "base_url": server.url}
            chosen = ModelCandidate(provider="openai", model=name, options=options)
            return await model.complete(request(chosen), chosen)

        await ask("of the old bundle")
        now[0] = IDLE_S / 2
        await ask("of the new one")
        assert model.open_clients == 2
        now[0] = IDLE_S + 1
        await ask("of the new one")
        assert model.open_clients == 1
        await model.aclose()
        assert model.open_clients == 0
