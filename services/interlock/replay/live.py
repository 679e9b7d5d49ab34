"""Live capabilities without a broker: what a stage needs of the world, but for effects on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interlock.bundles.model import Bundle
from interlock.contract_validator import stage as validator
from interlock.contract_validator.facts import Fetch
from interlock.contract_validator.ledger import Ledgers
from interlock.generator import stage as generator
from interlock.intent_router import stage as router
from interlock.models.port import Complete
from interlock.models.recording import FileRecordings
from interlock.models.routes import ModelRoutes, known_models
from interlock.replay.log import MemoryLog
from interlock.replay.recorded import executor_stage
from interlock.retriever import stage as retriever
from interlock.retriever.search import Search
from interlock.runtime.keys import signing_key, signing_key_path
from interlock.runtime.settings import Settings, load_settings
from interlock.runtime.signing import SigningKey
from interlock.runtime.stage import Decide, Draft, Input
from interlock.runtime.wiring import bundle_folder, bundles_of
from interlock_contracts.actions import Grant, Reservation
from interlock_contracts.answer import FactReply, FactRequest
from interlock_contracts.subjects import Subject
from interlock_contracts.table import Actor


async def live_stage(
    actor: Actor, log: MemoryLog, settings: Settings, index: Path
) -> tuple[Decide, list[str]]:
    """The stage of `actor` with live capabilities, and notes on what stands in for what.

    `index` is the folder of the retriever's index. The tool-executor gets recorded outcomes: a
    pipe has no effect on the world. Raises `UserError` as the services' own wiring does.
    """
    match actor:
        case Actor.INTENT_ROUTER:
            asking = router.Capabilities(models=_models(settings))
            return lambda given: router.decide(given, asking), []
        case Actor.RETRIEVER:
            return await _retriever(settings, index), []
        case Actor.GENERATOR:
            using = generator.Capabilities(models=_models(settings), log=log)
            return lambda given: generator.decide(given, using), []
        case Actor.CONTRACT_VALIDATOR:
            return _validator(log, settings)
    return executor_stage(log), ["a pipe runs no tools: their results are read from the input"]


def _models(settings: Settings) -> Complete:
    return ModelRoutes(known_models(FileRecordings(settings.state / "recordings"))).complete


async def _retriever(settings: Settings, index: Path) -> Decide:
    bundle, root = bundles_of(settings).active(), bundle_folder(settings.bundle)
    search = await search_over(bundle, root, settings, index)
    return lambda given: retriever.decide(given, search)


async def search_over(
    bundle: Bundle, root: Path, settings: Settings, index: Path, *, served: bool = True
) -> Search:
    """The search that a retriever with this process's settings would make of a bundle.

    `root` is the bundle's folder, `index` that of the retriever's index; without `served` the index
    is embedded there in any case. Raises `UserError`.
    """
    from interlock.retriever.generations.served import installation_of
    from interlock.retriever.parts import parts_of
    from interlock.retriever.service import build_index
    from interlock.retriever.settings import RetrieverSettings

    parts = parts_of(load_settings(RetrieverSettings)).of(bundle)
    made = await build_index(
        bundle,
        root,
        index,
        embedder=parts.embedder,
        server=parts.server if served else None,
        installation=installation_of(settings.state),
    )
    return parts.around(made)


async def search_kept(bundle: Bundle, settings: Settings, identity: str) -> Search:
    """The search over the index with this identity if it is kept here, else over the one that
    answers now; raises `UserError` where there is neither."""
    from interlock.retriever.generations.building import generation_again
    from interlock.retriever.generations.folder import Generations
    from interlock.retriever.generations.served import installation_of
    from interlock.retriever.parts import parts_of
    from interlock.retriever.settings import RetrieverSettings
    from interlock.runtime.errors import UserError

    parts = parts_of(load_settings(RetrieverSettings)).of(bundle)
    generations = Generations(
        settings.state / "index",
        parts.embedder,
        server=parts.server,
        installation=installation_of(settings.state),
    )
    try:
        return parts.around(await generation_again(generations, identity))
    except UserError:
        now = generations.current()
        answering = now.pinned or next(reversed(now.served), None)
        if answering is None:
            raise
        return parts.around(await generation_again(generations, answering))


def _validator(log: MemoryLog, settings: Settings) -> tuple[Decide, list[str]]:
    """Facts from the read-only tools, run in this process."""
    notes = []
    if signing_key_path(settings.state).exists():
        key = signing_key(settings)
    else:
        key = SigningKey.generate()
        notes.append(f"no key in {settings.state}: grants are signed with one nobody trusts")

    async def sign(grant: Grant) -> Grant:
        return key.sign(grant)

    using = validator.Capabilities(
        facts=read_only(settings, log),
        sign=sign,
        log=log,
        reviews=log.reviews,
        standing=Ledgers(log).standing,
        believe=True,
    )

    async def decide(given: Input) -> Sequence[Draft]:
        return await validator.decide(given, using)

    return decide, notes


def read_only(settings: Settings, log: MemoryLog) -> Fetch:
    """The settings' tools that only read, run in this process."""
    from interlock.sdk.effects import Performer
    from interlock.sdk.serving import load_executor

    performer = Performer(load_executor(settings), log, _never_reserve)

    async def facts(
        tenant: str, request_id: str, tool: str, arguments: dict[str, Any]
    ) -> FactReply:
        question = FactRequest(tenant=tenant, request_id=request_id, tool=tool, arguments=arguments)
        return await performer.answer_fact(question)

    return facts


async def _never_reserve(_: Reservation, __: Subject) -> bool:
    raise AssertionError("a read-only tool reserves nothing")
