"""All commands. What a command needs is imported when it runs, so that ``--help`` is there at once."""

from __future__ import annotations

import typer

from stepwell.cli import account, apps, doctor, events, functions, migrate, runs, serve

app = typer.Typer(
    name="stepwell",
    help="Durable, event-driven functions: run the server, send events, watch runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich would take longer to import than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("dev")(serve.dev)
app.command("start")(serve.start)
app.command("send")(events.send)
app.add_typer(runs.app, name="runs")
app.command("cancel")(runs.cancel)
app.command("rerun")(runs.rerun)
app.add_typer(functions.app, name="functions")
app.command("invoke")(functions.invoke)
app.add_typer(apps.app, name="apps")
app.command("doctor")(doctor.doctor)
app.command("skip")(serve.skip)
app.add_typer(migrate.app, name="migrate")
app.add_typer(account.app, name="account")


@app.command("version")
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    print(installed("stepwell"))
