"""Capabilities that hand back what was recorded: nothing here touches the world.

Where the record of each effect is: a search in the `context` event, a model's raw output in
`Proposal.model` and, of the router's, in `Route.choice`; facts in `Verdict.facts`, a signature in
the grant, a tool's outcome in the `result`. Fitted classifiers, prompts, checks and policies are no
effects and run again.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from interlock.bundles.errors import BundleError, BundleRefused, BundleUnknown
from interlock.bundles.model import Bundle
from interlock.contract_validator import stage as validator
from interlock.contract_validator.personal import values_of
from interlock.contract_validator.rules import Question
from interlock.generator import stage as generator
from interlock.intent_router import stage as router
from interlock.models.parse import MAX_OUTPUT_CHARS
from interlock.models.port import Complete, ModelRequest, ModelResponse
from interlock.models.records import said_again
from interlock.replay.log import Entry, MemoryLog
from interlock.retriever import stage as retriever
from interlock.retriever.search import Recorded, SearchRequest, SearchResult
from interlock.runtime.errors import NeverRetry, RetryLater
from interlock.runtime.stage import Bundles, Decide, Draft, Input
from interlock.sdk.outcome import Outcome
from interlock.tool_executor import stage as executor
from interlock_contracts.actions import Grant, Result
from interlock_contracts.answer import Answer, FactReply
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.privacy import restore_model
from interlock_contracts.request import Request
from interlock_contracts.subjects import Subject
from interlock_contracts.table import Actor
from interlock_contracts.verdict import Standing

CLASSIFY = router.Capabilities()
"""One for all requests, and no models: fitting takes seconds, and is kept by bundle."""


class NotRecorded(NeverRetry):
    """The stage asks for an effect that is not among the recorded events."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureCode.STAGE_FAILED, message)


class PinnedBundles:
    """The bundles of one request: the active one is the one it started on."""

    def __init__(self, bundles: Bundles, log: MemoryLog) -> None:
        self._bundles = bundles
        self._digest = next(filter(None, map(_bundle_of, log.entries)), None)
        self._pinned: Bundle | None = None
        self._missing = ""

    async def pin(self) -> None:
        """Find the bundle the router took, if anything on the log says which."""
        if self._digest is not None:
            try:
                self._pinned = await self._bundles.get(self._digest)
            except (BundleUnknown, BundleError, BundleRefused) as error:
                self._missing = str(error)

    def active(self, request: Request | None = None) -> Bundle:
        """The bundle the router took; raises `RetryLater` where it is not at hand."""
        if self._digest is None:
            return self._bundles.active(request)
        if self._pinned is None:
            raise RetryLater(FailureCode.BUNDLE_UNKNOWN, self._missing)
        return self._pinned

    async def get(self, digest: str) -> Bundle:
        """The bundle with this digest."""
        return await self._bundles.get(digest)


def recorded_stage(actor: Actor, log: MemoryLog) -> Decide:
    """The stage of `actor` with recorded effects; its `decide` raises `NotRecorded`.

    Raises:
        ValueError: `actor` has no such stage.
    """
    match actor:
        case Actor.INTENT_ROUTER:
            asking = replace(CLASSIFY, models=recorded_choice(log))
            return lambda given: router.decide(given, asking)
        case Actor.RETRIEVER:
            return lambda given: retriever.decide(given, _Search(log, given.event.subject))
        case Actor.GENERATOR:
            using = generator.Capabilities(models=recorded_models(log), log=log)
            return lambda given: generator.decide(given, using)
        case Actor.CONTRACT_VALIDATOR:
            return lambda given: validator.decide(given, _gate(log, given.event.subject))
        case Actor.TOOL_EXECUTOR:
            return executor_stage(log)
    raise ValueError(f"the {actor} decides nothing")


class _Search:
    """The search that the `context` of one request records.

    It answers whatever is asked: the stage writes the question into its record, and there a
    different question shows, by name.
    """

    def __init__(self, log: MemoryLog, about: Subject) -> None:
        self._log = log
        self._about = about

    async def search(self, request: SearchRequest) -> SearchResult:
        """What was found then."""
        at = self._about
        return await recorded_search(self._log, at.tenant, at.request_id, request)


async def recorded_search(
    log: MemoryLog, tenant: str, request_id: str, request: SearchRequest
) -> SearchResult:
    """What was found for this request, whatever is asked; raises `NotRecorded`."""
    found = await log.read("context", tenant, request_id, "0")
    context = found.case.context if found is not None else None
    if context is None or context.record is None:
        raise NotRecorded("no search of this request is recorded")
    record = context.record
    asked = SearchRequest(
        query=record.queries[0],
        tenant=record.tenants[0],
        scopes=record.scopes,
        sources=record.sources,
        spec=request.spec,
    )
    return await Recorded(context).search(asked)


