"""The story of a request: each record told in a sentence or a few, for a person."""

from collections.abc import Iterator
from typing import Any

from interlock.audit_sink.query import Kept
from interlock_contracts.actions import Confirm, Decided, Grant, Notice, Reservation, Result, Review
from interlock_contracts.answer import Answer, DeadLetter, Discard, Retry
from interlock_contracts.answer_review import AnswerReview
from interlock_contracts.canonical import canonical_json
from interlock_contracts.case import Case
from interlock_contracts.custody import Custody
from interlock_contracts.event import InvalidEvent
from interlock_contracts.request import Request
from interlock_contracts.routing import Route
from interlock_contracts.verdict import ActionVerdict, Verdict

LONGEST = 300
"""Longer texts are cut; `--json` has them whole."""


def tell(record: Kept) -> list[str]:
    """What a record says. The first line is the event itself, the others its reasons."""
    if record.data is None:
        return [f"{record.event or record.type}: its content is {_GONE[record.state]}"]
    try:
        event = record.decoded()
    except InvalidEvent as error:
        return [f"a message that is no event: {error.message}"]
    by, data = event.source.removeprefix("/"), event.data
    if isinstance(data, Case):
        return list(_case(record.event, by, data))
    return list(_other(by, data))


_GONE = {"erased": "erased", "expired": "expired", "sealed": "sealed, and the key is not here"}


def _case(event: str, by: str, case: Case) -> Iterator[str]:
    match event:
        case "route" | "declined" if case.route is not None:
            yield from _route(by, case.route, ended=event == "declined")
        case "context" if case.context is not None:
            yield f"{by} retrieved: {case.context.outcome}"
            for one in case.context.signals:
                yield f"sign of an injection in {one.handle}: {one.kind}"
            for chunk in case.context.chunks:
                where = f"{chunk.document_id} ({chunk.trust}, version {chunk.version[7:19]})"
                yield f"{chunk.handle} from {where}: {_short(chunk.text, 120)}"
        case "proposal" if case.proposal is not None:
            proposal = case.proposal
            yield f"the model {proposal.model.provider}/{proposal.model.model} proposed"
            yield from (
                f"to call {one.tool}({_arguments(one.arguments)})" for one in proposal.calls
            )
            for statement in proposal.statements:
                cited = ", ".join(citation.handle for citation in statement.citations)
                yield f"to say: {_short(statement.text)}" + (f" [{cited}]" if cited else "")
            if proposal.malformed:
                yield f"something that cannot be read: {proposal.malformed}"
            if proposal.abstained:
                yield "not to answer: the sources do not hold it"
        case "verdict" | "repair" if case.verdict is not None:
            yield from _verdict(by, case.verdict)
        case _:
            yield f"{event} by {by}"


def _route(by: str, route: Route, *, ended: bool) -> Iterator[str]:
    sure = f"{route.intent!r} ({route.risk} risk, {route.confidence:.2f})"
    yield f"{by} took it for {sure}" + (", and ended it" if ended else "")
    if not ended:
        yield f"tools it may use: {', '.join(route.tools) or 'none'}"
    yield from (f"because of {why.kind} {why.reference}" for why in route.why)
    for part in route.parts:
        yield f"part: {part.intent!r} ({part.risk} risk, {part.confidence:.2f})"
        yield from (f"because of {why.kind} {why.reference}" for why in part.why)
    if route.choice is not None:
        yield f"a model was asked which intent it is: {route.choice.told}"
    if route.signals:
        yield f"signs of an injection: {', '.join(one.kind for one in route.signals)}"
    if route.overrides:
        yield f"held to the overrides {', '.join(route.overrides)}"


