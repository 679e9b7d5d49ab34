"""`retrieve`: search as the retriever does, and say where one document fell out."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict, replace
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
from interlock_contracts.retrieval import RetrievalOutcome

if TYPE_CHECKING:
    from interlock.bundles.model import Bundle
    from interlock.retriever.explain import Explanation
    from interlock.retriever.search import SearchResult
    from interlock.runtime.settings import Settings
    from interlock_contracts.request import Request

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
    intent: Annotated[
        str | None,
        typer.Option(help="Search as for this intent: its sources, and its own `retrieval`."),
    ] = None,
    role: Annotated[str, typer.Option(help="With --intent: whom policies are asked about.")] = (
        "customer"
    ),
    user: Annotated[str, typer.Option(help="With --intent: whom policies are asked about.")] = (
        "somebody"
    ),
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
    apart: nothing indexed, filtered out (tenant, source, policies, scopes, validity), not
    retrieved, ranked out, found. It speaks of documents the reader may not see: it is for
    operators. Exit status 1 if nothing, or not that document, is found.
    """
    from pydantic import ValidationError

    from interlock.sdk.rejected import reasons
    from interlock_contracts.request import Principal, Request

    settings = settings_of(state, bundle)
    moment = at or datetime.now(UTC)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        asked = Request(
            request_id="0" * 26,
            tenant=tenant,
            principal=Principal(user=user, role=role, scopes=tuple(scope or ())),
            text=query,
        )
    except ValidationError as error:
        raise UserError(reasons(error, "request")) from None
    if explain is not None and not explain.strip():
        raise UserError("--explain: name a document")
    found = run(_retrieve(settings, asked, tuple(source or ()), intent, moment, explain))
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
    settings: "Settings",
    asked: "Request",
    sources: tuple[str, ...],
    intent: str | None,
    at: datetime,
    document: str | None,
) -> "tuple[SearchResult, Explanation | None]":
    from interlock.retriever.corpus import Corpus
    from interlock.retriever.documents import load_passages, microseconds
    from interlock.retriever.explain import explain
    from interlock.retriever.generations.served import installation_of
    from interlock.retriever.parts import parts_of
    from interlock.retriever.search import SearchRequest
    from interlock.retriever.service import all_documents, build_index
    from interlock.retriever.settings import RetrieverSettings
    from interlock.runtime.settings import load_settings
    from interlock.runtime.wiring import bundle_folder, bundles_of

    active = bundles_of(settings).active()
    chosen, withheld = _sources(active, asked, sources, intent)
    root, storage = bundle_folder(settings.bundle), settings.state / "index"
    request = SearchRequest(
        query=asked.text,
        tenant=asked.tenant,
        scopes=tuple(sorted(set(asked.principal.scopes))),
        sources=tuple(sorted(chosen - withheld)),
        spec=active.retrieval if intent is None else active.retrieval_of(intent),
        at=microseconds(at),
    )
    made = parts_of(load_settings(RetrieverSettings))
    if missing := made.unknown_to(active):
        err.print(f"the bundle has no source {', '.join(missing)}: not searched", style="yellow")
    async with aclosing(made.of(active)) as parts:
        with embedding_shown():
            index = await build_index(
                active,
                root,
                storage,
                embedder=parts.embedder,
                server=parts.server,
                installation=installation_of(settings.state),
            )
        searcher = parts.around(index)
        result = await searcher.search(request)
        if not request.sources:  # as the retriever has it, which does not search at all then
            result = replace(result, outcome=RetrievalOutcome.FILTERED_OUT)
        if document is None:
            return result, None
        corpus = Corpus(storage)
        content = all_documents(load_passages(active, root), corpus, active)
        # External sources have documents that are in no index here.
        found = {hit.chunk_id for ranking in result.rankings for hit in ranking.hits}
        known = {*content.lines} | {one.rpartition("#")[0] for one in found}
        name = _named(document, known)
        told = await explain(
            searcher, request, name, content.passages({name} & content.lines.keys()), withheld
        )
        if told.outcome is RetrievalOutcome.NOTHING_INDEXED:
            _say_unreachable(corpus.count(), asked.tenant, active)
        return result, told


def _sources(
    bundle: "Bundle", asked: "Request", sources: tuple[str, ...], intent: str | None
) -> tuple[set[str], set[str]]:
    """The sources to search, and those of them that policies withhold; raises `UserError`."""
    from interlock.bundles.reading import forbidden_sources
    from interlock_contracts.routing import Route

    for what, name, known in (
        *(("source", name, bundle.sources) for name in sources),
        *([("intent", intent, bundle.intents)] if intent is not None else ()),
    ):
        if name not in known:
            raise UserError(f"the bundle has no {what} {name!r}; it has {', '.join(sorted(known))}")
    if intent is None:
        chosen = set(sources) or set(bundle.sources)
        governed = sorted(name for name in chosen if bundle.sources[name].governed)
        if governed:
            said = (
                f"searched without asking the policies (--intent asks them): {', '.join(governed)}"
            )
            err.print(said, style="yellow", markup=False)
        return chosen, set()
    spec = bundle.intents[intent]
    chosen = set(sources) or set(spec.sources)
    if not chosen:
        raise UserError(f"requests of the intent {intent!r} search no source")
    route = Route(
        intent=intent,
        risk=spec.risk,
        confidence=1.0,
        margin=1.0,
        sources=tuple(sorted(chosen)),
        tools=spec.tools,
        output=spec.output,
        model_route=spec.model,
    )
    withheld = forbidden_sources(bundle, asked, route, chosen)
    if withheld:
        err.print(f"withheld by the policies: {', '.join(sorted(withheld))}", style="yellow")
    return chosen, withheld


def _say_unreachable(counts: Mapping[tuple[str, str], int], tenant: str, bundle: "Bundle") -> None:
    """Documents of the tenant that no search of this bundle can find."""
    lost = [
        f"{source} ({number})"
        for (whose, source), number in sorted(counts.items())
        if whose == tenant and source not in bundle.sources
    ]
    if lost:
        said = f"on the log, of sources that the bundle does not have: {', '.join(lost)}"
        err.print(said, style="yellow", markup=False)


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
