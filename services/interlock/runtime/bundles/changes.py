"""What an operator may change: each from the activation that holds to the one that shall."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from interlock.runtime.errors import UserError
from interlock_contracts.activation import Activation, Canary, How


class Change(Protocol):
    """One change. Name, version, author and reason are filled in by whoever makes it."""

    def over(self, before: Activation | None) -> Activation:
        """The activation after `before`; raises `UserError` where that makes no sense."""


def _next(how: How, bundle: str, before: Activation | None) -> Activation:
    return Activation(
        number=1 if before is None else before.number + 1,
        how=how,
        bundle=bundle,
        name="-",
        version="-",
        previous=None if before is None else before.bundle,
        shadow=None if before is None or before.shadow == bundle else before.shadow,
        by="-",
        reason="-",
    )


def _standing(before: Activation | None) -> Activation:
    if before is None:
        raise UserError("no bundle is active yet: `interlock bundle activate` is the first step")
    return before


@dataclass(frozen=True, slots=True)
class Activate:
    """For every request; a canary ends. `how` is `up` when `interlock up` does it."""

    digest: str
    how: How = "activate"

    def over(self, before: Activation | None) -> Activation:
        if before is not None and before.bundle == self.digest and before.canary is None:
            raise UserError(f"{self.digest} is active already, by activation {before.number}")
        return _next(self.how, self.digest, before)


@dataclass(frozen=True, slots=True)
class Rollback:
    """Back to `digest`; from a canary, to the bundle that all others start on."""

    digest: str

    def over(self, before: Activation | None) -> Activation:
        standing = _standing(before)
        if standing.bundle == self.digest and standing.canary is None:
            raise UserError(f"{self.digest} is active already, by activation {standing.number}")
        return _next("rollback", self.digest, standing)


@dataclass(frozen=True, slots=True)
class StartCanary:
    """For a share of the requests (0..1), or for some tenants; all others stay where they are."""

    digest: str
    share: float = 0.0
    tenants: Sequence[str] = ()

    def over(self, before: Activation | None) -> Activation:
        standing = _standing(before)
        if standing.bundle == self.digest:
            raise UserError(f"{self.digest} is what every request starts on already")
        canary = Canary(bundle=self.digest, share=self.share, tenants=tuple(self.tenants))
        if canary == standing.canary:
            raise UserError("the same canary runs already")
        if not canary.share and not canary.tenants:
            raise UserError("for whom? give --share, or --tenant")
        return _next("canary", standing.bundle, standing).model_copy(update={"canary": canary})


@dataclass(frozen=True, slots=True)
class Promote:
    """The canary's bundle for every request."""

    def over(self, before: Activation | None) -> Activation:
        standing = _standing(before)
        if standing.canary is None:
            raise UserError("no canary runs; `interlock bundle activate` activates for all")
        return _next("promote", standing.canary.bundle, standing)


@dataclass(frozen=True, slots=True)
class Shadow:
    """Judge `digest` beside; None: no longer."""

    digest: str | None

    def over(self, before: Activation | None) -> Activation:
        standing = _standing(before)
        if standing.shadow == self.digest:
            raise UserError("that is how it is already")
        if self.digest == standing.bundle:
            raise UserError(f"{self.digest} is active: its verdicts are the real ones")
        after = _next("shadow", standing.bundle, standing)
        return after.model_copy(update={"shadow": self.digest, "canary": standing.canary})
