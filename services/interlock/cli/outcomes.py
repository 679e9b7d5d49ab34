"""How requests ended under each bundle."""

from collections import Counter
from dataclasses import dataclass, field

from interlock.bundles.errors import BundleRefused, BundleUnknown
from interlock.cli.operator import Desk, desk
from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings
from interlock_contracts.activation import NO_TENANT, POINTER
from interlock_contracts.answer import Answer
from interlock_contracts.event import InvalidEvent

SHOWN = 5
"""The most frequent failure codes of a bundle that are told."""


@dataclass
class Outcomes:
    """What came of the requests that one bundle decided; counts by status and by failure code."""

    bundle: str
    name: str
    endings: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """How many ended."""
        return sum(self.endings.values())


async def outcomes_since(settings: Settings, number: int | None) -> list[Outcomes]:
    """Per bundle, the answers logged after activation `number`, or after the last one.

    Raises `UserError` where there is no such activation.
    """
    async with desk(settings) as at:
        wanted = f"{at.log.cell}.activated.{NO_TENANT}.{POINTER}.{number or '*'}"
        start = await at.log.fetch({"last_by_subj": wanted})
        if start is None:
            raise UserError(f"there is no activation {number}" if number else "none is active yet")
        return await _outcomes(at, start.sequence + 1)


async def _outcomes(at: Desk, sequence: int) -> list[Outcomes]:
    endings: dict[str, Counter[str]] = {}
    failures: dict[str, Counter[str]] = {}
    query = {"seq": sequence, "next_by_subj": f"{at.log.cell}.answer.>"}
    while (found := await at.log.fetch(query)) is not None:
        query["seq"] = found.sequence + 1
        try:
            answer = found.event().data
        except InvalidEvent:
            continue
        if isinstance(answer, Answer) and answer.bundle is not None:
            endings.setdefault(answer.bundle, Counter())[answer.status.value] += 1
            codes = {failure.code.value for failure in answer.failures}
            failures.setdefault(answer.bundle, Counter()).update(codes)
    return [
        Outcomes(
            digest, await _name(at, digest), dict(counts), dict(failures[digest].most_common(SHOWN))
        )
        for digest, counts in endings.items()
    ]


async def _name(at: Desk, digest: str) -> str:
    try:
        bundle = await at.store.get(digest)
    except (BundleRefused, BundleUnknown):
        return digest[:19]
    return f"{bundle.name} {bundle.version} ({digest[:19]}…)"
