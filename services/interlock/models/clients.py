"""Clients of the providers, made of a candidate's options with pydantic-ai's model classes.

Importing this needs the extra `interlock[models]`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import boto3  # type: ignore[import-untyped]  # ships no types
import google.auth
import httpx2
from botocore.config import Config  # type: ignore[import-untyped]  # ships no types
from botocore.exceptions import NoRegionError  # type: ignore[import-untyped]  # ships no types
from botocore.session import Session  # type: ignore[import-untyped]  # ships no types
from botocore.tokens import FrozenAuthToken  # type: ignore[import-untyped]  # ships no types
from google.auth.exceptions import DefaultCredentialsError
from pydantic import Field
from pydantic_ai.models import Model as Client
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.bedrock import BedrockConverseModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.bedrock import BedrockProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.google_cloud import GoogleCloudProvider
from pydantic_ai.providers.openai import OpenAIProvider

from interlock.bundles.routes import ModelCandidate
from interlock.models.heard import listen_to, listened_client
from interlock.models.port import ModelPassed
from interlock_contracts.base import Model

_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

LOCAL_KEY = "none"
"""Sent to an OpenAI-compatible server that has no keys: the client insists on one."""


class HostedOptions(Model):
    """What a bundle may say about a hosted model.

    `key_env` names the environment variable that holds the key. It has to look like the name
    of a provider's key, so that no bundle can have another secret sent to its `base_url`.
    `output`: the provider is held to our JSON schema (`schema`), or the prompt alone asks for
    it (`prompt`). `tools`: offered as the provider's tool calls (`calls`), or in the prompt
    alone (`prompt`). No `temperature` is sent unless one is given: reasoning models refuse it.
    """

    key_env: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*_(?:API_KEY|BEARER_TOKEN)$")
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    region: str | None = None
    project: str | None = None
    max_tokens: int = Field(default=2_048, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    output: Literal["schema", "prompt"] = "schema"
    tools: Literal["calls", "prompt"] = "calls"


@dataclass(frozen=True, slots=True)
class Opened:
    """A client and its connections, which are ours to close."""

    client: Client
    http: httpx2.AsyncClient | None

    async def aclose(self) -> None:
        """Close both."""
        await self.client.__aexit__(None, None, None)
        if self.http is not None:
            await self.http.aclose()


def make_client(candidate: ModelCandidate, options: HostedOptions) -> Opened:
    """The client of a candidate; raises `ModelPassed` when its key is not to be had."""
    if candidate.provider == "bedrock":
        return Opened(_bedrock(candidate, options), None)
    http = listened_client(candidate.timeout_s)
    return Opened(_MAKERS[candidate.provider](candidate, options, http), http)


def _key(options: HostedOptions) -> str | None:
    if options.key_env is None:
        return None
    key = os.environ.get(options.key_env)
    if not key:
        raise ModelPassed(f"the environment variable {options.key_env} is not set")
    return key


def _needed_key(options: HostedOptions) -> str:
    key = _key(options)
    if key is None:
        # Else the library would take whatever key it finds in the environment.
        raise ModelPassed("its options name no key_env")
    return key


def _openai(candidate: ModelCandidate, options: HostedOptions, http: httpx2.AsyncClient) -> Client:
    key = _key(options) if options.base_url else _needed_key(options)
    base_url = options.base_url or "https://api.openai.com/v1"
    provider = OpenAIProvider(base_url=base_url, api_key=key or LOCAL_KEY, http_client=http)
    return OpenAIChatModel(candidate.model, provider=provider)


def _anthropic(
    candidate: ModelCandidate, options: HostedOptions, http: httpx2.AsyncClient
) -> Client:
    base_url = options.base_url or "https://api.anthropic.com"
    key = _needed_key(options)
    provider = AnthropicProvider(api_key=key, base_url=base_url, http_client=http)
    return AnthropicModel(candidate.model, provider=provider)


def _google(candidate: ModelCandidate, options: HostedOptions, http: httpx2.AsyncClient) -> Client:
    key = _needed_key(options)
    provider = GoogleProvider(api_key=key, base_url=options.base_url, http_client=http)
    return GoogleModel(candidate.model, provider=provider)


def _vertex(candidate: ModelCandidate, options: HostedOptions, http: httpx2.AsyncClient) -> Client:
    """With a key of Vertex' express mode, or without `key_env` the machine's Google identity."""
    key = _key(options)
    if key is not None:
        provider = GoogleCloudProvider(api_key=key, base_url=options.base_url, http_client=http)
        return GoogleModel(candidate.model, provider=provider)
    if options.project is None or options.region is None:
        raise ModelPassed("its options name no project, or no region")
    try:
        credentials, _ = google.auth.default(scopes=[_GOOGLE_SCOPE])
    except DefaultCredentialsError:
        raise ModelPassed("this machine has no Google credentials") from None
    provider = GoogleCloudProvider(
        credentials=credentials,
        project=options.project,
        location=options.region,
        base_url=options.base_url,
        http_client=http,
    )
    return GoogleModel(candidate.model, provider=provider)


def _bedrock(candidate: ModelCandidate, options: HostedOptions) -> Client:
    """With a key of Bedrock's own, or without `key_env` the machine's AWS role."""
    key = _key(options)
    if key is not None and (options.base_url or "https:").startswith("http:"):
        raise ModelPassed("its key is not sent over plain HTTP")
    config = Config(
        read_timeout=candidate.timeout_s,
        connect_timeout=min(10.0, candidate.timeout_s),
        retries={"total_max_attempts": 1},
        max_pool_connections=candidate.max_concurrent,
        **({} if key is None else {"signature_version": "bearer"}),
    )
    session = boto3.Session(
        botocore_session=None if key is None else _KeySession(key), region_name=options.region
    )
    try:
        client = session.client("bedrock-runtime", config=config, endpoint_url=options.base_url)
    except NoRegionError:
        raise ModelPassed("its options name no region") from None
    listen_to(client)
    return BedrockConverseModel(candidate.model, provider=BedrockProvider(bedrock_client=client))


class _KeySession(Session):  # type: ignore[misc]  # botocore ships no types
    """A session that has this key and looks for no other."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key

    def get_auth_token(self, **_: object) -> FrozenAuthToken:
        return FrozenAuthToken(self._key)

    def get_credentials(self) -> None:
        return None


_MAKERS: dict[str, Callable[[ModelCandidate, HostedOptions, httpx2.AsyncClient], Client]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "google": _google,
    "vertex": _vertex,
}
