"""`deploy`: what an installation of several machines or containers needs before it starts."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.common import (
    BundleOption,
    JsonOption,
    StateOption,
    connected,
    out,
    print_json,
    run,
    settings_of,
)
from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings
from interlock_contracts.table import BUNDLED, SERVICES, Actor

if TYPE_CHECKING:
    from interlock.runtime.broker.topology import Topology

app = typer.Typer(
    help="Files and streams for an installation whose parts run apart.", no_args_is_help=True
)

TenantsOption = Annotated[
    str | None, typer.Option(help="Tenants, comma-separated. [env: INTERLOCK_TENANTS]")
]

VAULT = "vault"
"""The folder with every seed and key; nothing that runs needs to see it."""

CLIENTS = "clients"
"""The folder of those who use the installation: producers, reviewers, the operator, replay."""


@app.command()
def init(
    state: StateOption = None,
    tenants: TenantsOption = None,
    listen: Annotated[str, typer.Option(help="Where the broker listens.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, typer.Option(min=1, max=65_535, help="On which port.")] = 4222,
    http_port: Annotated[
        int, typer.Option(min=1, max=65_535, help="And where it tells how it is.")
    ] = 8222,
    store: Annotated[str, typer.Option(help="Where the broker keeps its data.")] = "/data",
    json_: JsonOption = False,
) -> None:
    """Write the broker's configuration, every credential and every key.

    Each part gets a folder of its own below STATE, to be mounted where it runs: it holds that
    part's credential and nobody else's. Run again, it keeps the keys that are there.
    """
    from interlock.runtime.broker.config import CONFIG_FILE, Listen, write_config
    from interlock.runtime.keys import make_keys

    settings = settings_of(state, tenants=tenants)
    root, vault = settings.state, settings.state / VAULT
    topology = _topology(settings)
    try:
        _folder(vault)
        config = root / "broker" / CONFIG_FILE
        write_config(config, vault, topology, Listen(listen, port, http_port), store)
        make_keys(vault)
        folders = _hand_out(root, vault, settings.tenants)
    except OSError as error:
        raise UserError(f"{error.filename or root} cannot be written ({error.strerror})") from None
    if json_:
        print_json({"config": str(config), "folders": folders})
        return
    out.print(f"{'broker':<20} {config}", markup=False)
    for name, held in folders.items():
        out.print(f"{name:<20} {', '.join(held)}", markup=False)


def _hand_out(root: Path, vault: Path, tenants: tuple[str, ...]) -> dict[str, list[str]]:
    """Give every part its own folder; what each one holds, by its name."""
    from interlock.runtime.broker.permissions import ERASER, PROVISIONER, REPLAY
    from interlock.runtime.keys import BUNDLES, further_keys, signing_key_path, trusted_keys_path

    users = [
        f"{actor}-{tenant}" for tenant in tenants for actor in ("producer", "reviewer", "ingest")
    ]
    held = {name: [f"credentials/{name}.nk"] for name in (PROVISIONER, ERASER, *SERVICES)}
    held[CLIENTS] = [f"credentials/{name}.nk" for name in (*users, Actor.OPERATOR.value, REPLAY)]
    gate = root / Actor.CONTRACT_VALIDATOR
    further = [path.relative_to(vault) for path in further_keys(vault)]
    for path in further_keys(gate):
        if path.relative_to(gate) not in further:  # it was retired
            path.unlink()
    held[Actor.CONTRACT_VALIDATOR] += [str(signing_key_path(Path())), *map(str, further)]
    held[Actor.TOOL_EXECUTOR].append(str(trusted_keys_path(Path())))
    held[CLIENTS].append(str(signing_key_path(Path(), BUNDLES)))
    for name in (*BUNDLED, Actor.TOOL_EXECUTOR, CLIENTS):
        held[name].append(str(trusted_keys_path(Path(), BUNDLES)))
    for name, files in held.items():
        for file in files:
            _place(vault / file, root / name / file)
    return held


def _place(source: Path, target: Path) -> None:
    """Copy whole or not at all, readable by its owner only."""
    _folder(target.parent)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(source.read_bytes())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


def _topology(settings: Settings) -> "Topology":
    from interlock.runtime.broker.topology import Topology

    try:
        return Topology(cell=settings.cell, tenants=settings.tenants)
    except ValueError as error:
        raise UserError(str(error)) from None


@app.command()
def provision(
    state: StateOption = None, tenants: TenantsOption = None, json_: JsonOption = False
) -> None:
    """Make the stream and the consumers what they should be, on the broker that runs.

    With the provisioner's credential, which no service has. Run again, it compares, and mends
    what can be mended without losing anything.
    """
    from interlock.runtime.broker.permissions import PROVISIONER
    from interlock.runtime.broker.provision import ConsumerSettings, Report
    from interlock.runtime.broker.provision import provision as make

    settings = settings_of(state, tenants=tenants)

    async def work() -> Report:
        async with connected(settings, PROVISIONER) as client:
            consumer = ConsumerSettings(ack_wait=settings.ack_wait, max_ack_pending=4096)
            return await make(client, _topology(settings), consumer=consumer)

    report = run(work())
    if json_:
        shown = {"created": report.created, "updated": report.updated}
        print_json({**shown, "unchanged": report.unchanged})
        return
    for what in report.created:
        out.print(f"created    {what}", markup=False)
    for what, changes in report.updated.items():
        out.print(f"updated    {what}: {'; '.join(changes)}", markup=False)
    out.print(f"unchanged  {len(report.unchanged)}", markup=False)


@app.command()
def activate(
    bundle: BundleOption = None, state: StateOption = None, json_: JsonOption = False
) -> None:
    """Push a folder's bundle and activate it, unless that was done before.

    With the operator's credential. Run at every deployment: what has been rolled back stays so
    until the folder says something new.
    """
    from interlock.cli.operator import activate_folder

    settings = settings_of(state, bundle)
    reason = f"interlock deploy activate --bundle {settings.bundle}"
    now = run(activate_folder(settings, given=True, reason=reason))
    if json_:
        print_json(now.model_dump(mode="json"))
    else:
        out.print(f"{now.number}: {now.name} {now.version} ({now.bundle})", markup=False)
