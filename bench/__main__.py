"""`python -m bench`: the tables of bench/README.md."""

import argparse
import sys
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench.harness import Figures
from interlock.runtime import telemetry


async def runtime_table(console: Console) -> None:
    """Serial and loaded, floor and ours, in one process and in six."""
    from bench.runtime import bare, measure_one, ours

    table = _table("Runtime: six trivial hops, sync_interval always")
    for apart in (False, True):
        for in_flight, requests in ((1, 300), (256, 3000), (512, 4000), (2048, 8000)):
            floor = await measure_one(bare, apart=apart, in_flight=in_flight, requests=requests)
            own = await measure_one(ours, apart=apart, in_flight=in_flight, requests=requests)
            _row(table, floor, floor)
            _row(table, own, floor)
    console.print(table)


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("what", "in flight", "requests/s", "× floor", "p50 ms", "× floor", "p99 ms"):
        table.add_column(column, justify="left" if column == "what" else "right")
    table.add_column("CPU ms a request", justify="right")
    table.add_column("of it broker", justify="right")
    return table


def _row(table: Table, figures: Figures, floor: Figures) -> None:
    broker = figures.cpu.get("nats-server", 0.0)
    table.add_row(
        figures.name,
        str(figures.in_flight),
        f"{figures.rate:,.0f}",
        f"{figures.rate / floor.rate:.2f}",
        f"{figures.p50:.1f}",
        f"{figures.p50 / floor.p50:.2f}",
        f"{figures.p99:.1f}",
        f"{sum(figures.cpu.values()) - broker:.2f}",
        f"{broker:.2f}",
    )


async def main(arguments: argparse.Namespace) -> None:
    """Run the tables that were asked for; without a name the two that need no data."""
    telemetry.configure_logs("error")
    console = Console(width=120)
    wanted = arguments.tables or ["runtime", "pipeline"]
    if "runtime" in wanted:
        await runtime_table(console)
    if "pipeline" in wanted:
        from bench.pipeline import pipeline_table

        await pipeline_table(console)
    if "audit" in wanted:
        from bench.audit import audit_table

        await audit_table(console)
    if "ingest" in wanted:
        from bench.ingest import ingest_table

        await ingest_table(console)
    if "replay" in wanted:
        from bench.replay import replay_table

        await replay_table(console)
    if "verdicts" in wanted:
        from bench.verdicts import verdicts_table

        verdicts_table(console)
    if "gate" in wanted:
        from bench.gate import run_gate

        await run_gate(_data(arguments), arguments.only, console)
    if "schemas" in wanted:
        from bench.schemas import schemas_table

        schemas_table(_data(arguments), console)
    if "retrieval" in wanted:
        from bench.retrieval import SIZES, run_given, run_retrieval

        if arguments.collection:
            await run_given(arguments.collection, console)
        else:
            await run_retrieval(_data(arguments), console, arguments.size or SIZES, arguments.only)
    if "routing" in wanted:
        from bench.routing import run_routing

        run_routing(_data(arguments), console)
    if "pii" in wanted:
        from bench.pii import run_pii

        run_pii(_data(arguments), console)


def _data(arguments: argparse.Namespace) -> Path:
    if arguments.data is None:
        sys.exit("this table needs --data PATH; bench/README.md says where the public data is")
    folder: Path = arguments.data
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The benchmarks.")
    own = ("runtime", "pipeline", "audit", "ingest", "replay", "verdicts")  # these need no data
    names = (*own, "gate", "schemas", "retrieval", "routing", "pii")
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", choices=[*names, []], help=", ".join(names)
    )
    parser.add_argument("--data", type=Path, help="folder of the public data sets")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="one data set of the gate's; quality or stage (retrieval)",
    )
    parser.add_argument(
        "--collection",
        action="append",
        type=Path,
        default=[],
        help="a folder in BEIR's format: the quality on it, and nothing else (retrieval)",
    )
    parser.add_argument(
        "--size", action="append", type=int, default=[], help="only so many passages (retrieval)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(_arguments()))
