"""A case file: all that one request needs to be run again, anywhere, without a broker.

A gzipped tar of `messages.jsonl` (the log's own messages, byte for byte: what was asked, the
chunks that were found, what the model said, facts, verdicts, results), `bundles/<digest>.json`,
`proofs.jsonl` where the audit log had all of it (`interlock.replay.proven`), and `case.json`, which
has the SHA-256 of every other file.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlock import __version__
from interlock.bundles.errors import BundleUnknown
from interlock.bundles.model import Bundle
from interlock.replay.message import LogMessage
from interlock.replay.redaction import redacted
from interlock.runtime.errors import UserError
from interlock_contracts.canonical import canonical_json
from interlock_contracts.request import Request

FORMAT = 1
MAX_BYTES = 512 * 1024 * 1024
_MANIFEST, _MESSAGES, _BUNDLES = "case.json", "messages.jsonl", "bundles/"
_PROOFS = "proofs.jsonl"


@dataclass(frozen=True, slots=True)
class CaseFile:
    """What was read from a case file; `proofs` are for `interlock.replay.proven.read_proofs`."""

    request_id: str
    messages: tuple[LogMessage, ...]
    bundles: Mapping[str, Bundle]
    redacted: bool = False
    proofs: bytes = b""

    async def get(self, digest: str) -> Bundle:
        """The bundle with this digest; raises `BundleUnknown`."""
        try:
            return self.bundles[digest]
        except KeyError:
            raise BundleUnknown(digest) from None

    def active(self, request: Request | None = None) -> Bundle:  # noqa: ARG002
        """The only bundle; raises `BundleUnknown` where there is not exactly one."""
        if len(self.bundles) != 1:
            raise BundleUnknown("(none active)")
        return next(iter(self.bundles.values()))


def is_case(text: str) -> bool:
    """Whether an argument means a case file and not a request."""
    return text.endswith((".tar.gz", ".tgz"))


def write_case(
    path: Path,
    messages: Sequence[LogMessage],
    bundles: Sequence[Bundle],
    *,
    redact: bool = False,
    proofs: bytes = b"",
) -> None:
    """Write a case; the same content is the same bytes.

    With `redact` personal data is replaced by placeholders in every message. Bytes, digests and
    ids then no longer belong to each other: such a case can be read and asked what-if, but
    neither verified nor proven.
    """
    kept = redacted(messages) if redact else list(messages)
    lines = [json.dumps(one.to_json(), ensure_ascii=False) for one in kept]
    files = {_MESSAGES: "".join(f"{line}\n" for line in lines).encode()}
    for bundle in bundles:
        files[f"{_BUNDLES}{bundle.digest.removeprefix('sha256:')}.json"] = canonical_json(bundle)
    if proofs and not redact:
        files[_PROOFS] = proofs
    manifest = {
        "format": FORMAT,
        "interlock": __version__,
        "request_id": messages[0].request_id,
        "redacted": redact,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files = {_MANIFEST: json.dumps(manifest, indent=1).encode() + b"\n", **files}
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    path.write_bytes(buffer.getvalue())


def read_case(path: Path) -> CaseFile:
    """Read a case and check it against its own sums; raises `UserError`."""
    try:
        files = _unpacked(path)
        manifest = json.loads(files.pop(_MANIFEST))
        version, sums = manifest["format"], dict(manifest["files"])
    except FileNotFoundError:
        raise UserError(f"no case file {path}") from None
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no case file ({type(error).__name__})") from None
    if version != FORMAT:
        raise UserError(f"{path}: format {version}; this interlock reads {FORMAT}: upgrade it")
    found = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    wrong = sorted(name for name in {*found, *sums} if found.get(name) != sums.get(name))
    if wrong:
        raise UserError(f"{path} was changed: {', '.join(wrong)} is not what its case.json says")
    return _case(path, manifest, files)


def _case(path: Path, manifest: dict[str, Any], files: dict[str, bytes]) -> CaseFile:
    try:
        lines = files[_MESSAGES].splitlines()
        messages = tuple(LogMessage.from_json(line) for line in lines if line)
        bundles = [
            Bundle.model_validate_json(content)
            for name, content in files.items()
            if name.startswith(_BUNDLES)
        ]
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read: {type(error).__name__}") from None
    return CaseFile(
        str(manifest["request_id"]),
        messages,
        {one.digest: one for one in bundles},
        bool(manifest.get("redacted")),
        files.get(_PROOFS, b""),
    )


def _unpacked(path: Path) -> dict[str, bytes]:
    """The regular files in it, in memory: nothing is ever unpacked to disk."""
    files: dict[str, bytes] = {}
    total = 0
    with tarfile.open(path, mode="r:gz") as archive:
        for entry in archive:
            total += entry.size
            if total > MAX_BYTES:
                raise ValueError("too large")
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is None:
                raise ValueError("not a regular file")
            files[entry.name] = content.read()
    return files
