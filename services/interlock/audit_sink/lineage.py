"""Lineage: what a document influenced, and what led to an event. Read from causes, not guessed.

Every event of a service names the event it follows from. What comes from outside (a person's
decision) and an executor's reservation name none; they belong to the question, or the grant, that
they answer. An answer lives on where a later request of the same person quotes it: that is known by
a mark of the text, and holds also when the content has been erased.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from interlock.audit_sink.query import AuditReader, Kept, Query
from interlock_contracts.actions import Effect
from interlock_contracts.answer import Answer
from interlock_contracts.answer_review import AnswerReview
from interlock_contracts.case import Case
from interlock_contracts.event import InvalidEvent

How = Literal["retrieved", "in context", "cited", "argument", "quoted later"]

_ANSWERS = {
    "confirmed": ("confirm",),
    "reviewed": ("review", "answer_review"),
    "notice": ("confirm", "review", "answer_review"),
}
"""What an event without a cause belongs to, at the same step."""

_JUDGED = frozenset({"confirm", "review", "answer_review", "approved", "answer", "repair"})


@dataclass(frozen=True, slots=True)
class Touched:
    """A record that a document influenced, and how far that can be told.

    `retrieved`: the context it was in. `cited` and `argument`: an answer that cites it, an action
    one of whose arguments was found in it. `quoted later`: what follows from an answer that was
    influenced, in a later request. Everything else stands behind a model that had it in context.
    """

    record: Kept
    how: How


class Request:
    """The records of one request as a graph of causes."""

    def __init__(self, records: list[Kept]) -> None:
        self.records = records
        self._by_id = {record.id: record for record in records if record.id}
        self._at = {record.subject: record for record in records}
        self._causes = {record.sequence: list(self._causes_of(record)) for record in records}

    def following(self, starts: set[int]) -> list[Kept]:
        """What follows from the records with these sequences, themselves included, in order."""
        touched = set(starts)
        for record in self.records:  # causes come before what follows from them
            if any(cause in touched for cause in self._causes[record.sequence]):
                touched.add(record.sequence)
        return [record for record in self.records if record.sequence in touched]

    def leading_to(self, ends: set[int]) -> list[Kept]:
        """What led to the records with these sequences, themselves included, in order."""
        leading = set(ends)
        for record in reversed(self.records):
            if record.sequence in leading:
                leading.update(self._causes[record.sequence])
        return [record for record in self.records if record.sequence in leading]

    def _causes_of(self, record: Kept) -> Iterator[int]:
        tokens = record.subject.split(".")
        cause = self._by_id.get(record.cause)
        if cause is not None:
            yield cause.sequence
        elif record.event in _ANSWERS:
            for event in _ANSWERS[record.event]:
                found = self._at.get(".".join([tokens[0], event, *tokens[2:5]]))
                if found is not None:
                    yield found.sequence
        elif record.event in ("reserved", "dead", "retry", "discard"):
            yield from self._before(record, tokens)
        if record.event in _JUDGED and record.cause:
            # What the gate asks, grants or answers is committed with the verdict that says why.
            yield from (
                one.sequence
                for one in self.records
                if one.event == "verdict" and one.cause == record.cause
            )
        if record.event == "result":
            # A call is made only under its reservation.
            yield from (
                one.sequence
                for one in self.records
                if one.event == "reserved"
                and one.sequence < record.sequence
                and one.facets.get("tool") == record.facets.get("tool")
            )

    def _before(self, record: Kept, tokens: list[str]) -> Iterator[int]:
        """A reservation follows from the grants of its tool; an operator's order from anything."""
        for one in self.records:
            if one.sequence >= record.sequence:
                return
            granted = one.event == "approved" and one.subject.split(".")[-1] == tokens[-1]
            if granted or (record.event in ("retry", "discard") and one.event == "dead"):
                yield one.sequence


def influenced(reader: AuditReader, document: str) -> Iterator[Touched]:
    """Everything a document influenced: a document's id, a version's digest, or a passage's.

    First all that followed from the contexts it was in, request by request, then what was carried
    on into later requests.
    """
    contexts: dict[tuple[str, str], set[int]] = {}
    for record in reader.select(Query(document=document, event="context")):
        contexts.setdefault((record.tenant, record.request_id), set()).add(record.sequence)
    known = set(contexts)
    marks: list[tuple[str, str, int]] = []
    for place, starts in contexts.items():
        following = _request(reader, *place).following(starts)
        handles = _handles(following, document)
        for record in following:
            marks += _said(record)
            how: How = "retrieved" if record.sequence in starts else _how(record, handles)
            yield Touched(record, how)
    while marks:
        mark, whose, since = marks.pop()
        query = Query(said=mark, data_subject=whose, event="request", after=since)
        for quoting in list(reader.select(query)):
            place = (quoting.tenant, quoting.request_id)
            if place in known:
                continue
            known.add(place)
            for record in _request(reader, *place).following({quoting.sequence}):
                marks += _said(record)
                yield Touched(record, "quoted later")


def leading_to(reader: AuditReader, record: Kept) -> list[Kept]:
    """All that led to an event; of a grant or a result also what came of it."""
    request = _request(reader, record.tenant, record.request_id)
    tool = record.facets.get("tool")
    ends = {record.sequence}
    if record.event in ("approved", "reserved", "result"):
        ends |= {
            one.sequence
            for one in request.following({record.sequence})
            if one.event in ("reserved", "result") and one.facets.get("tool") == tool
        }
    return request.leading_to(ends)


def _request(reader: AuditReader, tenant: str, request_id: str) -> Request:
    return Request(list(reader.select(Query(tenant=tenant, request=request_id))))


def _said(record: Kept) -> list[tuple[str, str, int]]:
    """The marks of an answer: by which, whose, and since when it may be quoted."""
    marks = record.facets.get("said", ()) if record.event == "answer" else ()
    return [(mark, record.data_subject, record.sequence) for mark in marks]


def _handles(records: list[Kept], document: str) -> set[str]:
    """The handles that the document has in these contexts."""
    handles = set()
    for record in records:
        case = _decoded(record) if record.event == "context" else None
        if isinstance(case, Case) and case.context is not None:
            handles |= {
                chunk.handle
                for chunk in case.context.chunks
                if document in (chunk.document_id, chunk.version, chunk.digest)
            }
    return handles


def _how(record: Kept, handles: set[str]) -> How:
    data = _decoded(record)
    if isinstance(data, AnswerReview):
        data = data.answer
    if isinstance(data, Answer):
        cites = any(source.handle in handles for source in data.sources)
        return "cited" if cites else "in context"
    if record.event in ("verdict", "review", "confirm") and data is not None:
        found = getattr(data, "provenance", ())
        if isinstance(data, Case) and data.verdict is not None:
            found = [one for action in data.verdict.actions for one in action.provenance]
        if any(one.evidence.partition("[")[0] in handles for one in found):
            return "argument"
    return "in context"


def _decoded(record: Kept) -> object:
    try:
        return record.decoded().data
    except (InvalidEvent, ValueError):
        return None


def executed(touched: Touched) -> bool:
    """Whether it is an action that really ran, or may have."""
    outcome = touched.record.facets.get("outcome", [])
    happened = {Effect.LANDED.value, Effect.IN_DOUBT.value}
    return touched.record.event == "result" and bool(happened & set(outcome))
