"""Capabilities of a what-if: what was recorded while the same is asked; live where told."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from interlock.bundles.model import Bundle
from interlock.bundles.routes import ModelCandidate
from interlock.contract_validator import stage as validator
from interlock.contract_validator.personal import values_of
from interlock.contract_validator.rules import Question, words_of
from interlock.generator import stage as generator
from interlock.models.port import ModelPassed, ModelRequest, ModelResponse
from interlock.models.routes import HOSTED, ModelRoutes
from interlock.models.scripted import ScriptedModel
from interlock.replay.asking import Ask, live_model, live_search
from interlock.replay.log import MemoryLog
from interlock.replay.recorded import (
    CLASSIFY,
    NotRecorded,
    recorded_choice,
    recorded_models,
    recorded_search,
    verified_live,
)
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.sdk.outcome import Outcome
from interlock.tool_executor import stage as executor
from interlock_contracts.actions import Grant, Result
from interlock_contracts.answer import FactReply
from interlock_contracts.canonical import canonical_json, digest_bytes
from interlock_contracts.event import Event
from interlock_contracts.privacy import restore_model
from interlock_contracts.request import Request
from interlock_contracts.table import Actor
from interlock_contracts.verdict import Standing


class NewAction(Exception):
    """A grant whose action is not on the record: it is told of, and nothing is run."""


@dataclass(slots=True)
class Effects:
    """The world of one simulated request.

    `log` is the simulation's own; `then` the bundle the request ran on, None where it is not at
    hand; `scripted` are outputs put in the model's place, where one fits. `documents` is the
    digest of the bundle whose documents an index may be made of, `live` what may be asked.
    """

    recorded: MemoryLog
    log: MemoryLog
    request: Request
    bundle: Bundle
    then: Bundle | None
    ask: Ask | None = None
    live: frozenset[str] = frozenset()
    scripted: tuple[dict[str, Any], ...] = ()
    documents: str = ""
    notes: list[str] = field(default_factory=list)

    def capabilities(self, actor: Actor) -> Any:
        """What the stage of `actor` is handed."""
        match actor:
            case Actor.INTENT_ROUTER:
                return replace(CLASSIFY, models=self.choose)
            case Actor.RETRIEVER:
                return self
            case Actor.GENERATOR:
                return generator.Capabilities(models=self.complete, log=self.log)
            case Actor.CONTRACT_VALIDATOR:
                return validator.Capabilities(
                    facts=self.facts,
                    sign=_unsigned,
                    log=self.log,
                    reviews=self.log.reviews,
                    standing=self.standing,
                )
        return executor.Capabilities(
            verify=verified_live,
            check=lambda _tool, _arguments: None,
            perform=self.perform,
        )

    async def search(self, request: SearchRequest) -> SearchResult:
        """The recorded search if the same would be asked of the same index."""
        changed = await self._search_changed(request)
        if changed is None:
            return await recorded_search(
                self.recorded, self.request.tenant, self.request.request_id, request
            )
        if "search" in self.live and self.ask is not None:
            return live_search(self.ask, self.documents, request)
        raise NotRecorded(
            f"retrieval would differ ({changed}): there are no documents here to search"
        )

    async def _search_changed(self, request: SearchRequest) -> str | None:
        at = self.request
        found = await self.recorded.read("context", at.tenant, at.request_id, "0")
        context = found.case.context if found is not None else None
        record = context.record if context is not None else None
        if record is None:
            return "no search is recorded"
        asked = (request.query, (request.tenant,), request.scopes, request.sources)
        if asked != (record.queries[0], record.tenants, record.scopes, record.sources):
            return "the query or its sources"
        route = found.case.route if found is not None else None
        if self.then is not None and route is not None:
            if self.then.retrieval_of(route.intent) != request.spec:
                return "the bundle's retrieval"
            ours = [self.bundle.sources.get(name) for name in request.sources]
            if ours != [self.then.sources.get(name) for name in request.sources]:
                return "the bundle's sources"
        return None

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """The recorded output if the same would be asked of the same models."""
        if self.scripted:
            candidate = ModelCandidate(
                provider="scripted", model="replaced", options={"outputs": list(self.scripted)}
            )
            try:
                return await ScriptedModel().complete(request, candidate)
            except ModelPassed:
                pass  # what is not scripted is as it was
        at = self.request
        found = await self.recorded.read("proposal", at.tenant, at.request_id, str(request.step))
        changed = "no output is recorded" if found is None else self._question(request, found)
        if changed is None:
            return await recorded_models(self.recorded)(request)
        return await self._asked(request, f"of step {request.step}", changed)

    async def choose(self, request: ModelRequest) -> ModelResponse:
        """The recorded choice of an intent, if the same would be asked of the same models."""
        at = self.request
        found = await self.recorded.read("route", at.tenant, at.request_id, "0")
        found = found or await self.recorded.read("declined", at.tenant, at.request_id, "0")
        route = found.case.route if found is not None else None
        choice = route.choice if route is not None else None
        then = self.then.router.classifier if self.then is not None else None
        models = self.then.models.get(then.model) if self.then is not None and then else None
        changed = None
        if choice is None:
            changed = "none was asked"
        elif choice.model and choice.model.prompt != digest_bytes(request.prompt.encode()):
            changed = "the prompt"
        elif models is not None and models.candidates != request.candidates:
            changed = "the model"
        if changed is None:
            return await recorded_choice(self.recorded)(request)
        return await self._asked(request, "that chooses the intent", changed)

    async def _asked(self, request: ModelRequest, which: str, changed: str) -> ModelResponse:
        """What a model says now: one that needs no network, or one that may be asked."""
        if not any(one.provider in HOSTED for one in request.candidates):
            return await ModelRoutes().complete(request)
        if "model" in self.live and self.ask is not None:
            return live_model(self.ask, request)
        raise NotRecorded(
            f"the model {which} would be asked something else ({changed}): "
            "say which model may be asked, with --with model=PROVIDER:MODEL"
        )

    def _question(self, request: ModelRequest, found: Event) -> str | None:
        """What of the question differs from the recorded one."""
        proposal, case = found.case.proposal, found.case
        if proposal is None or case.route is None:
            return "no output is recorded"
        record = proposal.model
        if record.prompt != digest_bytes(request.prompt.encode()):
            return "the prompt"
        if self.then is None:
            known = {(one.provider, one.model) for one in request.candidates}
            return None if (record.provider, record.model) in known else "the model"
        route = self.then.models.get(record.route)
        if route is None or route.candidates != request.candidates:
            return "the model"
        if self.then.output_of(case.route) != request.contract:
            return "the output contract"
        tools = (self.then.tools[one] for one in case.route.tools if one in self.then.tools)
        return None if tuple(tools) == request.tools else "the tools"

    async def facts(
        self, _tenant: str, _request_id: str, tool: str, arguments: dict[str, Any]
    ) -> FactReply:
        """What a system of record answered then; a question that nobody asked has no answer."""
        wanted = canonical_json([tool, arguments])
        for entry in self.recorded.entries:
            if not isinstance(entry, Event) or entry.subject.event != "verdict":
                continue
            verdict = entry.case.verdict
            values = await values_of(entry.case, self.recorded)
            for recorded in verdict.facts if verdict is not None else ():
                fact = restore_model(recorded, values)
                if canonical_json([fact.tool, fact.arguments]) == wanted:
                    return FactReply(value=fact.value, error=fact.error)
        raise NotRecorded(f"{tool} was not asked this then: the fact is missing")

    async def standing(self, _tenant: str, question: Question, _now: datetime) -> Standing:
        """What a ledger said then about the same span of time, whatever the limit is now."""
        tools = self.then.tools.values() if self.then is not None else ()
        spans = {words_of(one): one.per_s for tool in tools for one in tool.limits}
        spans |= {words_of(one): one.within_s or 0 for tool in tools for one in tool.after}
        for entry in self.recorded.entries:
            if not isinstance(entry, Event) or entry.subject.event != "verdict":
                continue
            verdict = entry.case.verdict
            for one in verdict.standings if verdict is not None else ():
                same = one.rule == question.rule or spans.get(one.rule) == question.span_s
                if one.ledger == question.ledger and same:
                    return one.model_copy(update={"rule": question.rule})
        raise NotRecorded(f"the ledger {question.rule!r} was not asked this then")

    async def perform(self, grant: Grant) -> Outcome:
        """What came of the same action then; raises `NewAction`."""
        for entry in self.recorded.entries:
            if not isinstance(entry, Event) or not isinstance(entry.data, Result):
                continue
            by_gate = entry.source == f"/{Actor.CONTRACT_VALIDATOR}"
            if entry.data.effect_key == grant.effect_key and not by_gate:
                result = entry.data
                return Outcome(effect=result.effect, output=result.output, failure=result.failure)
        raise NewAction


async def _unsigned(grant: Grant) -> Grant:
    """A grant that opens nothing: no key is at hand here."""
    return grant
