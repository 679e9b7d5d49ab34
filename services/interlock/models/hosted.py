"""Hosted models: one prompt out, our one JSON form back, every failure by its kind.

Importing this needs the extra `interlock[models]`.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from pydantic import ValidationError
from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelTimeoutError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import ModelRequest as Asked
from pydantic_ai.messages import ModelResponse as Answered
from pydantic_ai.messages import TextPart, ToolCallPart
from pydantic_ai.models import Model as Client
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from interlock.bundles.routes import ModelCandidate
from interlock.models.clients import HostedOptions, Opened, make_client
from interlock.models.heard import listening
from interlock.models.parse import Output
from interlock.models.port import ModelPassed, ModelRequest, ModelResponse
from interlock_contracts.base import Model
from interlock_contracts.canonical import digest
from interlock_contracts.proposal import Statement
from interlock_contracts.tools import ToolSpec

DEFAULT_WAIT_S = 5.0
"""How long a provider is left alone that says "too much" and not for how long."""

IDLE_S = 600.0
"""A client that was not used for so long is closed: its bundle may be gone."""

_UNREADABLE = "its answer could not be read"


class Said(Model):
    """The part of the output that a provider is held to; calls come as its tool calls.

    Closed objects only: some providers refuse a schema with a free one, as arguments are.
    """

    statements: tuple[Statement, ...]
    abstained: bool


_SCHEMA = Said.model_json_schema()
del _SCHEMA["description"]  # it is for the readers of this file

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


class HostedModel:
    """Asks any of the hosted providers. Keeps a client, with its connections, per candidate.

    What no bundle in flight names any more is closed once it was not used for `IDLE_S` seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._clients: dict[str, _Open] = {}
        self._making = asyncio.Lock()

    @property
    def open_clients(self) -> int:
        """How many clients have connections now."""
        return len(self._clients)

    async def complete(self, request: ModelRequest, candidate: ModelCandidate) -> ModelResponse:
        """The provider's answer in our form; raises `ModelPassed` when there is none."""
        options = _options(candidate)
        with listening() as bodies:
            try:
                async with self._client(candidate, options) as client:
                    answered = await self._answered(client, request, candidate, options)
            except ModelPassed as passed:
                passed.raw = b"\n".join(bodies) or None
                raise
        stop_reason = answered.finish_reason or "end"
        return ModelResponse(
            output=_output(answered),
            provider=candidate.provider,
            model=candidate.model,
            stop_reason="end" if stop_reason == "stop" else stop_reason,
            input_tokens=answered.usage.input_tokens or None,
            output_tokens=answered.usage.output_tokens or None,
            raw=b"\n".join(bodies) or None,
        )

    async def _answered(
        self,
        client: Client,
        request: ModelRequest,
        candidate: ModelCandidate,
        options: HostedOptions,
    ) -> Answered:
        try:
            answered = await model_request(
                client,
                [Asked.user_text_prompt(request.prompt)],
                model_settings=_settings(candidate, options),
                model_request_parameters=_parameters(request, options, client),
            )
        except ModelAPIError as error:
            raise _passed(error) from None
        except UnexpectedModelBehavior:
            raise ModelPassed(_UNREADABLE, unwell=True) from None
        except UserError:
            raise ModelPassed("its client refuses these options") from None
        except (ValueError, TypeError, AttributeError, LookupError):
            # Some clients build their answer from whatever JSON came, or from none.
            raise ModelPassed(_UNREADABLE, unwell=True) from None
        except Exception as error:
            # Say, no credentials, or no token for them: the next candidate may do without.
            raise ModelPassed(f"its client failed ({type(error).__name__})", unwell=True) from None
        if not answered.parts and answered.finish_reason is None:
            raise ModelPassed(_UNREADABLE, unwell=True)
        return answered

    @asynccontextmanager
    async def _client(
        self, candidate: ModelCandidate, options: HostedOptions
    ) -> AsyncIterator[Client]:
        key = digest(candidate)
        async with self._making:
            if key not in self._clients:
                # In a thread: some look for the machine's credentials over the network.
                opened = await asyncio.to_thread(make_client, candidate, options)
                await opened.client.__aenter__()
                self._clients[key] = _Open(opened, self._clock())
        kept = self._clients[key]
        kept.users += 1
        try:
            yield kept.opened.client
        finally:
            kept.users -= 1
            kept.used = self._clock()
            await self._close_idle(kept.used - IDLE_S)

    async def _close_idle(self, before: float) -> None:
        idle = [key for key, one in self._clients.items() if not one.users and one.used < before]
        for kept in [self._clients.pop(key) for key in idle]:
            await kept.opened.aclose()

    async def aclose(self) -> None:
        """Close the connections of every client."""
        while self._clients:
            _, kept = self._clients.popitem()
            await kept.opened.aclose()


@dataclass
class _Open:
    """A client, when it was last used, and by how many it is used now."""

    opened: Opened
    used: float
    users: int = 0


def _options(candidate: ModelCandidate) -> HostedOptions:
    try:
        return HostedOptions.model_validate(candidate.options)
    except ValidationError as error:
        place = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
        raise ModelPassed(f"its options are wrong at {place}") from None


