"""`index`: what is indexed, making it anew, and going back."""

import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from interlock.cli.common import (
    BundleOption,
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

if TYPE_CHECKING:
    from interlock.retriever.generations import Generations, Manifest
    from interlock.runtime.settings import Settings

app = typer.Typer(help="The index: its state, making it anew, going back.", no_args_is_help=True)


@app.command()
def status(state: StateOption = None, json_: JsonOption = False) -> None:
    """Documents, passages, identity and size, and the generations one can go back to."""
    from interlock.retriever.corpus import Corpus

    settings = settings_of(state)
    generations = _generations(settings)
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
            }
        )
        return
    if not manifests:
        raise UserError(f"there is no index below {generations.place}; `interlock up` makes one")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "index", "made at", "documents", "passages", "MB here", "s", "embedder"):
        table.add_column(column)
    for one in manifests:
        mark = ("pinned" if current.pinned else "answers") if one.identity == answering else ""
        table.add_row(mark, *_row(one, generations.size(one.identity)))
    out.print(table)
    for name, number in logged.items():
        out.print(f"on the log: {name} {number} documents", markup=False)
    if current.pinned:
        out.print("pinned: new documents are not found until `interlock index reindex`")


def _row(one: "Manifest", size: int) -> tuple[str, ...]:
    made = f"{datetime.fromtimestamp(one.made_at, UTC):%Y-%m-%d %H:%M:%S}"
    figures = (f"{one.documents:,}", f"{one.passages:,}", f"{size / 1e6:.1f}", f"{one.seconds:.1f}")
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
    from interlock.retriever.generations import REINDEXING, sources_identity
    from interlock.retriever.served import generation
    from interlock.retriever.service import all_passages
    from interlock.runtime.wiring import bundle_folder, bundles_of

    generations = _generations(settings)
    active = bundles_of(settings).active()
    storage = settings.state / "index"
    beside = storage / REINDEXING
    with generations.locked(REINDEXING):
        shutil.rmtree(beside, ignore_errors=True)
        try:
            erasures = Corpus(storage).erasures()
            corpus = Corpus(beside)
            async with operator_log(settings) as (_, log):
                err.print("reading the log", style="dim")
                await catch_up(corpus, log)
            passages = all_passages(
                load_passages(active, bundle_folder(settings.bundle)), corpus, active
            )
            err.print(f"indexing {len(passages):,} passages", style="dim")
            sources = sources_identity(active)
            searcher = await generation(
                generations, passages, sources=sources, anew=True, erasures=erasures
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
    from interlock.retriever.served import generation_again

    generations = _generations(settings_of(state))
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
    run(generation_again(generations, chosen[0]))
    generations.note(pinned=chosen[0])
    if json_:
        print_json({"pinned": chosen[0], "before": answering})
    else:
        out.print(f"{chosen[0]} answers from now on, until `interlock index reindex`", markup=False)


def _generations(settings: "Settings") -> "Generations":
    """Those of this installation, embedded or on a server."""
    from interlock.retriever.generations import Generations
    from interlock.retriever.parts import parts_of
    from interlock.retriever.settings import RetrieverSettings
    from interlock.runtime.settings import load_settings

    known = {"qdrant_url": settings.qdrant_url, "qdrant_api_key": settings.qdrant_api_key}
    parts = parts_of(load_settings(RetrieverSettings, **known))
    return Generations(settings.state / "index", parts.embedder, opened=parts.opened)
