"""`ingest`: put documents on the log, from where every retriever indexes them."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from interlock.cli.common import (
    JsonOption,
    StateOption,
    err,
    operator_log,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.errors import UserError
from interlock_contracts.retrieval import Trust

if TYPE_CHECKING:
    from interlock.runtime.settings import Settings
    from interlock.sdk.documents import Documents
    from interlock.sdk.formats import About, Parsed, Unreadable
    from interlock_contracts.documents import Document

AT_ONCE = 64
"""Documents on their way at the same time: they share the broker's fsyncs."""

Day = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]),
]


@dataclass(frozen=True, slots=True)
class Found:
    """One document that was read."""

    path: str
    document: "Document"
    text: str


@dataclass(slots=True)
class Summary:
    """What became of everything that was looked at."""

    counts: Counter[str] = field(default_factory=Counter)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    similar: list[tuple[str, str, float]] = field(default_factory=list)


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Read documents (Markdown, HTML, PDF, DOCX, text, JSON lines) and put them on the log.

    A document is named after its path below PATH. What is on the log already is not written
    again. What a document says of itself (front matter, the fields of a JSON line) goes before
    the options. A file that cannot be read is reported and left out; exit status 1 then.
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
    for path in paths:
        if not path.exists():
            raise UserError(f"there is no {path}")
    summary = Summary()
    found = _read(paths, tenant, source, given, encoding, summary)
    summary.similar = _similar(found)
    run(_write(settings, tenant, source, found, summary, delete, dry_run, json_))
    _tell(summary, dry_run, json_)
    if summary.skipped:
        raise typer.Exit(1)


def _files(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    """Each file with the name its document gets; what is hidden is left alone."""
    from interlock.sdk.formats import SUFFIXES

    for path in paths:
        if path.is_file():
            yield path, path.stem
            continue
        for below in sorted(path.rglob("*")):
            inner = below.relative_to(path)
            if any(part.startswith(".") for part in inner.parts):
                continue
            if below.is_file() and below.suffix.lower() in SUFFIXES:
                yield below, inner.with_suffix("").as_posix()


def _read(
    paths: list[Path],
    tenant: str,
    source: str,
    about: "About",
    encoding: str | None,
    summary: Summary,
) -> list[Found]:
    """Every document of every file; what cannot be read goes to the summary instead."""
    from interlock.sdk.formats import Parsed, Unreadable, read_file

    found: dict[str, Found] = {}
    files = list(_files(paths))
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        for path, name in progress.track(files, description="reading"):
            where = str(path)
            try:
                parsed = read_file(path, encoding=encoding)
            except Unreadable as error:
                parsed = [error]
            for one in parsed:
                made = (
                    one
                    if isinstance(one, Unreadable)
                    else _document(one, tenant, source, name, about)
                )
                if isinstance(made, Unreadable):
                    summary.skipped.append((where, str(made)))
                elif made.name in found:
                    reason = f"{found[made.name].path} is called {made.name!r}, too"
                    summary.skipped.append((where, reason))
                elif isinstance(one, Parsed):
                    found[made.name] = Found(where, made, one.text)
    return list(found.values())


def _document(
    parsed: "Parsed", tenant: str, source: str, name: str, about: "About"
) -> "Document | Unreadable":
    """The document under the contract, or what it breaks."""
    from pydantic import ValidationError

    from interlock.sdk.formats import Unreadable
    from interlock_contracts.documents import Document

    said = parsed.about.over(about)
    name = parsed.name or name
    fields = {key: getattr(said, key) for key in type(said).model_fields}
    fields["title"] = said.title or name.rpartition("/")[2]
    try:
        return Document(tenant=tenant, source=source, name=name, **fields)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, detail["loc"])) or "document"
        return Unreadable(": ".join(filter(None, (parsed.where, where, detail["msg"]))))


def _similar(found: list[Found]) -> list[tuple[str, str, float]]:
    from interlock.sdk.similar import near_duplicates

    pairs = near_duplicates([one.text for one in found])
    return [(found[a].document.name, found[b].document.name, share) for a, b, share in pairs]


async def _write(
    settings: "Settings",
    tenant: str,
    source: str,
    found: list[Found],
    summary: Summary,
    delete: bool,
    dry_run: bool,
    json_: bool,
) -> None:
    from interlock.runtime.broker.permissions import ingest_user
    from interlock.sdk.documents import Documents

    credential = settings.credential_of(ingest_user(tenant))
    async with await Documents.connect(
        settings.url, credential, tenant=tenant, cell=settings.cell
    ) as documents:
        gone = await _gone(settings, tenant, source, found) if delete else []
        limit = asyncio.Semaphore(AT_ONCE)
        with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
            task = progress.add_task("writing", total=len(found) + len(gone))

            async def one(document: "Document", text: str | None, path: str) -> None:
                async with limit:
                    await _put(documents, document, text, path, summary, dry_run, json_)
                progress.advance(task)

            async with asyncio.TaskGroup() as group:
                for each in found:
                    group.create_task(one(each.document, each.text, each.path))
                for document in gone:
                    group.create_task(one(document, None, document.name))


async def _put(
    documents: "Documents",
    document: "Document",
    text: str | None,
    path: str,
    summary: Summary,
    dry_run: bool,
    json_: bool,
) -> None:
    """Write one document, or remove it where there is no text."""
    from interlock.sdk.documents import DocumentContended, DocumentRejected

    try:
        if dry_run:
            change = await documents.would(document, text)
        elif text is None:
            change = (await documents.remove(document.source, document.name)).change
        else:
            change = (await documents.put(document, text)).change
    except (DocumentRejected, DocumentContended) as error:
        summary.skipped.append((path, str(error)))
        return
    summary.counts[change.value] += 1
    if json_:
        print_json({"path": path, "document": document.document_id, "change": change.value})


async def _gone(
    settings: "Settings", tenant: str, source: str, found: list[Found]
) -> list["Document"]:
    """The source's documents on the log that are not among those found. Only operators list."""
    from interlock.sdk.documents import standing

    here = {one.document.name for one in found}
    async with operator_log(settings) as (_, log):
        return [
            document
            for document in await standing(log, tenant)
            if document.source == source and document.name not in here
        ]


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