def _settings(candidate: ModelCandidate, options: HostedOptions) -> ModelSettings:
    settings = ModelSettings(max_tokens=options.max_tokens)
    if candidate.provider != "bedrock":
        # Bedrock's client has both already. Retries are the route's matter: the next
        # candidate is better than the same one again.
        settings["timeout"] = candidate.timeout_s
        settings["max_retries"] = 0
    if options.temperature is not None:
        settings["temperature"] = options.temperature
    return settings


def offered(tools: tuple[ToolSpec, ...], options: HostedOptions) -> list[ToolDefinition]:
    """The tools as the provider is told of them; the gate checks again what comes of it."""
    return [
        ToolDefinition(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=dict(tool.parameters),
            strict=False,
        )
        for tool in tools
        if options.tools == "calls"
    ]


def output_schema(data: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a provider is held to: our form and, in it, the contract's structured answer.

    An answer without data is still possible where `data` is null: beside calls, or abstaining.
    """
    if data is None:
        return _SCHEMA
    own = _renamed({name: part for name, part in data.items() if name != "$defs"})
    parts = {f"data_{name}": _renamed(part) for name, part in data.get("$defs", {}).items()}
    return {
        **_SCHEMA,
        "$defs": {**_SCHEMA.get("$defs", {}), **parts},
        "properties": {**_SCHEMA["properties"], "data": {"anyOf": [own, {"type": "null"}]}},
        "required": [*_SCHEMA["required"], "data"],
    }


def _renamed(schema: Any) -> Any:
    """A schema whose references lead to its own definitions among ours."""
    if isinstance(schema, list):
        return [_renamed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.replace("#/$defs/", "#/$defs/data_", 1)
        if key == "$ref" and isinstance(value, str)
        else _renamed(value)
        for key, value in schema.items()
    }


def _parameters(
    request: ModelRequest, options: HostedOptions, client: Client
) -> ModelRequestParameters:
    tools = request.tools
    definitions = offered(tools, options)
    in_text = bool(tools) and options.tools == "prompt"
    # Gemini takes a schema or tools, not both at once (before its third generation).
    in_text = in_text or (client.system in ("google", "google-cloud") and bool(definitions))
    able = bool(client.profile.get("supports_json_schema_output"))
    if options.output == "prompt" or in_text or not able:
        return ModelRequestParameters(function_tools=definitions)
    schema = (
        OutputObjectDefinition(output_schema(request.contract.json_schema), name="proposal")
        if request.schema is None
        else OutputObjectDefinition(dict(request.schema), name="answer")
    )
    return ModelRequestParameters(
        function_tools=definitions, output_mode="native", output_object=schema
    )


def _output(answered: Answered) -> str:
    """The answer as the JSON that `parse` reads; what is none of that is left as it is.

    A refusal of the provider is an abstention: the bundle has the words for that. Beside tool
    calls, text that is not in our form is a remark about them and no statement.
    """
    text = "".join(part.content for part in answered.parts if isinstance(part, TextPart))
    calls = [_call(part) for part in answered.parts if isinstance(part, ToolCallPart)]
    if answered.finish_reason == "content_filter":
        return Output(abstained=True).model_dump_json()
    fenced = _FENCE.match(text)
    text = fenced[1] if fenced else text
    if not calls:
        return text
    if answered.finish_reason == "length":
        # The last call may lack its end, and a shorter argument can still be valid.
        return f"{text}\n(cut off within {len(calls)} tool calls)"
    said = _object(text)
    own = said.get("calls")
    said["calls"] = [*(own if isinstance(own, list) else []), *calls]
    said["abstained"] = False
    return json.dumps(said, ensure_ascii=False)


def _object(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _call(part: ToolCallPart) -> dict[str, Any]:
    arguments = part.args
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            # Left as text: `parse` then says where the output is wrong.
            arguments = part.args
    return {"tool": part.tool_name, "arguments": {} if arguments is None else arguments}


def _passed(error: ModelAPIError) -> ModelPassed:
    """Why a provider did not answer, by kind; its own words may repeat the prompt."""
    if isinstance(error.__cause__, ValueError) or type(error) is ModelAPIError:
        # Of no kind: the answer came, and was no JSON or lacked what every answer has.
        return ModelPassed(_UNREADABLE, unwell=True)
    status = f" (HTTP {error.status_code})" if isinstance(error, ModelHTTPError) else ""
    if isinstance(error, ModelRateLimitError):
        wait = DEFAULT_WAIT_S if error.retry_after is None else max(0.0, error.retry_after)
        return ModelPassed(f"too many requests{status}", retry_after=wait)
    if isinstance(error, ModelQuotaExceededError):
        return ModelPassed(f"its quota is used up{status}", unwell=True)
    if isinstance(error, ModelAuthenticationError):
        return ModelPassed(f"its key was refused{status}", unwell=True)
    if isinstance(error, ModelNotFoundError):
        return ModelPassed(f"the provider has no such model{status}", unwell=True)
    if isinstance(error, ModelTimeoutError):
        return ModelPassed("it did not answer in time", unwell=True)
    if isinstance(error, ModelConnectionError):
        return ModelPassed("it could not be reached", unwell=True)
    if isinstance(error, ModelRequestRejectedError):
        return ModelPassed(f"it refused the request{status}")
    return ModelPassed(f"it failed{status}", unwell=True, retry_after=error.retry_after)
