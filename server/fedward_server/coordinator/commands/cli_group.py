"""`fedward plan`, `launch`, `runs`, `status`, `watch`, `stop`, `result`, `sites`."""

from pathlib import Path
from typing import Annotated

import typer

from fedward_server.coordinator.coordinator_home import CoordinatorHome

_MAX_SEED = 2**63 - 1

runs_app = typer.Typer()

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="FEDWARD_COORDINATOR_HOME",
        show_default=False,
        help="Folder of everything that this coordinator keeps.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
RunArgument = Annotated[str, typer.Argument(help="The run's name.", show_default=False)]
SITES_HELP = "Who trains, with commas between; the roster's other sites only evaluate."


@runs_app.command(
    epilog="Example: fedward plan my-job.toml --home coordinator --sites north,south,west"
)
def plan(
    job: Annotated[Path, typer.Argument(help="The job file.", show_default=False)],
    home: HomeOption,
    sites: Annotated[str, typer.Option(metavar="A,B,C", help=SITES_HELP)],
    json_: JsonOption = False,
) -> None:
    """Say what a launch would do and cost, before anything is sent or spent."""
    from fedward_server.coordinator.commands.plan_command import run_plan

    run_plan(_home(home), job, sites=_names(sites), json_output=json_)


@runs_app.command(
    epilog="Example: fedward launch my-job.toml --home coordinator --sites north,south,west --watch"
)
def launch(
    home: HomeOption,
    job: Annotated[
        Path | None,
        typer.Argument(help="The job file; not needed with --resume.", show_default=False),
    ] = None,
    sites: Annotated[str | None, typer.Option(metavar="A,B,C", help=SITES_HELP)] = None,
    name: Annotated[
        str | None, typer.Option(help="The run's name; made of the job's name if none is given.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=_MAX_SEED, help="Seed of everything random but noise.")
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped or has failed.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look on until the run ends.")] = False,
    json_: JsonOption = False,
) -> None:
    """Begin a run; the running coordinator takes one after the other."""
    from fedward_server.coordinator.commands.launch_command import run_launch, run_resume

    given = _names(sites or "")
    if resume:
        run_resume(_home(home), job, sites=given, name=name, watch=watch, json_output=json_)
        return
    if job is None:
        raise typer.BadParameter("a job file is needed; only --resume goes without")
    run_launch(_home(home), job, sites=given, name=name, seed=seed, watch=watch, json_output=json_)


@runs_app.command(epilog="Example: fedward runs --home coordinator")
def runs(home: HomeOption, json_: JsonOption = False) -> None:
    """List the runs and where each stands."""
    from fedward_server.coordinator.commands.runs_command import run_runs

    run_runs(_home(home), json_output=json_)


@runs_app.command(epilog="Example: fedward status lung-first --home coordinator")
def status(run: RunArgument, home: HomeOption, json_: JsonOption = False) -> None:
    """Say how far a run is, who takes part and who could not."""
    from fedward_server.coordinator.commands.runs_command import run_status

    run_status(_home(home), run, json_output=json_)


@runs_app.command(epilog="Example: fedward watch lung-first --home coordinator")
def watch(run: RunArgument, home: HomeOption, json_: JsonOption = False) -> None:
    """Print a run's journal as it grows, until the run ends."""
    from fedward_server.coordinator.commands.watch_command import run_watch

    run_watch(_home(home), run, json_output=json_)


@runs_app.command(epilog="Example: fedward stop lung-first --home coordinator")
def stop(run: RunArgument, home: HomeOption, json_: JsonOption = False) -> None:
    """Stop a run, also for a coordinator that starts anew, until `launch --resume`."""
    from fedward_server.coordinator.commands.stop_command import run_stop

    run_stop(_home(home), run, json_output=json_)


@runs_app.command(epilog="Example: fedward result lung-first --home coordinator --out results")
def result(
    run: RunArgument,
    home: HomeOption,
    out: Annotated[Path, typer.Option(help="Folder for the files; new or empty.")],
    json_: JsonOption = False,
) -> None:
    """Write a finished run's model, result, report and model card."""
    from fedward_server.coordinator.commands.result_command import run_result

    run_result(_home(home), run, out, json_output=json_)


@runs_app.command(epilog="Example: fedward sites --home coordinator")
def sites(home: HomeOption, json_: JsonOption = False) -> None:
    """List the roster's sites: who is connected, and what each answered last."""
    from fedward_server.coordinator.commands.sites_command import run_sites

    run_sites(_home(home), json_output=json_)


def _home(folder: Path) -> CoordinatorHome:
    return CoordinatorHome(folder.absolute())


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
