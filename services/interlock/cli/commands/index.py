"""`index`: what is indexed, making it anew, going back, and clearing up on a server."""

import shutil
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from interlock.cli.common import (
    BundleOption,
    JsonOption,
    StateOption,
    embedding_shown,
    err,
    operator_log,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.errors import UserError

if TYPE_CHECKING:
    from interlock.retriever.generations.folder import Generations, Manifest
    from interlock.runtime.settings import Settings

app = typer.Typer(
    help="The index: its state, making it anew, going back, clearing up.", no_args_is_help=True
)


@app.command()
def status(state: StateOption = None, json_: JsonOption = False) -> None:
    """Documents, passages, identity and size, and the generations one can go back to.

    "new" are the passages that had to be embedded and stored; the others were there.
    """
    from interlock.retriever.corpus import Corpus

    generations, unknown = run(_status(settings_of(state)))
    corpus, current = Corpus(generations.folder), generations.current()
    answering = current.pinned or (current.served[-1] if current.served else None)
    manifests = generations.manifests()
    logged = {f"{tenant}/{source}": number for (tenant, source), number in corpus.count().items()}
    if json_:
        print_json(
            {
                "answering": answering,
                "pinned": current.pinned is not None,
                "position": corpus.position().sequence,
                "documents_on_the_log": logged,
                "generations": [
                    {**asdict(one), "bytes": generations.size(one.identity)} for one in manifests
                ],
                "unknown": unknown,
                "erasure_pending": corpus.unscrubbed(),
            }
        )
        return
    if corpus.unscrubbed():
        out.print("a document was erased, and files here may still hold it: is the retriever up?")
    for name in unknown:
        out.print(f"on the server, of no generation here: {name}", markup=False)
    if unknown:
        out.print("`interlock index prune` deletes those of earlier releases")
    if not manifests:
        raise UserError(f"there is no index below {generations.place}; `interlock up` makes one")
    table = Table(box=None, pad_edge=False, header_style="bold")
    figures = ("documents", "passages", "new", "MB here", "s")
    for column in ("", "index", "made at", *figures, "embedder"):
        table.add_column(column)
    for one in manifests:
        mark = ("pinned" if current.pinned else "answers") if one.identity == answering else ""
        table.add_row(mark, *_row(one, generations.size(one.identity)))
    out.print(table)
    for name, number in logged.items():
        out.print(f"on the log: {name} {number} documents", markup=False)
    if current.pinned:
        out.print("pinned: new documents are not found until `interlock index reindex`")


async def _status(settings: "Settings") -> "tuple[Generations, list[str]]":
    from interlock.retriever.generations.served import unknown_indexes

    async with _opened(settings) as generations:
        if generations.server is None:
            return generations, []
        return generations, await unknown_indexes(generations, generations.server)


def _row(one: "Manifest", size: int) -> tuple[str, ...]:
    made = f"{datetime.fromtimestamp(one.made_at, UTC):%Y-%m-%d %H:%M:%S}"
    counts = (f"{one.documents:,}", f"{one.passages:,}", f"{one.indexed:,}")
    figures = (*counts, f"{size / 1e6:.1f}", f"{one.seconds:.1f}")
    return (one.identity[:19], made, *figures, one.embedder)


@app.command()
def reindex(
    bundle: BundleOption = None, state: StateOption = None, json_: JsonOption = False
) -> None:
    """Read the log again, make the index anew beside the one that answers, and switch to it.

    Nothing that was kept is used: documents, cuts and vectors are all made again. Also lets go of
    an index that `rollback` has pinned. Queries go on meanwhile.
    """
    settings = settings_of(state, bundle)
    started = time.monotonic()
    manifest = run(_reindex(settings))
    if json_:
        print_json(asdict(manifest))
        return
    out.print(
        f"{manifest.documents:,} documents, {manifest.passages:,} passages in "
        f"{time.monotonic() - started:.1f} s: {manifest.identity}",
        markup=False,
    )


async def _reindex(settings: "Settings") -> "Manifest":
    from interlock.retriever.corpus import Corpus
    from interlock.retriever.documents import load_passages
    from interlock.retriever.follow import catch_up
    from interlock.retriever.generations.building import generation
    from interlock.retriever.generations.content import rows_of
    from interlock.retriever.generations.folder import REINDEXING, sources_identity
    from interlock.retriever.service import all_documents
    from interlock.runtime.wiring import bundle_folder, bundles_of

    active = bundles_of(settings).active()
    storage = settings.state / "index"
    beside = storage / REINDEXING
    async with _opened(settings) as generations:
        with generations.locked(REINDEXING):
            shutil.rmtree(beside, ignore_errors=True)
            try:
                erasures = Corpus(storage).erasures()
                corpus = Corpus(beside)
                async with operator_log(settings) as (_, log):
                    err.print("reading the log", style="dim")
                    await catch_up(corpus, log)
                own = load_passages(active, bundle_folder(settings.bundle))
                content = all_documents(own, corpus, active)
                passages = rows_of(content.lines.values())
                err.print(f"indexing {passages:,} passages", style="dim")
                sources = sources_identity(active)
                # In that of the new documents no text has a vector yet.
                generations = replace(generations, corpus=corpus)
                with embedding_shown():
                    searcher = await generation(
                        generations, content, sources=sources, anew=True, erasures=erasures
                    )
                Corpus(storage).mend(corpus)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    generations.note(served=searcher.identity, pinned="", told=True)
    return next(one for one in generations.manifests() if one.identity == searcher.identity)


@app.command()
def rollback(
    to: Annotated[
        str | None, typer.Option(help="Identity, or its beginning. Default: the one before.")
    ] = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Have an earlier index answer, and go on answering until `index reindex`."""
    chosen, before = run(_rollback(settings_of(state), to))
    if json_:
        print_json({"pinned": chosen, "before": before})
    else:
        out.print(f"{chosen} answers from now on, until `interlock index reindex`", markup=False)


async def _rollback(settings: "Settings", to: str | None) -> tuple[str, str | None]:
    from interlock.retriever.generations.building import generation_again

    async with _opened(settings) as generations:
        chosen, before = _chosen(generations, to)
        await generation_again(generations, chosen)
        generations.note(pinned=chosen)
    return chosen, before


def _chosen(generations: "Generations", to: str | None) -> tuple[str, str | None]:
    """The generation to go back to, and the one that answers."""
    current = generations.current()
    answering = current.pinned or (current.served[-1] if current.served else None)
    there = {one.identity for one in generations.manifests()}
    if to is None:
        before = (
            current.served[: current.served.index(answering)] if answering in current.served else ()
        )
        sources = generations.made_for(answering) if answering else None
        alike = [one for one in before if one in there and generations.made_for(one) == sources]
        chosen = alike[-1:]
    else:
        wanted = to if to.startswith("sha256:") else f"sha256:{to}"
        chosen = [one for one in sorted(there) if one.startswith(wanted)]
    if len(chosen) != 1:
        raise UserError(
            "there is no index to go back to; `interlock index status` lists them"
            if not chosen
            else f"{to} could be {len(chosen)} indexes: give more of it"
        )
    return chosen[0], answering


@app.command()
def prune(
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Delete indexes on the server that no generation here has.

    Those are of this installation, made in another way or before an erasure, or of a state folder
    that is gone; and those of earlier releases, whose names do not say whose they are. What another
    installation has there with this release is left alone.
    """
    settings = settings_of(state)
    generations, unknown = run(_status(settings))
    if generations.server is None:
        raise UserError("the index is embedded: there is no server to clear up")
    if unknown and not (yes or dry_run):
        err.print("\n".join(unknown), markup=False)
        if not typer.confirm(f"Delete {len(unknown)} indexes on the server?", err=True):
            raise UserError("nothing was deleted")
    gone = [] if dry_run else run(_prune(settings, unknown))
    if json_:
        print_json({"unknown": unknown, "deleted": gone})
        return
    for name in unknown:
        said = "would delete" if dry_run else "deleted" if name in gone else "in use, left:"
        out.print(f"{said} {name}", markup=False)
    if not unknown:
        out.print("there is nothing to delete")


async def _prune(settings: "Settings", names: list[str]) -> list[str]:
    from interlock.retriever.generations.served import delete_unknown

    async with _opened(settings) as generations:
        assert generations.server is not None, "it was there a moment ago"
        return await delete_unknown(generations, generations.server, names)


@asynccontextmanager
async def _opened(settings: "Settings") -> "AsyncIterator[Generations]":
    """The generations of this installation, embedded or on a server."""
    from interlock.retriever.generations.folder import Generations
    from interlock.retriever.generations.served import installation_of
    from interlock.retriever.parts import parts_of
    from interlock.retriever.private import outside, private_embedder
    from interlock.retriever.settings import RetrieverSettings
    from interlock.runtime.settings import load_settings
    from interlock.runtime.wiring import bundles_of

    known = {"qdrant_url": settings.qdrant_url, "qdrant_api_key": settings.qdrant_api_key}
    async with aclosing(parts_of(load_settings(RetrieverSettings, **known))) as parts:
        embedder = parts.embedder
        if outside(embedder):
            embedder = private_embedder(embedder, bundles_of(settings).active())
        yield Generations(
            settings.state / "index",
            embedder,
            server=parts.server,
            installation=installation_of(settings.state),
        )
