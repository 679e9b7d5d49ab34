"""What the benchmarks share: a driver that submits requests, and what it measured."""

import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from nats.aio.msg import Msg

from interlock.runtime.broker.connect import BrokerClient
from interlock.runtime.commit import EXPECT_NEW, Committed, Committer
from interlock_contracts.ids import new_request_id


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Latencies in milliseconds; CPU in milliseconds a request, by process."""

    name: str
    in_flight: int
    requests: int
    seconds: float
    p50: float
    p99: float
    cpu: dict[str, float]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class Driver:
    """Submits requests and waits for their answers off the log.

    With a `committer` it submits as the SDK's producer does, else one by one as a bare client.
    """

    def __init__(
        self,
        client: BrokerClient,
        body: Callable[[str], dict[str, object]],
        committer: Committer | None = None,
    ) -> None:
        self._client = client
        self._body = body
        self._committer = committer
        self._waiting: dict[str, asyncio.Future[float]] = {}

    async def start(self) -> None:
        """Listen for answers."""
        await self._client.subscribe_checked("ev.answer.acme.>", cb=self._answered)

    async def close(self) -> None:
        """Stop submitting, and leave the broker."""
        if self._committer is not None:
            await self._committer.close()
        await self._client.close()

    async def _answered(self, message: Msg) -> None:
        waiting = self._waiting.pop(message.subject.split(".")[3], None)
        if waiting is not None and not waiting.done():
            waiting.set_result(time.perf_counter())

    async def ask(self) -> float:
        """Submit one request; seconds until its answer stood on the log."""
        request_id = new_request_id()
        done = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        body = json.dumps(self._body(request_id)).encode()
        started = time.perf_counter()
        subject = f"ev.request.acme.{request_id}.0"
        if self._committer is None:
            reply = await self._client.request(subject, body, timeout=30)
            assert b"error" not in reply.data, reply.data
        else:
            outcome = await self._committer.commit_wire([(subject, body, EXPECT_NEW)])
            assert outcome is Committed.NEW
        answered: float = await asyncio.wait_for(done, 60)
        return answered - started


async def measure(
    name: str,
    ask: Callable[[], Awaitable[float]],
    requests: int,
    in_flight: int,
    pids: dict[str, int],
) -> Figures:
    """Keep `in_flight` requests going until `requests` are answered."""
    left = iter(range(requests))
    latencies: list[float] = []

    async def worker() -> None:
        for _ in left:
            latency = await ask()
            latencies.append(latency)

    before = {who: cpu_seconds(pid) for who, pid in pids.items()}
    own = _own_cpu()
    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    seconds = time.perf_counter() - started
    cpu = {who: (cpu_seconds(pid) - before[who]) * 1e3 / requests for who, pid in pids.items()}
    cpu["this process"] = (_own_cpu() - own) * 1e3 / requests
    latencies.sort()
    return Figures(
        name,
        in_flight,
        requests,
        seconds,
        latencies[len(latencies) // 2] * 1e3,
        latencies[int(len(latencies) * 0.99)] * 1e3,
        cpu,
    )


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, in seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
