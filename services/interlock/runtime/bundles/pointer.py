"""Which bundle requests start on: the last `activated` event on the log, and those before it.

There is no pointer beside the log that could say something else than what is audited. The number
in the subject makes an activation a compare-and-swap: of two operators who both read number 6,
one writes number 7, and the other is told.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from interlock.runtime.commit import CommitRefused, Committed, Committer
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog
from interlock_contracts.activation import NO_TENANT, POINTER, Activation
from interlock_contracts.base import Model
from interlock_contracts.event import Event, subject_id
from interlock_contracts.subjects import Subject


@dataclass(frozen=True, slots=True)
class Entry:
    """One activation, and when it was logged (UTC)."""

    activation: Activation
    at: datetime


def _filter(cell: str) -> str:
    return f"{cell}.activated.{NO_TENANT}.{POINTER}.*"


async def last(log: JetStreamLog) -> Activation | None:
    """The activation that holds now; None where there was never one."""
    found = await log.fetch({"last_by_subj": _filter(log.cell)})
    return None if found is None else _activation(found.event())


async def history(log: JetStreamLog) -> list[Entry]:
    """Every activation, oldest first."""
    return [
        Entry(_activation(found.event()), found.logged_at)
        async for found in log.matching(_filter(log.cell))
    ]


def _activation(event: Event) -> Activation:
    assert isinstance(event.data, Activation)
    return event.data


def before(entries: list[Entry]) -> str | None:
    """The digest that a rollback goes back to; None where there is nothing before.

    A rollback takes back, so two of them in a row go back two bundles, not to and fro.
    """
    stack: list[str] = []
    for entry in entries:
        digest = entry.activation.bundle
        if entry.activation.how == "rollback" and digest in stack:
            while stack[-1] != digest:
                stack.pop()
        elif not stack or stack[-1] != digest:
            stack.append(digest)
    return stack[-2] if len(stack) > 1 else None


async def write(log: JetStreamLog, committer: Committer, activation: Activation) -> None:
    """Log an activation: from here on it holds. Raises `UserError` if somebody else was first."""
    at = Subject(log.cell, "activated", NO_TENANT, POINTER, str(activation.number))
    if not await record(log, committer, at, activation, activation.by):
        raise UserError(
            f"activation {activation.number} has just been somebody else's; "
            "`interlock bundle history` says whose"
        )


async def record(
    log: JetStreamLog, committer: Committer, at: Subject, data: Model, by: str
) -> bool:
    """Log what an operator says; False if something else stands there already."""
    event = Event(at, data, subject_id(at), f"/operator/{by}", datetime.now(UTC))
    try:
        if await committer.commit([event]) is Committed.NEW:
            return True
    except CommitRefused as error:
        raise UserError(f"the broker refused: {error}") from None
    standing = await log.fetch({"last_by_subj": str(at)})
    # A commit that was tried again after a lost answer finds its own.
    return standing is not None and standing.body == event.body()
