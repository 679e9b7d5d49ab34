"""What the shadow bundle would have decided, told to whoever asks."""

from collections import Counter

from rich.table import Table

from interlock.cli.common import out, print_json
from interlock.cli.operator import desk
from interlock.runtime.bundles import pointer
from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings
from interlock_contracts.activation import ShadowVerdict
from interlock_contracts.verdict import Decision

_STRICTNESS = {
    Decision.APPROVE: 0,
    Decision.ANSWER: 0,
    Decision.CONFIRM: 1,
    Decision.REVIEW: 2,
    Decision.REPAIR: 3,
    Decision.REFUSE: 4,
}


async def report(settings: Settings, json_: bool) -> None:
    """The flips of the shadow that runs, those it would have let through first."""
    async with desk(settings) as at:
        now = await pointer.last(at.log)
        if now is None or now.shadow is None:
            raise UserError("no bundle is judged beside: `interlock bundle shadow BUNDLE` begins")
        found = [
            data
            async for message in at.log.matching(f"{at.log.cell}.shadow.>")
            if isinstance(data := message.event().data, ShadowVerdict)
            and data.candidate == now.shadow
        ]
    flips = sorted((one for one in found if one.differs), key=_looser_first)
    if json_:
        for one in flips:
            print_json(one.model_dump(mode="json"))
        print_json({"candidate": now.shadow, "judged": len(found), "differ": len(flips)})
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("request", "decided", "because", "shadow", "because"):
        table.add_column(column, overflow="fold")
    for one in flips:
        table.add_row(
            one.request_id,
            one.decision,
            ", ".join(one.codes),
            one.candidate_decision or "could not",
            ", ".join(one.candidate_codes),
        )
    if flips:
        out.print(table)
    kinds = Counter(f"{one.decision} → {one.candidate_decision or 'could not'}" for one in flips)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    out.print(f"{len(found)} judged beside, {len(flips)} differ{f': {told}' if told else ''}")


def _looser_first(one: ShadowVerdict) -> int:
    """How much stricter the shadow is: what it would have let through comes first."""
    if one.candidate_decision is None:
        return len(_STRICTNESS)
    return _STRICTNESS[one.candidate_decision] - _STRICTNESS[one.decision]
