"""Replay processes: starting them, feeding them, and answering what they may ask."""

import asyncio
import json
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from interlock.bundles.errors import BundleError, BundleRefused, BundleUnknown
from interlock.replay.message import LogMessage
from interlock.replay.wire import down, read_up
from interlock.runtime.errors import UserError
from interlock.runtime.stage import Bundles
from interlock_contracts.canonical import canonical_json

Answer = Callable[[Any], Awaitable[Any]]
"""Answers one kind of question that a worker may ask, with JSON values."""

_BOOT = (
    "import json,sys;sys.path[:]=json.loads(sys.argv[1])['path'];"
    "from interlock.replay.worker import main;main()"
)
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""All of a replay process's environment: no address, no credential, no tool's secret."""

_JOBS = 8
"""Requests in one frame: few enough that two processes end at about the same time."""

_PATIENCE_S = 300.0


class Replayer:
    """One replay process."""

    def __init__(self, process: asyncio.subprocess.Process, answers: dict[str, Answer]) -> None:
        self._process = process
        self._answers = answers
        self.layers: list[str] = []

    async def begin(self) -> None:
        """Wait until it is shut in; raises `UserError` if it cannot be."""
        first = await self._frame()
        if "ready" not in first:
            raise UserError(f"a replay process did not start: {first.get('broken', 'it ended')}")
        self.layers = first["ready"]

    async def run(self, jobs: list[list[LogMessage]]) -> list[dict[str, Any]]:
        """What it found of each of these requests."""
        await self._send([(one[0].request_id, [each.packed() for each in one]) for one in jobs])
        found: list[dict[str, Any]] = []
        while len(found) < len(jobs):
            found.append(await self._frame())
        return found

    async def _frame(self) -> dict[str, Any]:
        """The next frame that is no question."""
        assert self._process.stdout is not None
        while True:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    frame = await read_up(self._process.stdout)
            except TimeoutError:
                raise UserError("a replay process is stuck in a stage") from None
            if frame is None:
                raise UserError("a replay process ended in the middle of a request")
            if "ask" not in frame:
                return frame
            answer = self._answers.get(str(frame["ask"]))
            await self._send(None if answer is None else await answer(frame.get("what")))

    async def _send(self, value: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(down(value))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise UserError("a replay process ended in the middle of a request") from None


@asynccontextmanager
async def replayers(
    config: dict[str, Any], answers: dict[str, Answer], count: int
) -> AsyncIterator[list[Replayer]]:
    """So many processes with this configuration, ended at the end."""
    told = json.dumps({"path": [one or "." for one in sys.path], **config})
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-c", _BOOT, told,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_ENVIRONMENT,
                limit=1 << 20,
            )  # fmt: skip
            stack.push_async_callback(_end, process)
            found.append(Replayer(process, answers))
        await asyncio.gather(*(one.begin() for one in found))
        yield found


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode is None:
        process.kill()
    await process.wait()


async def results(
    requests: AsyncIterable[list[LogMessage]], workers: list[Replayer]
) -> AsyncIterator[dict[str, Any]]:
    """What the workers found, in the order of the requests; a bounded number is in work."""
    free: asyncio.Queue[Replayer] = asyncio.Queue()
    for worker in workers:
        free.put_nowait(worker)
    running: list[asyncio.Task[list[dict[str, Any]]]] = []

    async def one(worker: Replayer, jobs: list[list[LogMessage]]) -> list[dict[str, Any]]:
        try:
            return await worker.run(jobs)
        finally:
            free.put_nowait(worker)

    try:
        async for jobs in _chunks(requests):
            running.append(asyncio.create_task(one(await free.get(), jobs)))
            while running and (running[0].done() or len(running) > 4 * len(workers)):
                for found in await running.pop(0):
                    yield found
        while running:
            for found in await running.pop(0):
                yield found
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _chunks(
    requests: AsyncIterable[list[LogMessage]],
) -> AsyncIterator[list[list[LogMessage]]]:
    chunk: list[list[LogMessage]] = []
    async for request in requests:
        chunk.append(request)
        if len(chunk) == _JOBS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def bundle_answer(bundles: Bundles) -> Answer:
    """Answers for bundles: by digest, or the active one for None; None where there is none."""

    async def answer(digest: Any) -> str | None:
        try:
            found = bundles.active() if digest is None else await bundles.get(str(digest))
        except (BundleUnknown, BundleError, BundleRefused, UserError):
            return None
        return canonical_json(found).decode()

    return answer
