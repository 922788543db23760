"""`fedward-site jobs | show | approve | ...`: added to the command line of a hospital."""

from typing import Annotated

import typer

from fedward_client.command_options import HomeOption, JsonOption

RunArgument = Annotated[
    str, typer.Argument(help="The run, or the beginning of its name.", show_default=False)
]


def add_job_commands(app: typer.Typer) -> None:
    """Add the commands with which a hospital decides about jobs and looks at what they did."""
    app.command("jobs", epilog="Example: fedward-site jobs --home site")(jobs)
    app.command("show", epilog="Example: fedward-site show 3f2a --home site")(show)
    app.command("approve", epilog="Example: fedward-site approve 3f2a --cohort chest --home site")(
        approve
    )
    app.command("refuse", epilog="Example: fedward-site refuse 3f2a --home site")(refuse)
    app.command("withdraw", epilog="Example: fedward-site withdraw 3f2a --home site")(withdraw)
    app.command("pause", epilog="Example: fedward-site pause --home site")(pause)
    app.command("resume", epilog="Example: fedward-site resume --home site")(resume)
    app.command("status", epilog="Example: fedward-site status --home site")(status)
    app.command("egress", epilog="Example: fedward-site egress 3f2a --home site")(egress)
    app.command("result", epilog="Example: fedward-site result 3f2a --home site")(result)
    audit_app = typer.Typer(
        help="Who decided what, and what was refused.",
        epilog="Example: fedward-site audit verify --home site",
        no_args_is_help=True,
    )
    audit_app.command("verify", epilog="Example: fedward-site audit verify --home site")(
        audit_verify
    )
    audit_app.command("show", epilog="Example: fedward-site audit show --last 50 --home site")(
        audit_show
    )
    app.add_typer(audit_app, name="audit")


def jobs(home: HomeOption, json_: JsonOption = False) -> None:
    """List the jobs that were asked for, and what became of each."""
    from fedward_client.jobs.commands import list_jobs

    list_jobs(home, json_output=json_)


def show(run: RunArgument, home: HomeOption, json_: JsonOption = False) -> None:
    """Say what a job would train, on what, at what cost, and what is new in it."""
    from fedward_client.jobs.commands import show_job

    show_job(home, run, json_output=json_)


def approve(
    run: RunArgument,
    home: HomeOption,
    cohort: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What it may use.  [default: the site's cohort]"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Let a job in, with one cohort; who did so stands in the audit log."""
    from fedward_client.jobs.commands import approve_job

    approve_job(home, run, cohort, json_output=json_)


def refuse(run: RunArgument, home: HomeOption, json_: JsonOption = False) -> None:
    """Keep a job out; it can still be approved later."""
    from fedward_client.jobs.commands import refuse_job

    refuse_job(home, run, json_output=json_)


def withdraw(run: RunArgument, home: HomeOption, json_: JsonOption = False) -> None:
    """End a job here for ever: no further round is trained."""
    from fedward_client.jobs.commands import withdraw_job

    withdraw_job(home, run, json_output=json_)


def pause(home: HomeOption, json_: JsonOption = False) -> None:
    """Do nothing for any job until `resume`."""
    from fedward_client.jobs.commands import pause_site

    pause_site(home, json_output=json_)


def resume(home: HomeOption, json_: JsonOption = False) -> None:
    """Work again after `pause`."""
    from fedward_client.jobs.commands import resume_site

    resume_site(home, json_output=json_)


def status(home: HomeOption, json_: JsonOption = False) -> None:
    """Say whether the daemon runs, and what waits for somebody."""
    from fedward_client.jobs.record_commands import show_status

    show_status(home, json_output=json_)


def egress(
    home: HomeOption,
    run: Annotated[str | None, typer.Argument(help="Only of this run.", show_default=False)] = None,
    json_: JsonOption = False,
) -> None:
    """Say how many bytes of which kind left, by run."""
    from fedward_client.jobs.record_commands import show_egress

    show_egress(home, run, json_output=json_)


def result(run: RunArgument, home: HomeOption, json_: JsonOption = False) -> None:
    """Show a run's pooled figures, those of this site's own patients, and what it cost them."""
    from fedward_client.jobs.result_command import show_result

    show_result(home, run, json_output=json_)


def audit_show(
    home: HomeOption,
    run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Only of this run, or of those that begin so."),
    ] = None,
    last: Annotated[int, typer.Option(metavar="N", min=1, help="How many entries.")] = 20,
    json_: JsonOption = False,
) -> None:
    """Show what was refused and decided last, by time, with what each code means."""
    from fedward_client.jobs.audit_commands import show_audit

    show_audit(home, run, last, json_output=json_)


def audit_verify(home: HomeOption, json_: JsonOption = False) -> None:
    """Read the audit log and the results told; exit status 1 if anything was changed."""
    from fedward_client.jobs.record_commands import verify_audit

    verify_audit(home, json_output=json_)
