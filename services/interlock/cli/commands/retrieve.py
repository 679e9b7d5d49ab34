"""`retrieve`: search as the retriever does, and say where one document fell out."""

from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from interlock.cli.common import (
    BundleOption,
    JsonOption,
    StateOption,
    embedding_shown,
    err,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.errors import UserError

if TYPE_CHECKING:
    from interlock.retriever.explain import Explanation
    from interlock.retriever.search import SearchResult

_SHOWN = 200
"""Characters of a passage that are shown to people."""


def retrieve(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    tenant: Annotated[str, typer.Option(help="Whose documents.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="A scope the reader holds; repeatable.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="A source to look in; repeatable. Default: all.")
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
            help="As of this moment (UTC). Default: now.",
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option("--explain", metavar="DOCUMENT", help="Why this one is (not) found."),
    ] = None,
    bundle: BundleOption = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Search the index of this installation, as a reader with these scopes would.

    DOCUMENT is an id as citations name it (<tenant>/<source>/<name>), or its end. --explain tells
    apart: nothing indexed, filtered out (tenant, source, scopes, validity), not retrieved, ranked
    out, found. It speaks of documents the reader may not see: it is for operators. Exit status 1
    if nothing, or not that document, is found.
    """
    settings = settings_of(state, bundle)
    moment = at or datetime.now(UTC)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    found = run(
        _retrieve(settings, query, tenant, tuple(scope or ()), tuple(source or ()), moment, explain)
    )
    result, explanation = found
    if explanation is not None:
        print_json(asdict(explanation)) if json_ else _show_explanation(explanation)
        missing = explanation.outcome.value != "found"
    else:
        print_json(_as_json(result)) if json_ else _show(result)
        missing = not result.chunks
    if missing:
        raise typer.Exit(1)


async def _retrieve(
    settings: Any,
    query: str,
    tenant: str,
    scopes: tuple[str, ...],
    sources: tuple[str, ...],
    at: datetime,
    document: str | None,
) -> "tuple[SearchResult, Explanation | None]":
    from interlock.retriever.corpus import Corpus
    from interlock.retriever.documents import load_passages, microseconds
    from interlock.retriever.explain import explain
    from interlock.retriever.parts import parts_of
    from interlock.retriever.search import SearchRequest
    from interlock.retriever.service import all_passages, build_index
    from interlock.retriever.settings import RetrieverSettings
    from interlock.runtime.settings import load_settings
    from interlock.runtime.wiring import bundle_folder, bundles_of

    active = bundles_of(settings).active()
    unknown = sorted(set(sources) - set(active.sources))
    if unknown:
        raise UserError(
            f"the bundle has no source {unknown[0]!r}; it has {', '.join(sorted(active.sources))}"
        )
    root, storage = bundle_folder(settings.bundle), settings.state / "index"
    request = SearchRequest(
        query=query,
        tenant=tenant,
        scopes=tuple(sorted(set(scopes))),
        sources=tuple(sorted(set(sources) or set(active.sources))),
        spec=active.retrieval,
        at=microseconds(at),
    )
    made = parts_of(load_settings(RetrieverSettings))
    if missing := made.unknown_to(active):
        err.print(f"the bundle has no source {', '.join(missing)}: not searched", style="yellow")
    async with aclosing(made.of(active)) as parts:
        with embedding_shown():
            index = await build_index(
                active, root, storage, embedder=parts.embedder, server=parts.server
            )
        searcher = parts.around(index)
        result = await searcher.search(request)
        if document is None:
            return result, None
        passages = all_passages(load_passages(active, root), Corpus(storage), active)
        # External sources have documents that are in no index here.
        found = {hit.chunk_id for ranking in result.rankings for hit in ranking.hits}
        known = {one.document_id for one in passages} | {one.rpartition("#")[0] for one in found}
        name = _named(document, known)
        return result, await explain(searcher, request, name, passages)


def _named(document: str, known: set[str]) -> str:
    """The id that is meant: itself, or the one id that ends with it."""
    if document in known:
        return document
    ending = sorted(one for one in known if one.endswith(f"/{document}"))
    if len(ending) > 1:
        raise UserError(f"{document!r} could be {', '.join(ending[:5])}: give the whole id")
    return ending[0] if ending else document


def _as_json(result: "SearchResult") -> dict[str, Any]:
    """What a context event would record."""
    return {
        "outcome": result.outcome,
        "index": result.index,
        "queries": list(result.queries),
        "chunks": [chunk.model_dump(mode="json") for chunk in result.chunks],
        "rankings": [ranking.model_dump(mode="json") for ranking in result.rankings],
        "dropped": [one.model_dump(mode="json") for one in result.dropped],
    }


def _show(result: "SearchResult") -> None:
    for chunk in result.chunks:
        out.print(f"[bold]{chunk.handle}[/] {chunk.score:.4f}", end=" ")
        out.print(f"{chunk.chunk_id}  {chunk.title}", markup=False)
        text = " ".join(chunk.text.split())
        out.print(f"   {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}", markup=False)
    if not result.chunks:
        out.print(f"{result.outcome}; --explain DOCUMENT says where one fell out", markup=False)
    err.print(f"index {result.index}", style="dim")


def _show_explanation(explanation: "Explanation") -> None:
    out.print(f"[bold]{explanation.outcome}[/]", end=" ")
    out.print(f"{explanation.document_id}: {explanation.reason}", markup=False)
    for trace in explanation.passages:
        out.print(f"\n{trace.chunk_id}", markup=False)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("  step", "rank", "score"):
            table.add_column(column)
        for place in trace.places:
            table.add_row(f"  {place.step}", str(place.rank), f"{place.score:.4f}")
        for place in trace.below:
            table.add_row(f"  {place.step}, looked deeper", str(place.rank), f"{place.score:.4f}")
        if trace.places or trace.below:
            out.print(table)
        if trace.dropped:
            out.print(f"  dropped: {trace.dropped}", markup=False)
        shared = ", ".join(trace.shared_terms) or "none"
        out.print(f"  terms shared with the query: {shared}", markup=False)
