"""The shadow: every proposal judged by a second bundle too, beside the decision, never instead.

It runs after the decision has been made, on its own, and nothing but its event comes of it: no
grant is signed, nobody is asked. The route is the one that the request's own bundle gave it.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog

from interlock.bundles.model import Bundle
from interlock.contract_validator.facts import Fetch
from interlock.contract_validator.holding import hold
from interlock.contract_validator.ledger import Ledgers
from interlock.contract_validator.rules import Question
from interlock.contract_validator.stage import prepared
from interlock.runtime.bundles.live import LiveBundles
from interlock.runtime.commit import Committer
from interlock.runtime.errors import NeverRetry, RetryLater
from interlock.runtime.stage import Draft, Input
from interlock_contracts.activation import ShadowVerdict
from interlock_contracts.answer import FactReply
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.failures import FailureCode
from interlock_contracts.ids import event_id
from interlock_contracts.subjects import Subject
from interlock_contracts.verdict import Decision, Standing, Verdict

AT_ONCE = 16
"""Judged at the same time; what comes while so many are at work is left out, and counted."""

STAGE = "contract-validator"

log = structlog.get_logger(__name__)


class Shadow:
    """Judges beside. `close` waits for what is at work."""

    def __init__(
        self, bundles: LiveBundles, facts: Fetch, ledgers: Ledgers, committer: Committer
    ) -> None:
        self._bundles = bundles
        self._facts = facts
        self._ledgers = ledgers
        self._committer = committer
        self._tasks: set[asyncio.Task[None]] = set()
        self.left_out = 0

    def consider(self, given: Input, drafts: Sequence[Draft]) -> None:
        """Judge what was just decided, if a bundle is in the shadow; returns at once."""
        candidate = self._bundles.shadow
        if candidate is None or given.event.subject.event != "proposal":
            return
        decided = next((d.data for d in drafts if d.event == "verdict"), None)
        if not isinstance(decided, Case) or decided.bundle == candidate.digest:
            return
        if len(self._tasks) >= AT_ONCE:
            self.left_out += 1
            log.warning("shadow_left_out", so_far=self.left_out)
            return
        task = asyncio.create_task(self._judge(given, decided, candidate))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for the judgements at work."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _judge(self, given: Input, decided: Case, candidate: Bundle) -> None:
        real = decided.verdict
        assert real is not None
        there: Decision | None = None
        try:
            verdict = await self._verdict(given, real, candidate)
            there, codes = verdict.decision, codes_of(verdict)
        except (NeverRetry, RetryLater) as error:
            codes = (error.code,)
        except Exception as error:  # the candidate's fault, and to be seen as that
            log.exception("shadow_failed", bundle=candidate.digest, exc_info=error)
            codes = (FailureCode.STAGE_FAILED,)
        at = given.event.subject
        said = ShadowVerdict(
            request_id=at.request_id,
            bundle=decided.bundle,
            candidate=candidate.digest,
            decision=real.decision,
            codes=codes_of(real),
            candidate_decision=there,
            candidate_codes=codes,
        )
        event = Event(
            Subject(at.cell, "shadow", at.tenant, at.request_id, at.step),
            said,
            event_id(given.event.id, STAGE, "shadow", at.step),
            f"/{STAGE}",
            datetime.now(UTC),
            cause=given.event.id,
            bundle=decided.bundle,
        )
        with suppress(RetryLater):  # a judgement beside is not worth a redelivery
            await self._committer.commit([event])

    async def _verdict(self, given: Input, real: Verdict, candidate: Bundle) -> Verdict:
        """What the candidate's gate says of the same proposal, over the same facts and ledgers.

        What the decision read, it is told again; by now a ledger holds the decision's own entry.
        """
        case = given.case

        async def facts(
            tenant: str, request_id: str, tool: str, arguments: dict[str, Any]
        ) -> FactReply:
            for fact in real.facts:
                if (fact.tool, fact.arguments) == (tool, arguments):
                    return FactReply(value=fact.value, error=fact.error)
            return await self._facts(tenant, request_id, tool, arguments)

        async def ask(question: Question) -> Standing:
            for one in real.standings:
                if (one.ledger, one.rule) == (question.ledger, question.rule):
                    return one
            return await self._ledgers.standing(case.request.tenant, question, given.now)

        assert case.route is not None and case.proposal is not None  # a verdict was made of them
        judged = case.model_copy(update={"bundle": candidate.digest})
        gate = prepared(candidate)
        verdict = await gate.judge(judged, case.route, case.proposal, facts, ask)
        return hold(judged, gate, verdict, {})[0]


def codes_of(verdict: Verdict) -> tuple[FailureCode, ...]:
    """The codes of what was wrong, sorted, each once."""
    return tuple(sorted({violation.code for violation in verdict.violations}))
