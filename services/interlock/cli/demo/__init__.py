"""`interlock demo`: what the system promises, shown and checked on a throw-away installation."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from interlock.cli.demo.scene import Scene, exit_status, play_all
from interlock.cli.demo.screen import JsonScreen, Screen, TextScreen
from interlock.runtime.errors import UserError

EXAMPLE = Path("examples/support")
ACK_WAIT_S = 2.0
"""Short, so that a killed executor's action is redelivered soon; 10 s is the usual."""
LATENCY_MS = 800
"""How long the shop's provider takes to answer after it has booked: time to be killed in."""
INTERRUPTED = 130


async def run_demo(json_: bool) -> int:
    """Play all scenes. Exit status 0: everything claimed was checked and held; 130: interrupted."""
    screen: Screen = JsonScreen() if json_ else TextScreen()
    screen.begin()
    _go_to_example()
    with _interruptible() as interrupted:
        try:
            return await _run(screen)
        except asyncio.CancelledError:
            if not interrupted:
                raise
            return INTERRUPTED
        finally:
            screen.close()


async def _run(screen: Screen) -> int:
    start = time.perf_counter()
    await asyncio.sleep(0)  # an interruption counts from here on
    with tempfile.TemporaryDirectory(prefix="interlock-demo-", ignore_cleanup_errors=True) as name:
        state = Path(name)
        scenes = await _play(state, screen)
        if exit_status(scenes):
            _last_words(state, sys.stderr)
    screen.end(scenes, time.perf_counter() - start)
    return exit_status(scenes)


async def _play(state: Path, screen: Screen) -> list[Scene]:
    # Imported here: it takes a second, and by now the reader knows what is being waited for.
    from interlock.cli.demo.scenes import SCRIPTS
    from interlock.cli.demo.world import EXECUTOR, Books, connected
    from interlock.cli.system import System
    from interlock.runtime import telemetry
    from interlock.runtime.settings import Settings

    for name in [name for name in os.environ if name.startswith("INTERLOCK_")]:
        del os.environ[name]  # the demo is about an installation of its own, whatever is set here
    (state / "logs").mkdir()
    settings = Settings(state=state, bundle=EXAMPLE / "misbehaving.yaml", ack_wait=ACK_WAIT_S)
    database = state / "shop.sqlite"
    shop = {"SHOP_DATABASE": str(database), "SHOP_LATENCY_MS": str(LATENCY_MS)}
    screen.progress("starting the broker and six services")
    async with contextlib.AsyncExitStack() as stack:
        log = stack.enter_context((state / "logs" / "demo.log").open("w"))
        telemetry.configure_logs("error", log)  # the screen is for the scenes
        system = await stack.enter_async_context(
            System(settings, scale={EXECUTOR: 1}, environment=shop)
        )
        world = await stack.enter_async_context(
            connected(settings, system, Books(database), screen.progress)
        )
        scenes = await play_all(SCRIPTS, world, screen.show)
        screen.progress("stopping")
    return scenes


def _go_to_example() -> None:
    """Work where the example is: here, or in the source tree this runs from."""
    source = Path(__file__).parents[4]
    for folder in (Path.cwd(), source):
        if (folder / EXAMPLE / "misbehaving.yaml").is_file():
            os.chdir(folder)
            return
    raise UserError(f"the demo plays {EXAMPLE}: run it in Interlock's source tree")


@contextlib.contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM cancel the demo once, so that it cleans up; which ones came."""
    loop, task, came = asyncio.get_running_loop(), asyncio.current_task(), list[int]()

    def interrupt(number: int) -> None:
        if not came and task is not None:
            task.cancel()
        came.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, interrupt, number)
    try:
        yield came
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _last_words(state: Path, to: TextIO) -> None:
    """What the services logged, where something did not happen: the folder is about to go."""
    for path in sorted((state / "logs").glob("*.log")):
        lines = path.read_text(errors="replace").splitlines()[-5:]
        print(*(f"{path.name}: {line}" for line in lines), sep="\n", file=to)
