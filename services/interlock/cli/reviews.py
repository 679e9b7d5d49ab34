"""What waits for a reviewer: actions and answers, what was decided, and deciding."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from interlock.cli.common import connected, operator_log
from interlock.runtime.commit import EXPECT_NEW, Committed, Committer
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog, StoredMessage
from interlock.runtime.settings import Settings
from interlock_contracts.actions import Decided, Grant, Result, Review
from interlock_contracts.answer import Answer
from interlock_contracts.answer_review import AnswerReview, is_answer_token
from interlock_contracts.base import Model
from interlock_contracts.event import Event, parse_data
from interlock_contracts.subjects import TOKEN, Subject, as_token
from interlock_contracts.table import EVENT

Decision = Literal["approve", "deny"]


@dataclass(frozen=True, slots=True)
class Card:
    """A question to a reviewer, what was decided about it so far, and what came of it."""

    at: Subject
    question: Review | AnswerReview
    decisions: tuple[Decided, ...]
    outcome: Model | None

    @property
    def id(self) -> str:
        """As the commands take it."""
        return f"{self.at.request_id}/{self.at.step}"

    @property
    def summary(self) -> str:
        """What it is about, in a line."""
        if isinstance(self.question, Review):
            return self.question.summary
        line = " ".join(self.question.answer.text.split())
        return f"answer: {line}" if len(line) <= 80 else f"answer: {line[:79]}…"

    @property
    def state(self) -> str:
        """`waiting` while a decision still counts."""
        if isinstance(self.outcome, Grant):
            return "approved"
        if isinstance(self.outcome, Result):
            return str(self.outcome.failure.code) if self.outcome.failure else "done"
        if isinstance(self.outcome, Answer):
            failures = self.outcome.failures
            code = str(failures[0].code) if failures else str(self.outcome.status)
            return "approved" if self.outcome.approval else code
        return "expired" if self.question.expires_at <= datetime.now(UTC) else "waiting"

    def as_json(self) -> dict[str, Any]:
        """For machines; `about` is `action` or `answer`."""
        return {
            "id": self.id,
            "tenant": self.at.tenant,
            "about": "action" if isinstance(self.question, Review) else "answer",
            "state": self.state,
            "decisions": [one.model_dump(mode="json") for one in self.decisions],
            **self.question.model_dump(mode="json"),
        }


async def all_cards(settings: Settings, tenant: str) -> list[Card]:
    """Every question to reviewers of `tenant` (`*`: of all), in the order of the log."""
    async with operator_log(settings) as (_, log):
        found = [
            message
            for event in ("review", "answer_review")
            async for message in log.matching(f"{settings.cell}.{event}.{tenant}.>")
        ]
        return [await _judged(log, one) for one in sorted(found, key=lambda one: one.sequence)]


async def one_card(settings: Settings, id_: str) -> Card:
    """The question named REQUEST_ID/ACTION; raises `UserError`."""
    request_id, slash, action = id_.partition("/")
    if not slash or not TOKEN.fullmatch(request_id) or not TOKEN.fullmatch(action):
        raise UserError(f"{id_[:140]!r} is not of the form REQUEST_ID/ACTION")
    event = "answer_review" if is_answer_token(action) else "review"
    async with operator_log(settings) as (_, log):
        pattern = f"{settings.cell}.{event}.*.{request_id}.{action}"
        found = await log.fetch({"seq": 1, "next_by_subj": pattern})
        if found is None:
            raise UserError(f"no review {id_!r}; `interlock review list` names them")
        return await _judged(log, found)


async def _judged(log: JetStreamLog, message: StoredMessage) -> Card:
    event = message.event()
    at, question = event.subject, event.data
    assert isinstance(question, Review | AnswerReview)
    address = (at.tenant, at.request_id, at.step)
    pattern = f"{at.cell}.reviewed.{'.'.join(address)}.*"
    events: list[Event] = [found.event() async for found in log.matching(pattern)]
    if isinstance(question, Review):
        outcome = await log.read("approved", *address, question.tool)
        outcome = outcome or await log.read("result", *address, question.tool)
    else:
        outcome = await log.read("answer", at.tenant, at.request_id, str(event.attempt))
    decisions = tuple(one.data for one in events if isinstance(one.data, Decided))
    return Card(at, question, decisions, None if outcome is None else outcome.data)


async def decide(settings: Settings, id_: str, who: str, note: str, decision: Decision) -> Card:
    """Log the decision of `who` about exactly what the card shows; the card.

    Raises `UserError` where it is settled, or `who` may not decide or has decided before.
    """
    card = await one_card(settings, id_)
    at = card.at
    if card.state != "waiting":
        raise UserError(f"{id_} is not waiting any more: {card.state}")
    if as_token(who) == as_token(card.question.requester):
        raise UserError(f"{who} asked for this, and somebody else has to decide about it")
    asked = card.question
    if asked.reviewers and who not in asked.reviewers:
        may = ", ".join(asked.reviewers)
        raise UserError(f"{who} does not decide about {asked.review_class}; who does: {may}")
    body = _body(card, who, note, decision)
    address = Subject(at.cell, "reviewed", at.tenant, at.request_id, at.step, as_token(who))
    async with connected(settings, f"reviewer-{at.tenant}") as client:
        committer = Committer(client)
        outcome = await committer.commit_wire([(str(address), body, EXPECT_NEW)])
        await committer.close()
    if outcome is not Committed.NEW:
        raise UserError(f"{who} has decided about {id_} before")
    return card


def _body(card: Card, who: str, note: str, decision: Decision) -> bytes:
    """The decision as it is published; raises `UserError` for a name or note that is none."""
    try:
        decided = Decided(
            action=card.at.step,
            decision=decision,
            digest=card.question.digest,
            by=who,
            note=note,
        )
        body = decided.model_dump_json().encode()
        parse_data(EVENT["reviewed"], body)
    except ValueError:
        raise UserError("--by or --note holds what is not allowed in text, or is empty") from None
    return body
