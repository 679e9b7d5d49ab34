"""What the commands that replay have in common: which requests, which bundles, which processes."""

import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlock.cli.common import connected, err
from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings
from interlock_contracts.subjects import TOKEN

if TYPE_CHECKING:
    from interlock.bundles.model import Bundle
    from interlock.replay.case import CaseFile
    from interlock.replay.gather import Range
    from interlock.replay.message import LogMessage
    from interlock.replay.outcome import Where
    from interlock.replay.scan import LogReader
    from interlock.runtime.stage import Bundles
    from interlock_contracts.request import Request

USER = "replay"
"""Its credential reads the live log and cannot publish into it."""

PROGRESS_S = 2.0
_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Requests = AsyncIterator[list["LogMessage"]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which requests: by id, of a case file, or of a stretch of the log, under conditions."""

    request_ids: tuple[str, ...]
    span: "Range | None"
    where: "Where"
    case: "CaseFile | None" = None


def selection(
    request_ids: Sequence[str], since: str | None, until: str | None, where: Sequence[str]
) -> Selection:
    """Read the options; raises `UserError`."""
    from interlock.replay.gather import Range

    case = case_of(request_ids)
    for request_id in () if case is not None else request_ids:
        if not TOKEN.fullmatch(request_id):
            raise UserError(f"{request_id[:64]!r} is no request id")
    conditions = _where(where)
    span = None
    if since is not None or until is not None or (where and not request_ids):
        span = Range(
            1 if since is None else _bound(since),
            None if until is None else _bound(until),
            conditions.tenant or "*",
        )
    if span is None and not request_ids:
        raise UserError("which requests? name their ids, or --since 2h, or --where outcome=refused")
    return Selection(tuple(request_ids), span, conditions, case)


def _where(given: Sequence[str]) -> "Where":
    from interlock.replay.outcome import Where

    values: dict[str, str] = {}
    known = ", ".join(asdict(Where()))
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or name not in asdict(Where()) or not TOKEN.fullmatch(value):
            raise UserError(f"--where {one!r}: NAME=VALUE, with one of {known}")
        values[name] = value
    return Where(**values)


def _bound(text: str) -> int | datetime:
    """A sequence of the log, a time, or how long ago."""
    if text.isdecimal():
        return int(text)
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"{text!r}: a sequence (1200), a time (2026-11-23T10:00Z) or how long ago (90m, 2h, 7d)"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _resolved(path: Path) -> Path:
    return path.resolve()


def _compiled(path: Path) -> "tuple[Bundle, Path] | None":
    """The bundle at a path and its documents' folder; None where nothing is there."""
    from interlock.bundles.compile import compile_bundle
    from interlock.bundles.errors import BundleError
    from interlock.runtime.wiring import bundle_folder

    if not path.exists():
        return None
    try:
        return compile_bundle(path), bundle_folder(path)
    except BundleError as error:
        raise UserError(error.of(path)) from None


class Candidates:
    """The bundles that a replay may need: named on the command line, of a case, on the broker.

    `folders` says where the documents of a bundle are, by its digest.
    """

    def __init__(self, bundles: "Bundles") -> None:
        self._bundles = bundles
        self._known: dict[str, Bundle] = {}
        self.folders: dict[str, Path] = {}

    async def add(self, text: str) -> str:
        """The digest of a bundle given as a folder, a file or a digest; raises `UserError`."""
        from interlock.bundles.errors import BundleError, BundleRefused, BundleUnknown

        compiled = _compiled(Path(text))
        if compiled is None:
            try:
                return (await self.get(text if ":" in text else f"sha256:{text}")).digest
            except (BundleUnknown, BundleError, BundleRefused):
                raise UserError(f"no bundle {text!r}: a folder, a file or a digest") from None
        bundle, folder = compiled
        self._known[bundle.digest] = bundle
        self.folders[bundle.digest] = folder
        return bundle.digest

    async def get(self, digest: str) -> "Bundle":
        """The bundle with this digest; raises as `Bundles.get`."""
        if digest in self._known:
            return self._known[digest]
        return await self._bundles.get(digest)

    def active(self, request: "Request | None" = None) -> "Bundle":
        """The bundle that is active here; of a case its only one."""
        return self._bundles.active(request)


@dataclass(frozen=True, slots=True)
class Replays:
    """What a replay stands on: which requests, the bundles, and the log they are read from."""

    settings: Settings
    wanted: Selection
    candidates: Candidates
    log: "LogReader | None"

    async def requests(self) -> Requests:
        """The requests' messages: of a case file, or of the live log; raises `UserError`."""
        from interlock.replay.gather import Gatherer

        wanted, log = self.wanted, self.log
        if wanted.case is not None:
            yield list(wanted.case.messages)
        if log is None:
            return
        for request_id in wanted.request_ids:
            messages = await log.of_request(request_id)
            if not messages:
                raise UserError(f"nothing is logged of a request {request_id!r}")
            yield messages
        if wanted.span is not None:
            async for messages in Gatherer(log, wanted.span).requests():
                if messages and messages[0].request_id not in wanted.request_ids:
                    yield messages


@asynccontextmanager
async def replays(settings: Settings, wanted: Selection) -> AsyncIterator[Replays]:
    """A case stands by itself; else the broker is read with the replay credential."""
    from interlock.replay.scan import LogReader
    from interlock.runtime.wiring import stored_bundles

    if wanted.case is not None:
        yield Replays(settings, wanted, Candidates(wanted.case), None)
        return
    async with connected(settings, USER) as client:
        candidates = Candidates(await stored_bundles(client, settings))
        yield Replays(settings, wanted, candidates, LogReader(client, settings.cell))


def case_of(request_ids: Sequence[str]) -> "CaseFile | None":
    """The case file among the arguments, if it is one; raises `UserError`."""
    from interlock.replay.case import is_case, read_case

    if not any(is_case(one) for one in request_ids):
        return None
    if len(request_ids) != 1:
        raise UserError("one case file at a time, and no ids beside it")
    return read_case(Path(request_ids[0]))


async def with_replays(
    settings: Settings, wanted: Selection, task: Callable[[Replays], Awaitable[bool]]
) -> bool:
    """Run `task` on them."""
    async with replays(settings, wanted) as given:
        return await task(given)


def process_count(wanted: Selection, asked: int | None) -> int:
    """One process for requests by id, all cores for a stretch of the log."""
    if asked is not None:
        return asked
    return 1 if wanted.span is None else os.cpu_count() or 1


async def replayed(
    given: Replays,
    config: dict[str, Any],
    processes: int | None = None,
    *,
    models: bool = False,
) -> AsyncIterator[dict[str, Any]]:
    """What came of every request that is meant, in the log's order; progress on standard error.

    `config` names the task of the replay processes. With `models` they may have models asked.
    """
    from interlock.replay.pool import bundle_answer, replayers, results

    answers: dict[str, Callable[[Any], Awaitable[Any]]] = {
        "bundle": bundle_answer(given.candidates)
    }
    config = {**config, "where": asdict(given.wanted.where)}
    async with AsyncExitStack() as stack:
        if models:
            from interlock.replay.asking import model_answer

            answers["model"] = model_answer()
        if config.get("search"):
            from interlock.replay.asking import AGAIN, again_answer

            answers[AGAIN] = again_answer(given.candidates, given.settings)
        if given.candidates.folders:
            from interlock.replay.asking import search_answer

            candidates, index = given.candidates, None
            if given.log is None:
                index = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            answers["search"] = search_answer(candidates, candidates.folders, given.settings, index)
        count = process_count(given.wanted, processes)
        private = [str(_resolved(given.settings.state))]
        workers = await stack.enter_async_context(
            replayers({**config, "private": private}, answers, count)
        )
        done, shown = 0, time.monotonic()
        async for found in results(given.requests(), workers):
            done += 1
            if time.monotonic() - shown > PROGRESS_S:
                shown = time.monotonic()
                err.print(f"{done:,} requests …", style="dim")
            if not found.get("skipped"):
                yield found
