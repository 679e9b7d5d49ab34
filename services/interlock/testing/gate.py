"""A bundle's gate with the case around a proposal filled in."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlock.bundles.compile import compile_bundle
from interlock.bundles.model import Bundle
from interlock.contract_validator.binding import token
from interlock.contract_validator.facts import Fetch
from interlock.contract_validator.gate import Gate
from interlock.contract_validator.holding import hold
from interlock.contract_validator.rules import Question, Ruled
from interlock_contracts.actions import Effect, Result, effect_key
from interlock_contracts.answer import FactReply
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case, Step
from interlock_contracts.proposal import Citation, ModelRecord, Proposal, Statement, ToolCall
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.retrieval import Chunk, Context, RetrievalOutcome, Trust
from interlock_contracts.routing import Route
from interlock_contracts.verdict import Decision, Standing, Verdict

_REQUEST_ID = "01JD0000000000000000000000"
_MODEL = ModelRecord(
    route="test", provider="test", model="test", prompt=digest_bytes(b""), output=""
)


@dataclass(frozen=True, slots=True)
class Earlier:
    """A call that was made before the one that is tested, and landed."""

    tool: str
    arguments: dict[str, Any]
    output: Any = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict, and assertions about it that say what it was instead."""

    verdict: Verdict

    @property
    def codes(self) -> list[str]:
        """The failure codes of all violations, in order."""
        return [one.code.value for one in self.verdict.violations]

    @property
    def why(self) -> str:
        """Everything the gate has to say, for a person to read."""
        lines = [f"decision: {self.verdict.decision}"]
        lines += [f"{one.code} {one.path}: {one.message}" for one in self.verdict.violations]
        for action in self.verdict.actions:
            policy = action.policy
            if policy is not None:
                lines.append(f"{action.tool}: policies {policy.policies}, {policy.obligations}")
            lines += [f"  asked because {one.path}: {one.message}" for one in action.concerns]
            lines += [f"  {one.path} {one.origin}: {one.evidence}" for one in action.provenance]
        return "\n".join(lines)

    def is_automatic(self) -> None:
        """Assert that every call runs without a person."""
        self._is(Decision.APPROVE)

    def is_answered(self) -> None:
        """Assert that the answer goes out."""
        self._is(Decision.ANSWER)

    def is_confirmed(self, *paths: str) -> None:
        """Assert that the requester is asked; with paths, also for what (`/calls/0/…`)."""
        self._is(Decision.CONFIRM)
        told = {one.path for action in self.verdict.actions for one in action.concerns}
        assert told.issuperset(paths), f"asked about {sorted(told)}\n{self.why}"

    def is_reviewed(self, review_class: str | None = None) -> None:
        """Assert that somebody else decides; with a class, that one."""
        self._is(Decision.REVIEW)
        duties = {
            duty
            for action in self.verdict.actions
            if action.policy
            for duty in action.policy.obligations
        }
        if self.verdict.held is not None:
            duties.add(f"review:{self.verdict.held.review_class}")
        assert review_class is None or f"review:{review_class}" in duties, self.why

    def is_refused(self, *codes: str) -> None:
        """Assert that it does not happen, now or after a repair, for (at least) these codes."""
        stopped = self.verdict.decision in (Decision.REFUSE, Decision.REPAIR)
        assert stopped, self.why
        assert set(codes) <= set(self.codes), self.why

    def _is(self, decision: Decision) -> None:
        assert self.verdict.decision is decision, self.why


