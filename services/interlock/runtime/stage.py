"""What a stage is: a pure, async decision `(case, bundle, capabilities) -> events`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from interlock.bundles.model import Bundle
from interlock_contracts.base import Model
from interlock_contracts.case import Case
from interlock_contracts.event import Event
from interlock_contracts.request import Request


@dataclass(frozen=True, slots=True)
class Draft:
    """An event a stage wants committed; the runtime gives it its id, time and trace.

    `cause` is the id of the event it follows from, where that is not the one that triggered
    the stage: a join must come out the same whichever arrival completes it. `ledger` stands in
    the place of the request in the subject of an entry that several requests contend for.
    """

    event: str
    step: str
    data: Model
    tail: str | None = None
    cause: str | None = None
    ledger: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """What a stage decides about.

    `case` is what the event carries; for an event that comes back from outside (`result`,
    `confirmed`, `reviewed`) the case of the verdict it answers; None for a grant. `now` is the
    moment the event was logged, the same at every redelivery and replay: stages read no clock.
    """

    event: Event
    bundle: Bundle
    now: datetime
    known_case: Case | None = None

    @property
    def case(self) -> Case:
        """The case; `TypeError` where the event has none."""
        if self.known_case is None:
            raise TypeError(f"a {self.event.subject.event} event has no case")
        return self.known_case


CapabilitiesT = TypeVar("CapabilitiesT", contravariant=True)

Decide = Callable[[Input], Awaitable[Sequence[Draft]]]
"""A stage with its capabilities bound: what the runtime feeds."""


class Log(Protocol):
    """Reading what is on the log. Never stale: answered by the stream's leader."""

    async def read(
        self, event: str, tenant: str, request_id: str, step: str, tail: str | None = None
    ) -> Event | None:
        """The event at this address, or None."""


class Bundles(Protocol):
    """Where bundles come from: the broker (`interlock.runtime.bundles`), or files."""

    def active(self, request: Request | None = None) -> Bundle:
        """The bundle this request starts on; without one, that which most requests start on."""

    async def get(self, digest: str) -> Bundle:
        """The bundle with this digest.

        Raises:
            BundleUnknown: there is none.
            BundleError: it does not compile, or does not work here.
            BundleRefused: it is altered, or not signed by a trusted key.
        """