def _verdict(by: str, verdict: Verdict) -> Iterator[str]:
    yield f"{by} decided: {verdict.decision}"
    for sign in verdict.signals:
        at = f" at {sign.pointer}" if sign.pointer else ""
        yield f"sign of an injection in {sign.handle}{at}: {sign.kind}"
    if verdict.held is not None:
        yield f"the answer waits for a reviewer ({verdict.held.review_class})"
    for fact in verdict.facts:
        said = f"error: {fact.error}" if fact.error else _json(fact.value)
        yield f"fact {fact.name}, asked of {fact.tool}({_arguments(fact.arguments)}): {said}"
    for action in verdict.actions:
        yield from _action(action)
    yield from (f"violation {one.code}: {one.message}" for one in verdict.violations)


def _action(action: ActionVerdict) -> Iterator[str]:
    yield f"{action.tool}({_arguments(action.arguments)}): {action.decision}"
    for one in action.provenance:
        yield f"{one.path} comes from {one.origin}: {_short(one.evidence, 120)}"
    if action.policy is not None:
        word = "allow" if action.policy.allowed else "forbid"
        yield f"policies {word} it: {', '.join(action.policy.policies) or 'by default'}"
        yield from (f"on condition of {obligation}" for obligation in action.policy.obligations)
    yield from (f"concern {one.code}: {one.message}" for one in action.concerns)


def _other(by: str, data: Any) -> Iterator[str]:
    match data:
        case Request():
            who = data.principal
            yield f"{who.user} ({who.role}) asked by {data.channel}: {_short(data.text)}"
            if data.history:
                yield f"after {len(data.history)} earlier turns"
        case Confirm():
            yield f"the requester was asked to confirm: {_short(data.summary)}"
            if data.policies:
                yield f"because {', '.join(data.policies)} want it confirmed"
        case Review():
            yield f"a reviewer ({data.review_class}) was asked: {_short(data.summary)}"
        case AnswerReview():
            asked = f"whether this may go out: {_short(data.answer.text)}"
            yield f"a reviewer ({data.review_class}) was asked {asked}"
            yield from (f"although {one.code}: {one.message}" for one in data.objections)
            if data.overrides:
                yield f"because of the overrides {', '.join(data.overrides)}"
        case Notice():
            yield f"the producer was told to wait for {data.waiting_for}"
        case Decided():
            note = f": {_short(data.note)}" if data.note else ""
            yield f"{data.by} decided: {data.decision}{note}"
        case Grant():
            yield f"{by} approved {data.tool}({_arguments(data.arguments)})"
            if data.approved_by:
                yield f"with the word of {', '.join(data.approved_by)}"
        case Reservation():
            yield f"{data.executor} reserved {data.tool}: nobody else runs this effect"
        case Result():
            yield f"{by} ran {data.tool}: {data.effect}"
            if data.output is not None:
                yield f"it returned {_short(_json(data.output))}"
            if data.failure is not None:
                yield f"{data.failure.code}: {data.failure.message}"
        case Answer():
            yield f"the answer ({data.status}): {_short(data.text)}"
            if data.approval is not None:
                past = (
                    f", past {', '.join(data.approval.accepted)}" if data.approval.accepted else ""
                )
                yield f"with the word of {', '.join(data.approval.by)}{past}"
            for source in data.sources:
                yield f"citing {source.document_id}: {_short(source.quote, 120)}"
            yield from (f"because {one.code}: {one.message}" for one in data.failures)
        case DeadLetter():
            yield f"{data.stage} could not process {data.subject}"
            yield f"{data.failure.code}: {data.failure.message}"
        case Retry() | Discard():
            order = "had it processed again" if isinstance(data, Retry) else "put it aside"
            yield f"{data.by} {order}: {_short(data.note) or 'without a word'}"
        case Custody():
            what = f"the words of {data.document}" if data.document else "it"
            yield f"{data.by} had {what} {data.act}: {_short(data.reason) or 'without a word'}"
        case _:
            yield type(data).__name__.lower()


def _arguments(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_short(_json(value), 80)}" for name, value in arguments.items())


def _json(value: Any) -> str:
    return canonical_json(value).decode()


def _short(text: str, limit: int = LONGEST) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
