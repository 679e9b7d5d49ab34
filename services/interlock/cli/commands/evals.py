"""`eval`: a bundle against a gold set."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlock.cli.common import (
    BundleOption,
    JsonOption,
    StateOption,
    err,
    out,
    print_json,
    run,
    settings_of,
)

if TYPE_CHECKING:
    from interlock.evals.gold import GoldCase
    from interlock.runtime.settings import Settings
    from interlock_contracts.activation import Evaluation

app = typer.Typer(help="Evaluations: a bundle against a gold set.", no_args_is_help=True)

PROGRESS_S = 2.0


@app.callback()
def _group() -> None:
    """One command so far, and still a group."""


@app.command("run")
def run_(
    gold: Annotated[Path, typer.Option("--gold", help="The gold set: one JSON object a line.")],
    bundle: BundleOption = None,
    record: Annotated[
        bool,
        typer.Option("--record", help="Record the result on the log, for the bundle's gates."),
    ] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Run every case through the stages and compare. Exit status 1 if one has not passed.

    No broker is needed: documents of the log are found as this installation's retriever last read
    them. Models and read-only tools are asked; a tool that writes is never run:
    such a case ends where it would be granted, or where a person would be asked.
    """
    settings = settings_of(state, bundle)
    evaluation = run(_run(settings, gold, json_, record))
    if json_:
        print_json(evaluation.model_dump(mode="json"))
    else:
        out.print(f"{evaluation.passed} of {evaluation.cases} passed", style="bold")
    if evaluation.passed < evaluation.cases:
        raise typer.Exit(1)


async def _run(settings: "Settings", gold: Path, json_: bool, record: bool) -> "Evaluation":
    from interlock.cli.evaluations import write
    from interlock.cli.operator import author, desk
    from interlock.evals.gold import read_gold
    from interlock.runtime.wiring import bundles_of
    from interlock_contracts.activation import Evaluation
    from interlock_contracts.canonical import digest_bytes

    cases = read_gold(gold)
    bundle = bundles_of(settings).active()
    failed = await _failed(settings, cases, json_)
    evaluation = Evaluation(
        bundle=bundle.digest,
        gold=digest_bytes(gold.read_bytes()),  # noqa: ASYNC240
        gold_name=gold.name,
        cases=len(cases),
        passed=len(cases) - len(failed),
        failed=tuple(failed[:1_000]),
        by=author(),
    )
    if record:
        async with desk(settings) as at:
            await write(at.client, at.log, evaluation)
    return evaluation


async def _failed(settings: "Settings", cases: "list[GoldCase]", json_: bool) -> list[str]:
    """Run them one after the other, and say of each what is wrong; the ids of those that failed."""
    from interlock.cli.evaluations import LiveStages
    from interlock.evals.run import problems, run_case
    from interlock.runtime.wiring import bundles_of

    bundle = bundles_of(settings).active()
    failed, shown = [], time.monotonic()
    with ExitStack() as stack:
        index = settings.state / "index"
        if not index.exists():
            temporary = tempfile.TemporaryDirectory(prefix="interlock-eval-")
            index = Path(stack.enter_context(temporary))
        stages = await LiveStages.open(settings, index)
        for number, case in enumerate(cases, 1):
            wrong = problems(case, await run_case(case, bundle, stages))
            if wrong:
                failed.append(case.id)
            _tell(case.id, wrong, json_)
            if not json_ and time.monotonic() - shown > PROGRESS_S:
                shown = time.monotonic()
                err.print(f"{number} of {len(cases)} …", style="dim")
    return failed


def _tell(id_: str, wrong: list[str], json_: bool) -> None:
    if json_:
        told: dict[str, Any] = {"id": id_, "passed": not wrong, "problems": wrong}
        print_json(told)
    else:
        for problem in wrong:
            out.print(f"{id_}: {problem}", markup=False)
