"""The judgement of one proposal: every check, every violation, one verdict."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from interlock.bundles.model import Bundle, OutputContract
from interlock.bundles.overrides import overrides_of, signals_of
from interlock.contract_validator.actions import Action, policy_violations, together
from interlock.contract_validator.binding import bind, token
from interlock.contract_validator.checks.allowlist import check_tool
from interlock.contract_validator.checks.arguments import check_arguments, compile_schemas
from interlock.contract_validator.checks.choice import concerns
from interlock.contract_validator.checks.citations import (
    check_access,
    check_citations,
    check_support,
    cited_texts,
)
from interlock.contract_validator.checks.output import (
    Forbidden,
    check_form,
    check_output,
    compile_forbidden,
)
from interlock.contract_validator.checks.placeholders import check_call, check_statements
from interlock.contract_validator.checks.provenance import check_origins, trace
from interlock.contract_validator.checks.sources import Sources
from interlock.contract_validator.checks.structure import check_structure, compile_data
from interlock.contract_validator.checks.text import pointer
from interlock.contract_validator.checks.values import check_values
from interlock.contract_validator.facts import Facts, Fetch, facts_of, missing_facts
from interlock.contract_validator.outcome import decide
from interlock.contract_validator.overrides import check_blocked, held
from interlock.contract_validator.policy import Policies
from interlock.contract_validator.rules import (
    Ask,
    Ruled,
    Rules,
    check_rules,
    nothing_before,
    spends,
)
from interlock.runtime.errors import SlowDown
from interlock.runtime.signals import signals_of_results
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import Proposal, ToolCall
from interlock_contracts.routing import Route
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import (
    ActionVerdict,
    Decision,
    Fact,
    PolicyDecision,
    Standing,
    Verdict,
    Violation,
    violation,
)


class Gate:
    """What judging needs of a bundle, compiled once."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.policies = Policies(bundle)
        self.schemas = compile_schemas(bundle)
        self.facts = Facts(bundle, self.schemas)
        self.rules = Rules(bundle)
        self._data = {name: compile_data(one) for name, one in bundle.outputs.items()}
        self._outputs = {
            name: (contract, compile_forbidden(contract))
            for name, contract in bundle.outputs.items()
        }

    def output(self, route: Route) -> tuple[OutputContract, Forbidden]:
        """The route's output contract, compiled; the strictest if the bundle lacks it."""
        if route.parts:
            united = self.bundle.output_of(route) or OutputContract()
            return united, compile_forbidden(united)
        return self._outputs.get(route.output, _STRICTEST)

    def wanted_by(self, policy: PolicyDecision | None, duty: str) -> tuple[str, ...]:
        """The policies that decided, and the overrides, because of which there is this duty."""
        added = policy.overrides if policy else ()
        named = (one.id for one in self.bundle.overrides if one.effect == duty and one.id in added)
        return (*self.policies.asking(policy, duty), *named)

    async def judge(
        self,
        case: Case,
        route: Route,
        proposal: Proposal,
        fetch: Fetch,
        ask: Ask = nothing_before,
    ) -> Verdict:
        """The verdict on `proposal`, by what `fetch` answers of facts and `ask` of the history.

        Raises:
            SlowDown: nothing is wrong but that a prerequisite is still on its way.
        """
        form = check_form(proposal)
        signals = signals_of_results(case.steps)
        overrides = overrides_of(self.bundle, case, route, signals)
        violations = form + check_access(case) + check_blocked(overrides)
        actions: list[Action] = []
        facts: tuple[Fact, ...] = ()
        standings: tuple[Standing, ...] = ()
        coverage = None
        if proposal.calls and not form:
            if case.step >= route.budget.max_turns:
                message = f"turn {case.step} of {route.budget.max_turns}: only an answer is left"
                violations.append(violation(FailureCode.TURNS_EXHAUSTED, "/calls", message))
            actions = [
                self._first_checks(index, call, case, route)
                for index, call in enumerate(proposal.calls)
            ]
            sound = [(a.tool, a.call.arguments) for a in actions if a.tool and not a.violations]
            facts = await self.facts.gather(case.request, sound, fetch)
            ruled = self._ruled(case, actions, facts)
            sources = Sources(case, self.bundle.tools)
            for action in actions:
                self._judge_action(action, case, route, facts, sources)
                action.policy = held(action.policy, action.tool, overrides, route)
            standings = await self._keep_rules(case, actions, ruled, ask)
            violations += [one for action in actions for one in action.violations]
        elif not form and not proposal.abstained:
            # Statements beside calls are notes on the way: nobody is shown them.
            found, coverage = self._judge_answer(case, route, proposal)
            violations += found
        decision = decide(case, route, proposal, violations, actions)
        return Verdict(
            decision=decision,
            violations=tuple(violations),
            actions=tuple(
                self._verdict_on(action, case, facts, decision if violations else None)
                for action in actions
            ),
            facts=facts,
            standings=standings,
            citation_coverage=coverage,
            signals=signals,
        )

    def _judge_answer(
        self, case: Case, route: Route, proposal: Proposal
    ) -> tuple[list[Violation], float | None]:
        """What is wrong with an answer, and how much of it is cited."""
        contract, forbidden = self.output(route)
        texts, data = cited_texts(case), self._data.get(route.output)
        report = check_citations(proposal, texts, contract)
        found = [*check_output(proposal, contract, forbidden), *report.violations]
        found += check_structure(proposal, contract, data, texts)
        found += check_support(proposal, texts, contract, case.request.text)
        found += check_values(proposal, case, contract)
        found += check_statements(proposal, case, self.bundle)
        return found, report.coverage

    def _first_checks(self, index: int, call: ToolCall, case: Case, route: Route) -> Action:
        """What can be said of a call before anything is fetched for it."""
        tool = self.bundle.tools.get(call.tool)
        found = check_tool(index, call, self.bundle.tools, route, case.request.principal)
        found += check_call(index, call, case, self.bundle)
        action = Action(index, token(case.step, index), call, tool, found)
        if tool is not None:
            found += check_arguments(index, call.tool, call.arguments, self.schemas)
        return action

    def _ruled(self, case: Case, actions: Sequence[Action], facts: Sequence[Fact]) -> list[Ruled]:
        """The calls that rules apply to, as far as they are sound."""
        found = []
        for action in actions:
            tool, arguments = action.tool, action.call.arguments
            if tool is None or action.violations or not self.rules.apply_to(tool):
                continue
            known = facts_of(tool, arguments, facts)
            if missing_facts(tool, known):
                continue  # told as such
            ruled = self.rules.bind(action.index, tool, case, arguments, known)
            if isinstance(ruled, Violation):
                action.violations.append(ruled)
            else:
                found.append(ruled)
        return found

    async def _keep_rules(
        self, case: Case, actions: Sequence[Action], calls: Sequence[Ruled], ask: Ask
    ) -> tuple[Standing, ...]:
        """Hold the calls against their rules; what was read of the history."""
        if not calls:
            return ()
        standings = tuple(await asyncio.gather(*map(ask, self.rules.questions(calls))))
        found, waiting = check_rules(calls, case.steps, standings)
        if waiting and not any(action.violations for action in actions):
            raise SlowDown(FailureCode.SEQUENCE_VIOLATION, found[0][1].message, WAIT_S)
        for index, wrong in found:
            actions[index].violations.append(wrong)
        for index, entries in spends(calls, standings).items():
            actions[index].spends = entries
        return standings

    def _judge_action(
        self,
        action: Action,
        case: Case,
        route: Route,
        facts: Sequence[Fact],
        sources: Sources,
    ) -> None:
        """Provenance always; the policies once the call is sound and its facts are known."""
        tool = action.tool
        if tool is None:
            return
        known = facts_of(tool, action.call.arguments, facts)
        sound = not action.violations
        action.provenance = trace(tool, action.call.arguments, known, sources)
        action.violations += check_origins(action.index, tool, action.provenance)
        if not sound:
            return
        missing = [
            violation(FailureCode.FACT_UNAVAILABLE, pointer("calls", action.index), reason)
            for reason in missing_facts(tool, known)
        ]
        action.violations += missing
        if not missing:
            action.policy = self.decide_policy(case, route, tool, action.call.arguments, known)
            action.violations += policy_violations(action.index, action.policy)
            self._ask_first(action, tool, known, sources)

    def _ask_first(
        self, action: Action, tool: ToolSpec, known: Sequence[Fact], sources: Sources
    ) -> None:
        """Where there are concerns, the requester confirms: an obligation as any other."""
        arguments, policy = action.call.arguments, action.policy
        found = concerns(action.index, tool, arguments, action.provenance, known, sources)
        action.concerns = tuple(found[:_MOST_CONCERNS])
        if found and policy is not None and policy.allowed:
            duties = tuple(sorted({*policy.obligations, "confirm"}))
            action.policy = policy.model_copy(update={"obligations": duties})

    def decide_policy(
        self,
        case: Case,
        route: Route,
        tool: ToolSpec,
        arguments: Mapping[str, Any],
        facts: Sequence[Fact],
    ) -> PolicyDecision:
        """The policies' word on one sound call, by the facts as recorded.

        Where several intents of the request have the tool, they have to permit it for each.
        """
        values = {fact.name: fact.value for fact in facts}
        principal = case.request.principal
        signals = signals_of(case, route, signals_of_results(case.steps))
        said = [
            self.policies.judge(
                principal, tool, arguments, values, case.request, intent, case.steps, signals
            )
            for intent in route.intents_with("tools", tool.name)
        ]
        return said[0] if len(said) == 1 else together(said)

    def _verdict_on(
        self, action: Action, case: Case, facts: Sequence[Fact], whole: Decision | None
    ) -> ActionVerdict:
        """`whole` overrides: where one action is refused, none of the proposal runs."""
        tool, call = action.tool, action.call
        verdict = ActionVerdict(
            action=action.token,
            tool=call.tool,
            arguments=call.arguments,
            decision=whole or action.decision,
            digest=_NO_DIGEST,
            provenance=action.provenance,
            policy=action.policy,
            concerns=action.concerns,
            spends=() if whole else action.spends,
        )
        known = facts_of(tool, call.arguments, facts) if tool else ()
        bound = bind(case.request, self.bundle.digest, verdict, known)
        return verdict.model_copy(update={"digest": bound})


WAIT_S = 0.25
"""How soon a call whose prerequisite is on its way is looked at again."""

_MOST_CONCERNS = 16
"""Concerns of one call that are told; one is enough to ask."""

_STRICTEST: tuple[OutputContract, Forbidden] = (OutputContract(), ())

_NO_DIGEST = "sha256:" + "0" * 64
