"""Which bundle requests start on: the activation, what it rested on, and a candidate's shadow."""

import hashlib
from typing import Literal

from pydantic import Field

from interlock_contracts.base import CleanText, Digest, Model, Name, RequestId, Token
from interlock_contracts.failures import FailureCode
from interlock_contracts.verdict import Decision

NO_TENANT = "_"
"""In the subject of an event that is about the whole cell, in the place of the tenant."""

POINTER = "bundle"
"""In the subject of an activation, in the place of the request; the step is its number."""

How = Literal["up", "activate", "rollback", "canary", "promote", "shadow"]
"""What an operator did: `up` is `interlock up` with a folder, the others are commands."""


class Canary(Model):
    """A bundle that some requests start on: those of `tenants`, and a `share` of all others."""

    bundle: Digest
    share: float = Field(default=0.0, ge=0, le=1)
    tenants: tuple[Token, ...] = ()

    def takes(self, tenant: str, request_id: str) -> bool:
        """Whether this request is one of them.

        The same request always is or is not, and a larger share keeps those of a smaller one.
        """
        if tenant in self.tenants:
            return True
        hashed = hashlib.sha256(f"{self.bundle}\0{request_id}".encode()).digest()
        return int.from_bytes(hashed[:8]) < self.share * 2**64


class Acceptance(Model):
    """One service's word before an activation: it has loaded the bundle and it works there."""

    service: Token
    instance: Token
    milliseconds: int = Field(ge=0)


class Activation(Model):
    """What new requests start on from here on, and why. The whole state: the last one holds.

    `bundle` is for every request that `canary` does not take. `shadow` is judged beside, and
    decides nothing. `previous` is the `bundle` of the activation before. `evaluations` are the
    ids of the `evaluated` events that the bundle's gates, or the operator, asked for.
    """

    number: int = Field(ge=1)
    how: How
    bundle: Digest
    name: Name
    version: CleanText
    previous: Digest | None = None
    canary: Canary | None = None
    shadow: Digest | None = None
    by: Name
    reason: CleanText
    accepted: tuple[Acceptance, ...] = ()
    evaluations: tuple[Token, ...] = ()

    @property
    def bundles(self) -> tuple[str, ...]:
        """Every bundle that requests start on."""
        return (self.bundle, self.canary.bundle) if self.canary else (self.bundle,)

    def start(self, tenant: str, request_id: str) -> str:
        """The digest of the bundle this request starts on."""
        if self.canary is not None and self.canary.takes(tenant, request_id):
            return self.canary.bundle
        return self.bundle


class Evaluation(Model):
    """How a bundle did on a gold set. `gold` is the digest of the file's bytes.

    `failed` names the cases that did not come out as they should, at most 1,000 of them.
    """

    bundle: Digest
    gold: Digest
    gold_name: Name
    cases: int = Field(ge=1)
    passed: int = Field(ge=0)
    failed: tuple[Name, ...] = Field(default=(), max_length=1_000)
    by: Name

    @property
    def rate(self) -> float:
        """The share of cases that passed."""
        return self.passed / self.cases


class ShadowVerdict(Model):
    """What the gate would have decided of a proposal under the shadow bundle. It decided nothing.

    `codes` are those of the violations found, sorted, each once. Without a `candidate_decision`
    there was none to be had: `candidate_codes` say why.
    """

    request_id: RequestId
    bundle: Digest
    candidate: Digest
    decision: Decision
    codes: tuple[FailureCode, ...] = ()
    candidate_decision: Decision | None = None
    candidate_codes: tuple[FailureCode, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the candidate decides otherwise, or for other reasons."""
        return (self.decision, self.codes) != (self.candidate_decision, self.candidate_codes)
