"""A model that says what its options say: for tests, demos and incidents."""

import json
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from interlock.bundles.model import ModelCandidate
from interlock.generator.models.port import ModelPassed, ModelRequest, ModelResponse
from interlock_contracts.base import Model as Message


class ScriptedOutput(Message):
    """What to say when the request's text contains `match` (case ignored).

    `output` is given out as JSON, or, if it is a string, as it stands. With `on_step` it holds
    for that proposal of the request only; without, for every one.
    """

    match: str
    output: dict[str, Any] | str
    on_step: int | None = Field(default=None, ge=1)


_OUTPUTS: TypeAdapter[list[ScriptedOutput]] = TypeAdapter(list[ScriptedOutput])


class ScriptedModel:
    """Takes the first entry of `options["outputs"]` that fits; passes when none does."""

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
                said = scripted.output
                output = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
                return ModelResponse(output, candidate.provider, candidate.model)
        raise ModelPassed(f"nothing is scripted for this text at step {request.step}")
