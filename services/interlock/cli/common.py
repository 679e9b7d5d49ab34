"""What the commands share: options, settings, output, connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from interlock.runtime import telemetry
from interlock.runtime.broker.connect import BrokerClient, connect
from interlock.runtime.broker.credentials import credential_path, load_credential
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog
from interlock.runtime.settings import Settings, load_settings

StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="Folder of the installation. Also INTERLOCK_STATE."),
]
BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", help="Bundle folder or file. Also INTERLOCK_BUNDLE."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON lines for machines.")]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

ResultT = TypeVar("ResultT")


def settings_of(state: Path | None = None, bundle: Path | None = None, **more: Any) -> Settings:
    """The settings, with what the command line says on top; logs only errors.

    A bundle that is not named is the one that `interlock up` last ran on this state.
    """
    settings = load_settings(Settings, state=state, bundle=bundle, **more)
    if "bundle" not in settings.model_fields_set:
        settings = last_folder(settings)
    telemetry.configure_logs("error" if settings.log_level == "info" else settings.log_level)
    return settings


def last_folder(settings: Settings) -> Settings:
    """The settings with the bundle's folder that `interlock up` last ran on this state, if any."""
    running = running_bundle(settings.state)
    if not running.is_file():
        return settings
    return settings.model_copy(update={"bundle": Path(running.read_text().strip())})


def running_bundle(state: Path) -> Path:
    """The file in which `interlock up` notes the path of its bundle."""
    return state / "bundle-path"


def run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a command's coroutine to its end."""
    return asyncio.run(work)


@contextmanager
def embedding_shown() -> Iterator[None]:
    """While passages are embedded inside, if any are, a bar on the terminal says how far it is."""
    from interlock.retriever.models.remembering import watched

    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("embedding", visible=False)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        with watched(show):
            yield


def print_json(value: Any) -> None:
    """One JSON value on one line of standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=str))


@asynccontextmanager
async def connected(settings: Settings, user: str) -> AsyncIterator[BrokerClient]:
    """A connection with one of the installation's credentials."""
    path = settings.credential or credential_path(settings.state, user)
    if not path.exists():
        raise UserError(
            f"no credential at {path}: `interlock up` makes them; "
            "--state or INTERLOCK_STATE says in which folder"
        )
    credential = load_credential(path)
    client = await connect(settings.url, credential, name=f"cli-{user}")
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def operator_log(settings: Settings) -> AsyncIterator[tuple[BrokerClient, JetStreamLog]]:
    """The log, as the operator reads it."""
    async with connected(settings, "operator") as client:
        yield client, JetStreamLog(client, settings.cell)
