"""`audit expire`, `hold`, `release`, `holds`: what may be done to the record itself."""

import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from interlock.cli.common import (
    JsonOption,
    StateOption,
    connected,
    err,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.broker.permissions import ERASER
from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings

if TYPE_CHECKING:
    from interlock.audit_sink.custody import Custodian

Reason = Annotated[str, typer.Option(help="Why; kept in the audit log.")]
By = Annotated[str | None, typer.Option(help="Who orders it. Default: the user of this system.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def expire(
    policy: Annotated[
        Path, typer.Option(help="YAML: tenant (or '*') → event or class of events → days to keep.")
    ],
    by: By = None,
    dry_run: DryRun = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Take out contents that are older than the policy keeps them. Run it as often as you like."""
    periods = read_policy(policy)
    with err.status("expiring"):
        done = run(_expire(settings_of(state), periods, who(by), dry_run=dry_run))
    for tenant, event, count in done:
        if json_:
            print_json({"tenant": tenant, "events": event, "expired": count, "dry_run": dry_run})
        else:
            out.print(f"{tenant}: {count} contents of {event}", markup=False)


def hold(
    tenant: Annotated[str, typer.Option(help="The tenant whose contents must stay.")],
    user: Annotated[str | None, typer.Option(help="Only this person's.")] = None,
    reason: Reason = "",
    by: By = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """A legal hold: until it is released nothing of it is erased and nothing expires."""

    async def work() -> str:
        async with custodian(settings_of(state)) as given:
            return await given.hold(tenant, user, who(by), reason)

    id_ = run(work())
    if json_:
        print_json({"hold": id_})
    else:
        out.print(f"held: {id_}", markup=False)


def release(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `audit holds` prints it.")],
    reason: Reason = "",
    by: By = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """End a legal hold."""

    async def work() -> str:
        async with custodian(settings_of(state)) as given:
            return (await given.release(id_, who(by), reason)).tenant

    tenant = run(work())
    if json_:
        print_json({"released": id_, "tenant": tenant})
    else:
        out.print(f"released: {id_} of {tenant}", markup=False)


def holds(
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "*",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """The legal holds that stand."""

    async def work() -> list[dict[str, Any]]:
        async with custodian(settings_of(state)) as given:
            return [
                {
                    "hold": one.id,
                    "tenant": one.tenant,
                    "data_subject": one.order.data_subject,
                    "by": one.order.by,
                    "reason": one.order.reason,
                    "since": one.since.isoformat(),
                }
                for one in await given.holds(tenant)
            ]

    for one in run(work()):
        if json_:
            print_json(one)
            continue
        whose = one["data_subject"] or "everybody"
        words = (one["hold"], one["tenant"], whose, one["since"], one["by"], one["reason"])
        out.print("  ".join(words), markup=False)


def put_export_on_record(settings: Settings, tenant: str, reason: str) -> None:
    """Say on the log that contents are given away readable."""

    async def work() -> None:
        async with custodian(settings) as given:
            await given.exported(tenant, who(None), reason)

    run(work())


def read_policy(path: Path) -> dict[str, dict[str, timedelta]]:
    """Tenant → event → how long its contents are kept; raises `UserError` for what is no policy."""
    from interlock.audit_sink.custody import CLASSES
    from interlock.audit_sink.overwriting import KEPT
    from interlock_contracts.documents import DOCUMENT
    from interlock_contracts.table import EVENT

    try:
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"the policy {path} cannot be read ({type(error).__name__})") from None
    if not isinstance(stated, dict) or not all(isinstance(one, dict) for one in stated.values()):
        raise UserError(f"{path}: tenants (or '*'), and below each a class or event and its days")
    known = {**CLASSES, **{name: (name,) for name in EVENT if name not in KEPT | {DOCUMENT}}}
    found: dict[str, dict[str, timedelta]] = {}
    for tenant, periods in stated.items():
        kept = found.setdefault(str(tenant), {})
        # An event's own period wins over that of its class.
        for name, days in sorted(periods.items(), key=lambda one: one[0] not in CLASSES):
            if name not in known:
                raise UserError(f"{path}: {name!r} is none of {', '.join(sorted(known))}")
            if isinstance(days, bool) or not isinstance(days, int) or days < 1:
                raise UserError(f"{path}: {name} of {tenant} is to be kept 1 day or more")
            kept.update(dict.fromkeys(known[name], timedelta(days=days)))
    return found


async def _expire(
    settings: Settings, policy: dict[str, dict[str, timedelta]], by: str, *, dry_run: bool
) -> list[tuple[str, str, int]]:
    done, now = [], datetime.now(UTC)
    async with custodian(settings) as given:
        late = 0 if dry_run else await given.sweep()
        if late:
            done.append(("erased requests", "whatever came in late", late))
        for tenant in given.tenants():
            periods = {**policy.get("*", {}), **policy.get(tenant, {})}
            for period in sorted(set(periods.values())):
                events = sorted(name for name, one in periods.items() if one == period)
                try:
                    count = await given.expire(tenant, events, now - period, by, dry_run=dry_run)
                except UserError as error:
                    err.print(str(error), style="yellow", markup=False)
                    break
                done.append((tenant, ", ".join(events), count))
    return done


@asynccontextmanager
async def custodian(settings: Settings) -> "AsyncIterator[Custodian]":
    """With the audit store, its keys, and the eraser's credential; raises `UserError`."""
    from interlock.audit_sink.custody import Custodian
    from interlock.audit_sink.places import open_for_custody

    with open_for_custody(settings) as (database, keys):
        async with connected(settings, ERASER) as client:
            yield Custodian(client, settings.cell, database, keys)


def who(by: str | None) -> str:
    """Who orders it: as given, or the user of this system."""
    return by or getpass.getuser()
