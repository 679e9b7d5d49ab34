"""The commands, by name. Modules here import lightly; what is heavy is imported where it runs."""

import typer

from interlock import __version__
from interlock.cli.commands import (
    activation,
    ask,
    audit,
    bundle,
    deploy,
    dlq,
    doctor,
    evals,
    events,
    index,
    ingest,
    keys,
    policy,
    prompt,
    replay,
    retrieve,
    review,
    route,
    run,
    stage,
    stored,
)

app = typer.Typer(
    name="interlock",
    help="Interlock: the model proposes, the system disposes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"interlock {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(  # its callback does the work
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None: ...


app.command()(run.demo)
app.command()(run.up)
app.command()(run.serve)
app.command()(ask.ask)
app.command()(events.events)
app.command()(prompt.prompt)
app.command()(ingest.ingest)
app.command()(retrieve.retrieve)
app.command()(route.route)
app.command()(stage.stage)
app.command()(doctor.doctor)
for more in (activation, stored):
    bundle.app.add_typer(more.app)
app.add_typer(replay.app, name="replay")
app.add_typer(policy.app, name="policy")
app.add_typer(bundle.app, name="bundle")
app.add_typer(evals.app, name="eval")
app.add_typer(index.app, name="index")
app.add_typer(review.app, name="review")
app.add_typer(dlq.app, name="dlq")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")
app.add_typer(deploy.app, name="deploy")