def recorded_choice(log: MemoryLog) -> Complete:
    """Models that say again what the decision of the router records of them."""

    async def complete(request: ModelRequest) -> ModelResponse:
        asked = request.case.request
        for event in ("route", "declined"):
            found = await log.read(event, asked.tenant, asked.request_id, "0")
            route = found.case.route if found is not None else None
            if route is None or route.choice is None:
                continue
            if route.choice.model is None:
                raise RetryLater(FailureCode.MODEL_UNAVAILABLE, route.choice.reason or "")
            return said_again(route.choice.model, route.choice.model.output)
        raise NotRecorded("no choice of the intent by a model is recorded")

    return complete


def recorded_models(log: MemoryLog) -> Complete:
    """Models that say again what the `proposal` of the same step records."""

    async def complete(request: ModelRequest) -> ModelResponse:
        asked, step = request.case.request, str(request.step)
        found = await log.read("proposal", asked.tenant, asked.request_id, step)
        proposal = found.case.proposal if found is not None else None
        if proposal is None:
            raise NotRecorded(f"no model output of step {step} is recorded")
        record, output = proposal.model, proposal.model.output
        if len(output) == MAX_OUTPUT_CHARS and proposal.malformed:
            output += " "  # it was longer than what is kept of it, and must be so again
        return said_again(record, output)

    return complete


def _gate(log: MemoryLog, about: Subject) -> validator.Capabilities:
    """The gate's capabilities for one event: facts as its own verdict has them."""

    async def facts(
        tenant: str, request_id: str, tool: str, arguments: dict[str, Any]
    ) -> FactReply:
        found = await log.read("verdict", tenant, request_id, about.step)
        verdict = found.case.verdict if found is not None else None
        values = await values_of(found.case, log) if found is not None else {}
        for recorded in verdict.facts if verdict is not None else ():
            fact = restore_model(recorded, values)
            if (fact.tool, fact.arguments) == (tool, arguments):
                return FactReply(value=fact.value, error=fact.error)
        raise NotRecorded(f"no answer of {tool} at step {about.step} is recorded")

    async def sign(grant: Grant) -> Grant:
        at = Subject("", "approved", grant.tenant, grant.request_id, grant.action, grant.tool)
        found = log.get(at)
        if found is None or not isinstance(found.data, Grant):
            return grant  # unsigned: it opens nothing, and shows that nothing was granted then
        signed = {"epoch", "key_id", "signature"}
        return grant.model_copy(update={name: getattr(found.data, name) for name in signed})

    async def standing(tenant: str, question: Question, _: datetime) -> Standing:
        found = await log.read("verdict", tenant, about.request_id, about.step)
        verdict = found.case.verdict if found is not None else None
        for one in verdict.standings if verdict is not None else ():
            if (one.ledger, one.rule) == (question.ledger, question.rule):
                return one
        raise NotRecorded(f"no answer of the ledger {question.rule!r} is recorded")

    return validator.Capabilities(
        facts=facts, sign=sign, log=log, reviews=log.reviews, standing=standing
    )


async def verified_live(_grant: Grant, _now: datetime) -> None:
    """A grant is not verified again: keys and epoch were those of then."""


def executor_stage(log: MemoryLog) -> Decide:
    """The executor with outcomes as their `result` events have them; no tool is run.

    What the tool's own contract and the signature said live is part of the outcome: a grant that
    failed them has no result.
    """

    async def perform(grant: Grant) -> Outcome:
        found = await log.read("result", grant.tenant, grant.request_id, grant.action, grant.tool)
        if found is None or not isinstance(found.data, Result):
            raise NotRecorded(
                f"no tool is run here, and no result of action {grant.action} ({grant.tool}) "
                "is among the recorded events"
            )
        result = found.data
        return Outcome(effect=result.effect, output=result.output, failure=result.failure)

    using = executor.Capabilities(
        verify=verified_live, check=lambda _tool, _arguments: None, perform=perform
    )

    async def decide(given: Input) -> Sequence[Draft]:
        return await executor.decide(given, using)

    return decide


def _bundle_of(entry: Entry) -> str | None:
    """The bundle that an event was decided by, if it says so."""
    if not isinstance(entry, Event):
        return None
    if isinstance(entry.data, Case | Answer):
        return entry.data.bundle
    return entry.bundle
