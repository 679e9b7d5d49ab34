"""Evaluations on record: what an activation may rest on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interlock.runtime.errors import UserError
from interlock_contracts.activation import NO_TENANT, Evaluation
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.event import Event

if TYPE_CHECKING:
    from interlock.cli.operator import Desk


async def of_bundle(at: "Desk", digest: str) -> list[tuple[Event, Evaluation]]:
    """Every evaluation of a bundle that is on record, oldest first."""
    pattern = f"{at.log.cell}.evaluated.{NO_TENANT}.{digest.removeprefix('sha256:')}.*"
    events = [message.event() async for message in at.log.matching(pattern)]
    return [(one, one.data) for one in events if isinstance(one.data, Evaluation)]


async def required(at: "Desk", digest: str, gold: Sequence[Path]) -> list[str]:
    """The ids of the evaluations that let a bundle be activated.

    Raises:
        UserError: one that the bundle's own gates, or the operator, ask for is missing, or the
            last one of its gold set has not passed.
    """
    bundle = await at.store.get(digest)
    wanted = {gate.gold: (gate.name, gate.pass_rate) for gate in bundle.gates.evals}
    for path in gold:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        wanted.setdefault(digest_bytes(data), (path.name, 1.0))
    if not wanted:
        return []
    standing = {found.gold: (event, found) for event, found in await of_bundle(at, digest)}
    ids = []
    for set_, (name, rate) in wanted.items():
        if set_ not in standing:
            raise UserError(
                f"{bundle.name} {bundle.version} has not been evaluated on {name}: "
                f"interlock eval run --bundle {digest[:19]} --gold {name}"
            )
        event, found = standing[set_]
        if found.rate < rate:
            raise UserError(
                f"{bundle.name} {bundle.version} passed {found.passed} of {found.cases} cases of "
                f"{name}; {rate:.0%} are asked for. Failed: {', '.join(found.failed[:5])}"
            )
        ids.append(event.id)
    return ids
