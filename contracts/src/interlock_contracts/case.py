"""The case: the request and all that has been decided about it so far."""

from pydantic import Field

from interlock_contracts.actions import Result
from interlock_contracts.base import Digest, Model, Time, is_absent
from interlock_contracts.privacy import PersonalData
from interlock_contracts.proposal import Proposal
from interlock_contracts.request import Request
from interlock_contracts.retrieval import Context
from interlock_contracts.routing import Route
from interlock_contracts.verdict import Verdict


class Step(Model):
    """A step that is over: what was proposed, what the gate said, what came of it."""

    proposal: Proposal
    verdict: Verdict
    results: tuple[Result, ...] = ()


class Case(Model):
    """Event-carried state: it travels inside the event to the next stage.

    `bundle` is the digest of the bundle the request started with and stays on. `step` counts
    proposals from 1; `attempt` counts an operator's retries of a dead letter from 0. After
    `deadline` nobody waits for the answer any more; time that people take does not count.
    `personal` are the findings behind the placeholders that `request` has for personal data.
    """

    request: Request
    bundle: Digest
    deadline: Time | None = None
    attempt: int = Field(default=0, ge=0)
    step: int = Field(default=0, ge=0)
    route: Route | None = None
    context: Context | None = None
    steps: tuple[Step, ...] = ()
    proposal: Proposal | None = None
    verdict: Verdict | None = None
    personal: tuple[PersonalData, ...] = Field(default=(), exclude_if=is_absent)
