"""What a verification found, for people and for machines."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Divergence:
    """One thing that did not come out as it stands on the log.

    `pointer` is a JSON pointer into the event's data, or the name of an attribute; `position`
    orders divergences as the log does.
    """

    stage: str
    subject: str
    pointer: str
    recorded: Any
    replayed: Any
    position: int

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "stage": self.stage,
            "subject": self.subject,
            "pointer": self.pointer,
            "recorded": self.recorded,
            "replayed": self.replayed,
        }

    def __str__(self) -> str:
        place = f"{self.subject} {self.pointer}".strip()
        return (
            f"{self.stage}: {place}: recorded {_short(self.recorded)}, "
            f"replayed {_short(self.replayed)}"
        )


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of running a request again.

    `reproduced` outputs are identical; `accepted` are the subjects taken as recorded; `pending`
    the inputs that no stage has dealt with yet. Of an `erased` request what was, is not there to
    be run; what came after, if it was submitted again, is. `erased_documents` are those whose
    erasure took what the request made of them: what stands before it is run, and no more.
    """

    events: int
    reproduced: int
    accepted: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    erased: bool = False
    erased_documents: tuple[str, ...] = ()
    divergences: tuple[Divergence, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "identical": self.identical,
            "events": self.events,
            "reproduced": self.reproduced,
            "accepted": self.accepted,
            "pending": self.pending,
            "erased": self.erased,
            "erased_documents": self.erased_documents,
            "divergences": [one.to_json() for one in self.divergences],
        }

    @property
    def identical(self) -> bool:
        """Whether nothing diverged."""
        return not self.divergences

    @property
    def first(self) -> Divergence | None:
        """The first divergence in the order of the log."""
        return self.divergences[0] if self.divergences else None


def _short(value: Any, limit: int = 160) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[:limit]}…"
