"""`demo`, `up` and `serve`: running things."""

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.common import (
    BundleOption,
    JsonOption,
    StateOption,
    err,
    last_folder,
    out,
    print_json,
    running_bundle,
)
from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings, load_settings
from interlock_contracts.table import SERVICES

if TYPE_CHECKING:
    from interlock.cli.system import System
    from interlock_contracts.activation import Activation


def serve(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.")],
    state: StateOption = None,
    bundle: BundleOption = None,
    http_port: Annotated[
        int | None, typer.Option(help="Serve /live, /ready and /metrics here; 0: any port.")
    ] = None,
) -> None:
    """Run one service against a broker that already runs, until SIGTERM; then drain."""
    from interlock.cli.system import wire_of
    from interlock.runtime.main import serve as serve_until_signalled

    if name not in SERVICES:
        raise UserError(f"no service is called {name!r}; there are {', '.join(SERVICES)}")
    settings = load_settings(Settings, state=state, bundle=bundle, http_port=http_port)
    serve_until_signalled(name, wire_of(name), settings)


def up(
    processes: Annotated[
        bool, typer.Option("--processes", help="One process per service instead of one for all.")
    ] = False,
    scale: Annotated[
        list[str] | None,
        typer.Option(help="NAME=COUNT processes of a service, e.g. retriever=3; repeatable."),
    ] = None,
    state: StateOption = None,
    bundle: BundleOption = None,
    json_: JsonOption = False,
) -> None:
    """Bring up the broker and the six services, until Ctrl-C; says where things are."""
    import uvloop

    from interlock.cli.system import System

    settings = load_settings(Settings, state=state, bundle=bundle)
    given = "bundle" in settings.model_fields_set
    system = System(
        settings if given else last_folder(settings),
        processes=processes,
        scale=_counts(scale or []),
        given=given,
    )
    uvloop.run(_up(system, json_))


async def _up(system: "System", json_: bool) -> None:
    from interlock.runtime import telemetry

    settings = system.settings
    telemetry.configure_logs("warning" if settings.log_level == "info" else settings.log_level)
    telemetry.configure_traces(settings, "up")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if not json_:
        err.print("starting …", style="dim")
    async with system:
        running_bundle(settings.state).write_text(f"{settings.bundle.resolve()}\n")
        where = {
            "broker": system.broker.url,
            "state": str(settings.state.resolve()),
            "credentials": str((settings.state / "credentials").resolve()),
            "bundle": _running(system.active),
            "folder": str(settings.bundle),
            "tenants": list(settings.tenants),
            "services": {str(name): len(workers) for name, workers in system.workers.items()},
        }
        if json_:
            print_json({"ready": True, **where})
        else:
            out.print("[bold green]Interlock is up.[/] Ctrl-C stops it.")
            for key, value in where.items():
                shown = ", ".join(map(str, value)) if isinstance(value, list | dict) else value
                out.print(f"  {key:<12} {shown}", markup=False)
            if note := _passed_over(system):
                out.print(f"  {'note':<12} {note}", markup=False)
            out.print('  try          interlock ask "…"', markup=False)
        failed = asyncio.create_task(system.failed.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((failed, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        failed.cancel()
        if not json_:
            err.print("stopping …", style="dim")
    if not stop.is_set():
        raise UserError("a service or the broker died too often; its log says why")


def _running(active: "Activation | None") -> str:
    assert active is not None
    return f"{active.name} {active.version}, {active.bundle}, activation {active.number}"


def _passed_over(system: "System") -> str | None:
    """What is to be said where the folder's bundle is not what requests start on."""
    from interlock.bundles.compile import compile_bundle
    from interlock.bundles.errors import BundleError

    active = system.active
    try:
        folder = compile_bundle(system.settings.bundle)
    except BundleError:
        return f"{system.settings.bundle} does not compile: interlock bundle check"
    if active is None or folder.digest == active.bundle:
        return None
    return (
        f"the folder holds {folder.name} {folder.version}, which is not active: "
        f"interlock bundle activate {folder.digest[7:19]} --reason …"
    )


def _counts(scale: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in scale:
        name, equals, count = item.partition("=")
        if name not in SERVICES or not equals or not count.isdigit() or int(count) < 1:
            raise UserError(f"--scale {item!r}: want NAME=COUNT with NAME of {', '.join(SERVICES)}")
        counts[name] = int(count)
    return counts


def demo(json_: JsonOption = False) -> None:
    """Everything, end to end, in half a minute: no key, no network, nothing left behind."""
    import uvloop

    from interlock.cli.demo import run_demo

    raise typer.Exit(uvloop.run(run_demo(json_)))
