"""`record`: wraps any provider and keeps what was asked and answered, by digest.

An incident is read with the very prompt and the provider's very response; `scripted` can say it
again. A recording holds what users wrote: it is a file only the generator's own user may read, and
it goes when its request is erased (`forgetting.py`).
"""

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import structlog
from pydantic import ValidationError

from interlock.bundles.routes import ModelCandidate
from interlock.models.port import Model, ModelPassed, ModelRequest, ModelResponse
from interlock_contracts.base import Model as Message
from interlock_contracts.canonical import canonical_json, digest_bytes
from interlock_contracts.request import Request

log = structlog.get_logger(__name__)


class Recording(Message):
    """One generation: the rendered prompt, the output in our form, and the provider's `raw`."""

    provider: str
    model: str
    prompt: str
    output: str
    stop_reason: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    raw: str | None = None


class Recordings(Protocol):
    """Where recordings are kept, by the digest of their bytes."""

    def put(self, recording: Recording, of: Request) -> str:
        """Keep it with the request it is of; returns its digest. Raises `OSError`."""

    def get(self, digest: str) -> Recording:
        """The recording with this digest; raises `LookupError`."""


class FileRecordings:
    """Recordings as files: `<tenant>/<request id>/<64 hex digits>.json`, for the owner alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, recording: Recording, of: Request) -> str:
        """Keep it, whole or not at all; the same recording of a request again is the same file."""
        content = canonical_json(recording)
        digest = digest_bytes(content)
        file = self.folder / of.tenant / of.request_id / _name(digest)
        if not file.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}")
            partial.touch(mode=0o600)
            partial.write_bytes(content)
            partial.replace(file)
        return digest

    def get(self, digest: str) -> Recording:
        """The recording with this digest; raises `LookupError` for none, or another content."""
        file = next(self.folder.glob(f"*/*/{_name(digest)}"), None)
        try:
            content = b"" if file is None else file.read_bytes()
        except OSError:  # somebody has just deleted it
            content = b""
        if not content:
            raise LookupError(f"there is no recording {digest}")
        if digest_bytes(content) != digest:
            raise LookupError(f"the recording {digest} is not what it was")
        try:
            return Recording.model_validate_json(content)
        except ValidationError:
            raise LookupError(f"{digest} is no recording") from None

    def requests(self) -> set[tuple[str, str]]:
        """The requests there are recordings of, each by tenant and id."""
        return {(one.parent.name, one.name) for one in self.folder.glob("*/*")}

    def last(self, tenant: str, request_id: str) -> float:
        """When the last one of a request was kept, in seconds since 1970; 0 if there is none."""
        files = (self.folder / tenant / request_id).glob("*")
        return max((file.stat().st_mtime for file in files), default=0.0)

    def delete(self, tenant: str, request_id: str) -> None:
        """Delete those of a request; harmless when there are none. Raises `OSError`."""
        folder = self.folder / tenant / request_id
        with suppress(FileNotFoundError):  # another process deletes it, too
            shutil.rmtree(folder)


def _name(digest: str) -> str:
    name = digest.removeprefix("sha256:")
    if not name.isalnum():
        raise LookupError(f"{digest!r} is no digest")
    return f"{name}.json"


class RecordModel:
    """Asks the provider that `options["of"]` names, with the other options; keeps both sides."""

    def __init__(self, models: Mapping[str, Model], recordings: Recordings | None) -> None:
        self._models = models
        self._recordings = recordings

    async def complete(self, request: ModelRequest, candidate: ModelCandidate) -> ModelResponse:
        """The wrapped provider's answer, with the digest of its recording."""
        model = self._models.get(candidate.asked)
        if model is None:
            raise ModelPassed(f"it wraps no provider that is known: of: {candidate.asked!r}")
        options = {key: value for key, value in candidate.options.items() if key != "of"}
        wrapped = candidate.model_copy(update={"provider": candidate.asked, "options": options})
        try:
            response = await model.complete(request, wrapped)
        except ModelPassed as passed:
            await self._keep_failure(passed, request, wrapped)
            raise
        recording = Recording(
            provider=response.provider,
            model=response.model,
            prompt=request.prompt,
            output=response.output,
            stop_reason=response.stop_reason,
            input_tokens=response.input_tokens,
            output_tokens=response.output_tokens,
            raw=_text(response.raw),
        )
        return replace(response, recording=await self._kept(recording, request))

    async def _keep_failure(
        self, passed: ModelPassed, request: ModelRequest, candidate: ModelCandidate
    ) -> None:
        """Keep what was said instead of an answer; the reason names the recording."""
        if passed.raw is None:
            return
        recording = Recording(
            provider=candidate.provider,
            model=candidate.model,
            prompt=request.prompt,
            output="",
            stop_reason=str(passed),
            raw=_text(passed.raw),
        )
        digest = await self._kept(recording, request)
        if digest is not None:
            passed.args = (f"{passed}; recorded as {digest}",)

    async def _kept(self, recording: Recording, request: ModelRequest) -> str | None:
        """The digest under which it is kept; None if that was not possible."""
        if self._recordings is None:
            return None
        try:
            return await asyncio.to_thread(self._recordings.put, recording, request.case.request)
        except OSError as error:
            # A full disk must not silence the feature; that nothing was kept shows in the event.
            log.warning("not_recorded", reason=type(error).__name__)
            return None


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="replace")
