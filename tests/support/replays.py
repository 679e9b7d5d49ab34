"""A running example that a few requests went through, and replay commands as a user runs them."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.system import QUESTION, logged, rows, running_system, sdk

from interlock.cli.system import System
from interlock_contracts.answer import Answer

SUPPORT = Path("examples/support").resolve()

ASKED = {
    "question": ("acme", "maria", QUESTION),
    "refund": ("globex", "li", "Please refund $12.50 of order G-2005, mail li@example.com."),
    "no-limit": ("acme", "maria", "Please refund $900.00 of order A-1001, it is damaged."),
    "staff-only": ("acme", "tom", "Draft a reply to Maria about her damaged trimmer"),
    "not-theirs": ("acme", "ben", "Where is my order A-1004?"),
}


@dataclass
class World:
    """A running system, what was asked of it, and where files may be made."""

    system: System
    state: Path
    folder: Path
    requests: dict[str, str]

    async def run(self, *arguments: str, broker: bool = True) -> tuple[int, str, str]:
        """One command: exit status, standard output and standard error."""
        environment = {**os.environ, "INTERLOCK_STATE": str(self.folder / "nothing")}
        if broker:
            environment["INTERLOCK_STATE"] = str(self.state)
        environment["COLUMNS"] = "200"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "interlock.cli", *arguments, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def found(self, *arguments: str, broker: bool = True) -> tuple[int, list[dict[str, Any]]]:
        """A command with --json: exit status and its lines."""
        status, out, err = await self.run(*arguments, "--json", broker=broker)
        assert "Traceback" not in err, err
        return status, [json.loads(line) for line in out.splitlines()]

    async def state_of_the_world(self) -> tuple[int, list[Any]]:
        """How much is logged, and what the shop's books say."""
        messages = await logged(self.system.broker, "ev.>")
        return len(messages), rows(self.state / "shop.sqlite", "SELECT * FROM refunds")

    def copy(self, name: str) -> str:
        """A copy of the example's bundle; its folder."""
        folder = self.folder / name
        shutil.copytree(SUPPORT, folder, ignore=shutil.ignore_patterns("__pycache__"))
        return str(folder)

    def bundle(self, name: str, file: str, change: Callable[[str], str]) -> str:
        """The example with one file changed; its folder."""
        folder = self.folder / name
        if not folder.exists():
            before = (Path(self.copy(name)) / file).read_text(encoding="utf-8")
            after = change(before)
            assert after != before
            (folder / file).write_text(after, encoding="utf-8")
        return str(folder)

    @property
    def low(self) -> str:
        """Refunds are reviewed from 10.00 on instead of 100.00."""
        return self.bundle(
            "low", "policies/refunds.cedar", lambda text: text.replace("10000", "1000")
        )


@asynccontextmanager
async def running_world(state: Path, folder: Path) -> AsyncIterator[World]:
    """A system after an answer, a refund and refusals."""
    async with running_system(state, bundle=SUPPORT) as system:
        world = World(system, state, folder, {})
        for name, (tenant, user, text) in ASKED.items():
            async with await sdk(system.broker, tenant) as producer:
                request = producer.request(text, user=user, role="customer")
                await producer.submit(request)
                answer = await producer.answer(request.request_id)
                assert isinstance(answer, Answer)
                done = name in ("question", "refund")
                assert (answer.status.value == "answered") is done, name
                world.requests[name] = request.request_id
        yield world
