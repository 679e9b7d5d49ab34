"""What people decide about: an action that shall run, or an answer that shall go out.

Each says what binds it, whose word it waits for, and what follows from a yes, a no and silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

from interlock.contract_validator.answers import refused
from interlock.contract_validator.binding import approved, review_class_of
from interlock.contract_validator.facts import facts_of
from interlock.contract_validator.gate import Gate
from interlock.contract_validator.holding import hold
from interlock.contract_validator.personal import (
    concealed,
    digest_of,
    own_facts,
    personal_in,
    revealed,
    values_of,
)
from interlock.runtime.errors import NeverRetry
from interlock.runtime.stage import Draft, Input, Log
from interlock_contracts.actions import Effect, Result, effect_key
from interlock_contracts.answer import Answer, Approval
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode, failure
from interlock_contracts.privacy import Values, restore_json
from interlock_contracts.verdict import ActionVerdict, Decision, Held, Verdict


class Matter(Protocol):
    """What a decision is about.

    `name` stands in its subjects as the step. `questions` are the events that asked, by the
    event that answers. So many `approvals` are wanted, of reviewers of `review_class`, and where
    `confirmed` the requester's too.
    """

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def questions(self) -> Mapping[str, str]: ...
    @property
    def approvals(self) -> int: ...
    @property
    def review_class(self) -> str: ...
    @property
    def confirmed(self) -> bool: ...

    async def digest_again(self, gate: Gate) -> str | None:
        """The digest once more, from the recorded case; None if nobody would be asked now."""

    def forbidden(self, gate: Gate) -> Draft | None:
        """What follows from a yes to what may no longer be; None where it may."""

    async def approved(self, input: Input, gate: Gate, by: tuple[str, ...]) -> Draft:
        """What follows once everybody has approved."""

    def denied(self, input: Input, by: str) -> Draft:
        """What follows from a no."""

    def expired(self, input: Input) -> Draft:
        """What follows where nobody decided in time."""


@dataclass(frozen=True, slots=True)
class OfAction:
    """An action; `values` is what its placeholders mean."""

    case: Case
    action: ActionVerdict
    values: Values

    @property
    def name(self) -> str:
        return self.action.action

    @property
    def digest(self) -> str:
        return self.action.digest

    @property
    def questions(self) -> Mapping[str, str]:
        found = {"reviewed": "review"} if self.action.decision is Decision.REVIEW else {}
        asked = self.action.decision is Decision.CONFIRM or self.confirmed
        return found | ({"confirmed": "confirm"} if asked else {})

    @property
    def approvals(self) -> int:
        """`two_person` wants two."""
        if "two_person" in self._duties:
            return 2
        return int(self.action.decision is Decision.REVIEW)

    @property
    def review_class(self) -> str:
        assert self.case.route is not None
        return review_class_of(self.action, self.case.route)

    @property
    def confirmed(self) -> bool:
        return "confirm" in self._duties

    @property
    def _duties(self) -> tuple[str, ...]:
        return self.action.policy.obligations if self.action.policy else ()

    async def digest_again(self, gate: Gate) -> str | None:
        recorded = self.case.verdict.facts if self.case.verdict else ()
        facts = own_facts(gate.bundle, self.action, recorded, self.values)
        return digest_of(self.case, gate.bundle, self.action, facts, self.values)

    def forbidden(self, gate: Gate) -> Draft | None:
        case, action = revealed(self.case, self.values), self.action
        tool, arguments = (
            gate.bundle.tools[action.tool],
            restore_json(action.arguments, self.values),
        )
        assert case.route is not None
        assert case.verdict is not None
        known = facts_of(tool, arguments, case.verdict.facts)
        if gate.decide_policy(case, case.route, tool, arguments, known).allowed:
            return None
        return self._not_done(FailureCode.POLICY_FORBIDS, "no policy permits it any more")

    async def approved(self, input: Input, gate: Gate, by: tuple[str, ...]) -> Draft:  # noqa: ARG002
        personal = personal_in(self.action, self.values)
        return approved(input, self.case, self.action, by, personal)

    def denied(self, input: Input, by: str) -> Draft:  # noqa: ARG002
        return self._not_done(FailureCode.APPROVAL_DENIED, f"{by} denied it")

    def expired(self, input: Input) -> Draft:  # noqa: ARG002
        return self._not_done(FailureCode.APPROVAL_EXPIRED, "nobody decided in time")

    def _not_done(self, code: FailureCode, message: str) -> Draft:
        request, action = self.case.request, self.action
        arguments = restore_json(action.arguments, self.values)
        result = Result(
            action=action.action,
            tool=action.tool,
            effect=Effect.DID_NOT_HAPPEN,
            effect_key=effect_key(request.tenant, request.request_id, action.tool, arguments),
            failure=failure(code, message),
        )
        return Draft("result", action.action, result, tail=action.tool)


@dataclass(frozen=True, slots=True)
class OfAnswer:
    """An answer that is held; `values` is what its placeholders mean."""

    case: Case
    held: Held
    values: Values

    approvals = 1
    confirmed = False

    @property
    def name(self) -> str:
        return self.held.action

    @property
    def digest(self) -> str:
        return self.held.digest

    @property
    def review_class(self) -> str:
        return self.held.review_class

    @property
    def questions(self) -> Mapping[str, str]:
        return {"reviewed": "answer_review"}

    async def digest_again(self, gate: Gate) -> str | None:
        again, _ = await self._again(gate)
        return again.held.digest if again.held else None

    def forbidden(self, gate: Gate) -> Draft | None:  # noqa: ARG002
        return None  # what would forbid it is in the digest

    async def approved(self, input: Input, gate: Gate, by: tuple[str, ...]) -> Draft:  # noqa: ARG002
        """The answer, and who let it out past what."""
        again, answer = await self._again(gate)
        assert answer is not None  # it has the digest that was shown
        accepted = tuple(dict.fromkeys(one.code for one in again.violations))
        approval = Approval(by=by, digest=self.digest, accepted=accepted)
        return self._answer(answer.model_copy(update={"approval": approval}))

    def denied(self, input: Input, by: str) -> Draft:
        return self._refused(input, FailureCode.ANSWER_DENIED, f"{by} did not let it out")

    def expired(self, input: Input) -> Draft:
        return self._refused(input, FailureCode.ANSWER_EXPIRED, "nobody decided in time")

    async def _again(self, gate: Gate) -> tuple[Verdict, Answer | None]:
        """The verdict and the answer, made once more of the recorded case."""
        shown = revealed(self.case, self.values)
        assert shown.route is not None
        assert shown.proposal is not None
        verdict = await gate.judge(shown, shown.route, shown.proposal, _nothing_is_fetched)
        verdict = concealed(verdict, self.case, gate.bundle, (), self.values)
        return hold(self.case, gate, verdict, self.values)

    def _refused(self, input: Input, code: FailureCode, message: str) -> Draft:
        verdict = self.case.verdict
        why = [failure(code, message), *(verdict.violations if verdict else ())]
        return self._answer(refused(self.case, input.bundle, why))

    def _answer(self, answer: Answer) -> Draft:
        return Draft("answer", str(self.case.attempt), answer)


async def matter_of(case: Case, name: str, log: Log) -> Matter | None:
    """What the verdict of this case put to people under this name; None where it is nothing."""
    verdict = case.verdict
    if verdict is None:
        return None
    if verdict.held is not None and verdict.held.action == name:
        return OfAnswer(case, verdict.held, await values_of(case, log))
    actions = [one for one in verdict.actions if one.action == name]
    if len(actions) != 1:
        return None
    return OfAction(case, actions[0], await values_of(case, log))


async def _nothing_is_fetched(*_: object) -> NoReturn:
    """An answer is judged without facts: one that has calls is never held."""
    raise NeverRetry(FailureCode.EVENT_INVALID, "an answer that is held calls no tools")
