"""`ingest`: put documents on the log, from where every retriever indexes them."""

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from interlock.cli.common import (
    JsonOption,
    StateOption,
    err,
    operator_log,
    out,
    print_json,
    run,
    running_bundle,
    settings_of,
)
from interlock.cli.documents import Found, Reading, Summary, shown, similar
from interlock.runtime.commit import CommitRefused
from interlock.runtime.errors import RetryLater, UserError
from interlock_contracts.retrieval import Trust
from interlock_contracts.subjects import TOKEN

if TYPE_CHECKING:
    from interlock.runtime.settings import Settings
    from interlock.sdk.documents import Change, Documents
    from interlock_contracts.documents import Document

AT_ONCE = 64
"""Documents on their way at the same time: they share the broker's fsyncs."""

PATIENCE_S = 30.0
"""How long a broker that does not answer is waited for."""

Day = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]),
]


def ingest(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Files, or folders of them.")
    ],
    tenant: Annotated[str, typer.Option(help="Whose documents they are.")],
    source: Annotated[str, typer.Option(help="The bundle's source they belong to.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="A scope readers need, beside the source's; repeatable."),
    ] = None,
    trust: Annotated[Trust | None, typer.Option(help="Can only lower the source's.")] = None,
    language: Annotated[str, typer.Option(help="As in en, de-AT.")] = "",
    url: Annotated[str | None, typer.Option(help="Of a single document.")] = None,
    valid_from: Day = None,
    valid_until: Day = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of text that does not say; default UTF-8.")
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove the source's documents that are not here.")
    ] = False,
    empty: Annotated[
        bool, typer.Option("--empty", help="With --delete: even if there is no document here.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also documents that were erased: they come back.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Read documents (Markdown, HTML, PDF, DOCX, text, JSON lines) and put them on the log.

    A document is named after its path below PATH. What is on the log already is not written
    again. What a document says of itself (front matter, the fields of a JSON line) goes before
    the options. A file that cannot be read is reported and left out; exit status 1 then, and
    --delete removes nothing. Links are not followed out of PATH. What is interrupted goes on when
    it is run again.
    """
    from interlock.sdk.formats import Unreadable, about

    settings = settings_of(state)
    try:
        given = about(
            {"url": url, "scopes": scope or (), "trust": trust, "language": language,
             "valid_from": valid_from, "valid_until": valid_until}
        )  # fmt: skip
    except Unreadable as error:
        raise UserError(str(error)) from None
    if url is not None and (len(paths) > 1 or paths[0].is_dir()):
        raise UserError("--url is of a single document: give one file")
    if not TOKEN.fullmatch(source):
        raise UserError(f"--source {source!r}: letters, digits, _ and - only, 64 at most")
    for path in paths:
        if not os.access(path, os.R_OK):
            raise UserError(f"there is no {shown(path)} that can be read")
    _say_if_unknown(settings, source)
    summary = Summary()
    found = Reading(tenant, source, given, encoding).of(paths, summary)
    summary.similar = similar(found)
    if delete and summary.skipped:
        err.print("nothing is removed, for not everything could be read", style="yellow")
        delete = False
    writing = _Writing(settings, tenant, source, summary, again, dry_run, json_)
    try:
        run(writing.all(found, delete=delete, empty=empty))
    except (KeyboardInterrupt, _Away):
        _tell(summary, dry_run, json_)
        err.print("cut off: run it again, and it goes on from here", style="yellow")
        raise
    _tell(summary, dry_run, json_)
    if summary.skipped:
        raise typer.Exit(1)


def _say_if_unknown(settings: "Settings", source: str) -> None:
    """A source that the bundle of this installation, if one is known, does not have."""
    from interlock.runtime.wiring import bundles_of

    if not running_bundle(settings.state).is_file():
        return
    with suppress(UserError):  # what does not compile is said elsewhere
        known = bundles_of(settings).active().sources
        if source not in known:
            said = f"the bundle has no source {source!r}, so nothing finds it there; it has "
            err.print(said + ", ".join(sorted(known)), style="yellow", markup=False)


class _Away(UserError):
    """The broker did not answer for `PATIENCE_S`."""


@dataclass(frozen=True, slots=True)
class _Writing:
    """Documents of one tenant and source on their way to the log."""

    settings: "Settings"
    tenant: str
    source: str
    summary: Summary
    again: bool
    dry_run: bool
    json_: bool

    async def all(self, found: list[Found], *, delete: bool, empty: bool) -> None:
        """Write what was found, and with `delete` remove what was not; raises `UserError`."""
        from interlock.runtime.broker.permissions import ingest_user
        from interlock.sdk.documents import Documents

        credential = self.settings.credential_of(ingest_user(self.tenant))
        async with await Documents.connect(
            self.settings.url, credential, tenant=self.tenant, cell=self.settings.cell
        ) as documents:
            gone = await self._gone(found) if delete else []
            if gone and not found and not empty:
                raise UserError(
                    f"there is no document here: --delete would remove all {len(gone)} of "
                    f"{self.tenant}/{self.source}; if that is meant, add --empty"
                )
            try:
                await self._each(documents, found, gone)
            except BaseExceptionGroup as group:
                raise _first(group) from None

    async def _each(
        self, documents: "Documents", found: list[Found], gone: list["Document"]
    ) -> None:
        limit = asyncio.Semaphore(AT_ONCE)
        with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
            task = progress.add_task("writing", total=len(found) + len(gone))

            async def one(each: Found, text: str | None) -> None:
                async with limit:
                    await self._one(documents, each, text)
                progress.advance(task)

            async with asyncio.TaskGroup() as group:
                for each in found:
                    group.create_task(one(each, each.text))
                for document in gone:
                    group.create_task(one(Found(document.name, document, ""), None))

    async def _one(self, documents: "Documents", one: Found, text: str | None) -> None:
        """Write one document, or remove it where there is no text; wait for an absent broker."""
        from interlock.sdk.documents import DocumentContended, DocumentErased, DocumentRejected

        waiting = AsyncRetrying(
            retry=retry_if_exception_type(RetryLater),
            wait=wait_random_exponential(multiplier=0.2, max=2.0),
            stop=stop_after_delay(PATIENCE_S),
            reraise=True,
        )
        try:
            change: Change = await waiting(self._change, documents, one.document, text)
        except DocumentErased:
            reason = "it was erased; if this may stand in its place, add --again"
            self.summary.skipped.append((one.path, one.saying(reason)))
            return
        except (DocumentRejected, DocumentContended) as error:
            self.summary.skipped.append((one.path, one.saying(str(error))))
            return
        self.summary.counts[change.value] += 1
        if self.json_:
            document = one.document.document_id
            print_json({"path": one.path, "document": document, "change": change.value})

    async def _change(
        self, documents: "Documents", document: "Document", text: str | None
    ) -> "Change":
        if self.dry_run:
            return await documents.would(document, text, again=self.again)
        if text is None:
            return (await documents.remove(document.source, document.name)).change
        return (await documents.put(document, text, again=self.again)).change

    async def _gone(self, found: list[Found]) -> list["Document"]:
        """The source's documents on the log that were not found. Only operators list."""
        from interlock.sdk.documents import standing

        here = {one.document.name for one in found}
        async with operator_log(self.settings) as (_, log):
            return [
                document
                for document in await standing(log, self.tenant)
                if document.source == self.source and document.name not in here
            ]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first, as one thing to say."""
    one = group.exceptions[0]
    if isinstance(one, BaseExceptionGroup):
        return _first(one)
    if isinstance(one, RetryLater):
        return _Away(f"the broker did not answer for {PATIENCE_S:.0f} s ({one})")
    if isinstance(one, CommitRefused):
        return UserError(f"the broker refuses it: {one}")
    return one


def _tell(summary: Summary, dry_run: bool, json_: bool) -> None:
    counts: dict[str, Any] = {
        name: summary.counts.get(name, 0) for name in ("added", "changed", "unchanged", "removed")
    }
    counts["skipped"] = len(summary.skipped)
    counts["near_duplicates"] = len(summary.similar)
    if json_:
        for path, reason in summary.skipped:
            print_json({"path": path, "change": "skipped", "reason": reason})
        for one, other, share in summary.similar:
            print_json({"near_duplicates": [one, other], "similarity": round(share, 3)})
        print_json({"summary": counts, "dry_run": dry_run})
        return
    for path, reason in summary.skipped:
        err.print(f"skipped {path}: {reason}", style="yellow", markup=False)
    for one, other, share in summary.similar:
        out.print(f"nearly the same ({share:.0%}): {one}, {other}", style="dim", markup=False)
    line = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    out.print(f"{'would be: ' if dry_run else ''}{line}", markup=False)
