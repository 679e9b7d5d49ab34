"""Which contents may be gone: those that an order on record says were erased or have expired."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from interlock.audit_sink.database import Database

CUSTODY = "interlock.custody.v1"
"""Type of the events that say what was done to the record itself."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """An order that contents of these events of a tenant, logged before `until`, go."""

    tenant: str
    until: datetime
    events: frozenset[str]


@dataclass(frozen=True, slots=True)
class Gone:
    """The orders, by what they name: erased (tenant, request, pseudonym), and expiries."""

    erased: set[tuple[str, str, str]] = field(default_factory=set)
    expiries: list[Expiry] = field(default_factory=list)

    @classmethod
    def of(cls, database: Database) -> "Gone":
        """The orders in a store; raises `ValueError` for one that cannot be read."""
        gone = cls()
        for tenant, request_id, text in database.rows(
            "SELECT tenant, request_id, facets FROM events WHERE type = ?", (CUSTODY,)
        ):
            facets: dict[str, list[str]] = json.loads(text)
            if "erased" in facets.get("act", ()):
                gone.erased.update((tenant, request_id, whose) for whose in facets["whose"])
            elif "expired" in facets.get("act", ()) and facets.get("until"):
                until = datetime.fromisoformat(facets["until"][0])
                gone.expiries.append(Expiry(tenant, until, frozenset(facets.get("class", ()))))
        return gone

    def why(
        self, type_: str, tenant: str, request_id: str, logged_at: str, data_subject: str
    ) -> Literal["erased", "expired"] | None:
        """By what order the content of such a record may be gone; None: by none."""
        if (tenant, request_id, data_subject) in self.erased:
            return "erased"
        event = type_.split(".")[1] if type_.count(".") > 1 else type_
        expired = any(
            expiry.tenant == tenant
            and event in expiry.events
            and datetime.fromisoformat(logged_at) < expiry.until
            for expiry in self.expiries
        )
        return "expired" if expired else None
