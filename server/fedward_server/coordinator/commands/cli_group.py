"""`fedward plan`, `launch`, `runs`, `status`, `watch`, `stop`, `result`, `audit`, `sites`, ..."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fedward_server.coordinator.command_options import HomeOption, JsonOption
from fedward_server.coordinator.coordinator_home import CoordinatorHome

_MAX_SEED = 2**63 - 1

runs_app = typer.Typer()
audit_app = typer.Typer(
    help="What journals and receipts prove.",
    epilog="Example: fedward audit verify --home coordinator",
    no_args_is_help=True,
)
# With one command of its own a group would else be that command.
audit_app.callback()(lambda: None)
runs_app.add_typer(audit_app, name="audit")

RunArgument = Annotated[
    str,
    typer.Argument(help="The run's name, or its id at hospitals.", show_default=False),
]
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
    hold_out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The public set that the job's [hold_out] names."),
    ] = None,
    protocol: Annotated[
        int | None,
        typer.Option(
            help="Version of the run's messages, where hospitals have the release before.  "
            "[default: the newest]",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look on until the run ends.")] = False,
    id_only: Annotated[
        bool, typer.Option("--id-only", help="Print the name that hospitals know the run by.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Begin a run; the running coordinator takes one after the other."""
    from fedward_server.coordinator.commands.launch_command import run_launch, run_resume

    if id_only and (watch or json_ or resume):
        raise typer.BadParameter("--id-only goes with a new run alone, without --watch and --json")
    given = _names(sites or "")
    if resume:
        run_resume(
            _home(home), job, sites=given, name=name, watch=watch, json_output=json_,
            hold_out=hold_out,
        )  # fmt: skip
        return
    if job is None:
        raise typer.BadParameter("a job file is needed; only --resume goes without")
    run_launch(
        _home(home), job, sites=given, name=name, seed=seed, watch=watch, json_output=json_,
        id_only=id_only, hold_out=hold_out, protocol=protocol,
    )  # fmt: skip


@runs_app.command(
    epilog="Example: fedward hold-out examples/pneumonia.toml "
    "--cohorts examples/pneumonia.cohorts.toml --data-root DATA --site hospA "
    "--split test --out set.npz"
)
def hold_out(
    job: Annotated[Path, typer.Argument(help="The job file.", show_default=False)],
    cohorts: Annotated[Path, typer.Option(help="Names the public images.")],
    site: Annotated[str, typer.Option(help="Which of its sites.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder that the cohorts' paths are relative to.  [default: theirs]"),
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test", "all"], typer.Option(help="Which of its images.")
    ] = "test",
    json_: JsonOption = False,
) -> None:
    """Make the set of public images by which a job's [hold_out] judges each round."""
    from fedward_server.simulation.hold_out_command import run_hold_out

    run_hold_out(job, cohorts, data_root, out, site=site, split=split, json_output=json_)


@runs_app.command(epilog="Example: fedward runs --home coordinator")
def runs(home: HomeOption, json_: JsonOption = False) -> None:
    """List the runs and where each stands."""
    from fedward_server.coordinator.commands.runs_command import run_runs

    run_runs(_home(home), json_output=json_)


@runs_app.command(epilog="Example: fedward status lung-first --home coordinator")
def status(run: RunArgument, home: HomeOption, json_: JsonOption = False) -> None:
    """Say how far a run is, who takes part and who could not."""
    from fedward_server.coordinator.commands.runs_command import run_status

    run_status(_home(home), _called(home, run), json_output=json_)


@runs_app.command(epilog="Example: fedward watch lung-first --home coordinator")
def watch(run: RunArgument, home: HomeOption, json_: JsonOption = False) -> None:
    """Print a run's journal as it grows, until the run ends."""
    from fedward_server.coordinator.commands.watch_command import run_watch

    run_watch(_home(home), _called(home, run), json_output=json_)


@runs_app.command(epilog="Example: fedward stop lung-first --home coordinator")
def stop(run: RunArgument, home: HomeOption, json_: JsonOption = False) -> None:
    """Stop a run, also for a coordinator that starts anew, until `launch --resume`."""
    from fedward_server.coordinator.commands.stop_command import run_stop

    run_stop(_home(home), _called(home, run), json_output=json_)


@runs_app.command(epilog="Example: fedward result lung-first --home coordinator --out results")
def result(
    run: RunArgument,
    home: HomeOption,
    out: Annotated[Path, typer.Option(help="Folder for the files; new or empty.")],
    wait: Annotated[bool, typer.Option("--wait", help="First look on until the run ends.")] = False,
    json_: JsonOption = False,
) -> None:
    """Write a finished run's model, result, report and model card."""
    from fedward_server.coordinator.commands.result_command import run_result
    from fedward_server.coordinator.commands.watch_command import run_watch

    name = _called(home, run)
    if wait:
        if json_:
            raise typer.BadParameter("--wait tells in words; wait with: fedward watch --json")
        run_watch(_home(home), name, json_output=False)
    run_result(_home(home), name, out, json_output=json_)


@runs_app.command(epilog="Example: fedward sites --home coordinator")
def sites(home: HomeOption, json_: JsonOption = False) -> None:
    """List the roster's sites: who is connected, and what each answered last."""
    from fedward_server.coordinator.commands.sites_command import run_sites

    run_sites(_home(home), json_output=json_)


@audit_app.command("verify", epilog="Example: fedward audit verify lung-first --home coordinator")
def audit_verify(
    home: HomeOption,
    run: Annotated[
        str | None,
        typer.Argument(help="Only this run: its name, or its id at hospitals.", show_default=False),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Check journals and the sites' receipts; exit status 1 if anything was changed."""
    from fedward_server.coordinator.commands.audit_command import run_audit_verify

    called = None if run is None else _called(home, run)
    run_audit_verify(_home(home), called, json_output=json_)


def _home(folder: Path) -> CoordinatorHome:
    return CoordinatorHome(folder.absolute())


def _called(folder: Path, run: str) -> str:
    from fedward_server.coordinator.commands.run_view import name_of_run

    return name_of_run(_home(folder), run)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