class BundleGate:
    """The gate of one bundle, compiled and checked once.

    Raises:
        BundleError: the bundle has problems; all of them are listed.
    """

    def __init__(self, bundle: Bundle | Path | str) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else compile_bundle(Path(bundle))
        self._gate = Gate(self.bundle)

    def call(self, tool: str, arguments: dict[str, Any], *, text: str, **about: Any) -> Outcome:
        """What the gate says of one tool call that answers `text`; see `propose`."""
        return self.propose([(tool, arguments)], text=text, **about)

    def propose(
        self,
        calls: Sequence[tuple[str, dict[str, Any]]] = (),
        *,
        text: str,
        says: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (),
        intent: str | None = None,
        user: str = "tester",
        role: str = "customer",
        scopes: Sequence[str] = (),
        tenant: str = "acme",
        history: Sequence[str] = (),
        facts: Mapping[str, Any] | None = None,
        trusted: Sequence[str] = (),
        untrusted: Sequence[str] = (),
        earlier: Sequence[Earlier] = (),
        before: Sequence[Earlier] = (),
    ) -> Outcome:
        """Judge calls, or statements with their citations (handle, quote).

        `intent` defaults to the first that has all the tools. `facts` are values by the name
        the contract gives the fact; one that is missing is unavailable. `history` is what the
        user said before; `trusted` and `untrusted` are retrieved texts, handles c1, c2, … in
        that order; `earlier` are calls of this request that have returned, and `before` calls of
        the same user in other requests, just now: limits count both.
        """
        wanted = Proposal(
            calls=tuple(ToolCall(tool=name, arguments=given) for name, given in calls),
            statements=tuple(
                Statement(
                    text=said,
                    citations=tuple(Citation(handle=h, quote=q) for h, q in cited),
                )
                for said, cited in says
            ),
            model=_MODEL,
        )
        route = self._route(intent, [name for name, _ in calls])
        chunks = [_chunk(tenant, text, Trust.TRUSTED) for text in trusted]
        chunks += [_chunk(tenant, text, Trust.UNTRUSTED) for text in untrusted]
        given = Case(
            request=Request(
                request_id=_REQUEST_ID,
                tenant=tenant,
                principal=Principal(user=user, role=role, scopes=tuple(scopes)),
                text=text,
                history=tuple(Turn(role="user", text=said) for said in history),
            ),
            bundle=self.bundle.digest,
            step=1,
            route=route,
            context=Context(
                outcome=RetrievalOutcome.FOUND if chunks else RetrievalOutcome.NOT_NEEDED,
                chunks=tuple(
                    chunk.model_copy(update={"handle": f"c{number}"})
                    for number, chunk in enumerate(chunks, 1)
                ),
            ),
        )
        return asyncio.run(self._judge(given, route, wanted, facts or {}, earlier, before))

    async def _judge(
        self,
        case: Case,
        route: Route,
        wanted: Proposal,
        facts: Mapping[str, Any],
        earlier: Sequence[Earlier],
        before: Sequence[Earlier],
    ) -> Outcome:
        async def fetch(
            _tenant: str, _request: str, tool: str, _arguments: dict[str, Any]
        ) -> FactReply:
            names = {
                fact.name
                for contract in self.bundle.tools.values()
                for fact in contract.facts
                if fact.tool == tool
            }
            known = [facts[name] for name in sorted(names) if name in facts]
            return FactReply(value=known[0]) if known else FactReply(error="not given to the test")

        steps: tuple[Step, ...] = ()
        for number, done in enumerate(earlier, 1):
            call = ToolCall(tool=done.tool, arguments=done.arguments)
            proposed = Proposal(calls=(call,), model=_MODEL)
            now = case.model_copy(update={"steps": steps})
            verdict = await self._gate.judge(now, route, proposed, fetch)
            steps = (*steps, _step(proposed, verdict, number, done))
        last = case.model_copy(update={"steps": steps, "proposal": wanted})
        entries = await self._entries(case, [*before, *earlier], fetch)

        async def ask(question: Question) -> Standing:
            mine = [amount for ledger, amount in entries if ledger == question.ledger]
            return Standing(
                ledger=question.ledger,
                rule=question.rule,
                head=len(mine),
                used=sum(mine) if question.sums else float(len(mine)),
                state="landed" if mine else "none",
            )

        verdict = await self._gate.judge(last, route, wanted, fetch, ask)
        return Outcome(hold(last, self._gate, verdict, {})[0])

    async def _entries(
        self, case: Case, done: Sequence[Earlier], fetch: Fetch
    ) -> list[tuple[str, float]]:
        """What these calls left in the ledgers of rules."""
        entries: list[tuple[str, float]] = []
        for one in done:
            tool = self.bundle.tools[one.tool]
            facts = await self._gate.facts.gather(case.request, [(tool, one.arguments)], fetch)
            ruled = self._gate.rules.bind(0, tool, case, one.arguments, facts)
            entries += ruled.entries.items() if isinstance(ruled, Ruled) else ()
        return entries

    def _route(self, intent: str | None, tools: Sequence[str]) -> Route:
        """The way of the named intent, or of the first that has all the tools."""
        names = [intent] if intent else list(self.bundle.intents)
        fitting = [name for name in names if set(tools) <= set(self.bundle.intents[name].tools)]
        name = (fitting or names)[0]
        found = self.bundle.intents[name]
        return Route(
            intent=name,
            risk=found.risk,
            confidence=1.0,
            margin=1.0,
            sources=found.sources,
            tools=found.tools,
            output=found.output,
            model_route=found.model,
            review_class=found.review_class,
            budget=self.bundle.limits.budget,
        )


def _step(proposal: Proposal, verdict: Verdict, number: int, done: Earlier) -> Step:
    name = token(number, 0)
    action = verdict.actions[0].model_copy(update={"action": name})
    result = Result(
        action=name,
        tool=done.tool,
        effect=Effect.LANDED,
        effect_key=effect_key("test", _REQUEST_ID, done.tool, done.arguments),
        output=done.output,
    )
    judged = verdict.model_copy(update={"actions": (action,)})
    return Step(proposal=proposal, verdict=judged, results=(result,))


def _chunk(tenant: str, text: str, trust: Trust) -> Chunk:
    seal = digest_bytes(text.encode())
    return Chunk(
        handle="c0",
        chunk_id=f"test#{seal[-8:]}",
        document_id="test",
        version=seal,
        digest=seal,
        source="test",
        tenant=tenant,
        trust=trust,
        text=text,
        score=1.0,
    )
