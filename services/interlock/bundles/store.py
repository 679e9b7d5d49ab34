"""Bundles from files, for pipes, evals and replays of files.

Services take theirs from the broker: `interlock.runtime.bundles`.
"""

from pathlib import Path

from interlock.bundles.compile import compile_bundle
from interlock.bundles.errors import BundleError, BundleUnknown
from interlock.bundles.model import Bundle
from interlock_contracts.request import Request


def bundle_file(folder: Path, digest: str) -> Path:
    """Where a folder of bundles keeps the one with `digest`: `<64 hex digits>.json`."""
    return folder / f"{digest.removeprefix('sha256:')}.json"


class FileBundles:
    """One active bundle, and those of a folder by digest; the latter are read when asked for.

    A `Bundles` of `interlock.runtime.stage`, but for the error: the runtime turns
    `BundleUnknown` into a retry, because the file may still arrive.
    """

    def __init__(self, active: Bundle, folder: Path | None = None) -> None:
        self._active = active
        self._folder = folder
        self._known = {active.digest: active}

    def active(self, request: Request | None = None) -> Bundle:  # noqa: ARG002  # a folder has one
        """The bundle new requests start on."""
        return self._active

    async def get(self, digest: str) -> Bundle:
        """The bundle with this digest.

        Raises:
            BundleUnknown: neither the active one nor in the folder.
            BundleError: the folder's file does not compile, or is another bundle.
        """
        known = self._known.get(digest)
        if known is None:
            known = self._known[digest] = self._read(digest)
        return known

    def _read(self, digest: str) -> Bundle:
        if self._folder is None or not bundle_file(self._folder, digest).is_file():
            raise BundleUnknown(digest, "`interlock bundle show DIGEST --json` writes a file of it")
        file = bundle_file(self._folder, digest)
        bundle = compile_bundle(file)
        if bundle.digest != digest:
            raise BundleError([f"{file.name}: holds {bundle.digest}; name the file after that"])
        return bundle
