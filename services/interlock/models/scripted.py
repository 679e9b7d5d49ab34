"""A model that says what its options say: for tests, demos and incidents."""

import json
from typing import Any, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from interlock.bundles.routes import ModelCandidate
from interlock.models.port import ModelPassed, ModelRequest, ModelResponse
from interlock.models.recording import Recordings
from interlock_contracts.base import Digest
from interlock_contracts.base import Model as Message


class ScriptedOutput(Message):
    """What to say when the request's text contains `match` (case ignored).

    `output` is given out as JSON, or, if it is a string, as it stands; `recording` is the digest
    of a recording whose output is said again. With `on_step` it holds for that proposal of the
    request only; without, for every one.
    """

    match: str
    output: dict[str, Any] | str | None = None
    recording: Digest | None = None
    on_step: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.output is None) == (self.recording is None):
            raise ValueError("give either an output or a recording")
        return self


_OUTPUTS: TypeAdapter[list[ScriptedOutput]] = TypeAdapter(list[ScriptedOutput])


class ScriptedModel:
    """Takes the first entry of `options["outputs"]` that fits; passes when none does."""

    def __init__(self, recordings: Recordings | None = None) -> None:
        self._recordings = recordings

    async def complete(self, request: ModelRequest, candidate: ModelCandidate) -> ModelResponse:
        """The scripted output; raises `ModelPassed`."""
        try:
            outputs = _OUTPUTS.validate_python(candidate.options.get("outputs", []))
        except ValidationError as error:
            place = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
            raise ModelPassed(f"its options are wrong at outputs.{place}") from None
        text = request.case.request.text.casefold()
        for scripted in outputs:
            if scripted.match.casefold() in text and scripted.on_step in (None, request.step):
                if scripted.recording is not None:
                    return self._again(scripted.recording, candidate)
                said = scripted.output
                output = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
                return ModelResponse(output, candidate.provider, candidate.model)
        raise ModelPassed(f"nothing is scripted for this text at step {request.step}")

    def _again(self, digest: str, candidate: ModelCandidate) -> ModelResponse:
        if self._recordings is None:
            raise ModelPassed("this installation keeps no recordings")
        try:
            said = self._recordings.get(digest)
        except LookupError as error:
            raise ModelPassed(str(error)) from None
        return ModelResponse(
            said.output, candidate.provider, candidate.model, stop_reason=said.stop_reason
        )
