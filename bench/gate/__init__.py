"""The gate on real recordings: `python -m bench gate --data PATH [agentdojo|tau|ragtruth]`."""

from collections.abc import Collection
from pathlib import Path

from rich.console import Console

from bench.gate.agentdojo import agentdojo_table
from bench.gate.ragtruth import ragtruth_table
from bench.gate.tau import tau_table


async def run_gate(data: Path, which: Collection[str], console: Console) -> None:
    """Print the tables that are asked for (all without a name); `data` holds the data sets."""
    wanted = set(which) or {"agentdojo", "tau", "ragtruth"}
    if "agentdojo" in wanted:
        await agentdojo_table(data, console)
    if "tau" in wanted:
        await tau_table(data, console)
    if "ragtruth" in wanted:
        await ragtruth_table(data, console)
