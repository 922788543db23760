"""`fedward launch`: a run's folder is laid down, and the coordinator's process told to run it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import read_job, table_of_job
from fedward_server.coordinator.commands.live_coordinator import connected
from fedward_server.coordinator.commands.new_run import free_name, lay_down, name_of_job
from fedward_server.coordinator.commands.run_view import (
    RunState,
    RunView,
    state_of,
    view_of,
)
from fedward_server.coordinator.commands.shown import print_json, print_line
from fedward_server.coordinator.commands.sites_command import unconnected_sites
from fedward_server.coordinator.commands.watch_command import run_watch
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.hold_out_set import keep_hold_out
from fedward_server.coordinator.run_queue import take_place
from fedward_server.coordinator.run_stop import let_go_on

if TYPE_CHECKING:
    from fedward_server.coordinator.flower_control import FlowerControl


def run_launch(
    home: CoordinatorHome,
    job_file: Path,
    *,
    sites: Sequence[str],
    name: str | None,
    seed: int,
    watch: bool,
    json_output: bool,
    id_only: bool = False,
    hold_out: Path | None = None,
    protocol: int | None = None,
) -> None:
    """Launch a new run.

    Raises:
        ConfigurationError: No coordinator runs, or the run cannot be had.
        PrivacyError: The joint mechanism cannot be had with these sites.
    """
    with connected(home) as control:
        control.ordered_runs()  # nothing is laid down where nobody answers
        from fedward_server.coordinator.commands.planned_run import planned_run

        planned = planned_run(home, job_file, sites, seed, now_seconds=time.time())
        name = name or free_name(home, planned.job.job.name)
        lay_down(home, name, planned, hold_out, protocol)
        _order(control, name)
        absent = unconnected_sites(home, planned.roster, control.online_nodes())
        view = view_of(home, name)
        state = state_of(view, control.ordered_runs())
    if id_only:
        print_line(view.manifest.run)
        return
    _tell(view, "launched", state, json_output=json_output and not watch, absent=absent)
    if watch:
        run_watch(home, name, json_output=json_output)


def run_resume(
    home: CoordinatorHome,
    job_file: Path | None,
    *,
    sites: Sequence[str],
    name: str | None,
    watch: bool,
    json_output: bool,
    hold_out: Path | None = None,
) -> None:
    """Let a run go on that was stopped, or that failed.

    Raises:
        ConfigurationError: No coordinator runs; there is nothing to go on with; or the run is of
            another job or other sites than were named.
        MalformedMessageError: It is of a protocol or suite that is not spoken here.
    """
    from fedward_server.coordinator.run_setup import require_run_goes_on

    name = name or _name_in(job_file)
    view = view_of(home, name)
    _require_same(view, job_file, sites)
    require_run_goes_on(view.folder, view.manifest)
    if view.history.finished:
        raise ConfigurationError(
            f"run {name!r} is finished", hint=f"its result: fedward result {name} --out DIR"
        )
    with connected(home) as control:
        order = control.ordered_runs().get(name)
        if order is not None and order.is_open and not view.is_stopped:
            raise ConfigurationError(
                f"run {name!r} is under way", hint=f"look on: fedward watch {name}"
            )
        keep_hold_out(view.folder, view.job, hold_out)
        take_place(home.runs, view.folder)
        let_go_on(view.folder)
        _order(control, name)
        state = state_of(view_of(home, name), control.ordered_runs())
    _tell(view, "resumed", state, json_output=json_output and not watch)
    if watch:
        run_watch(home, name, json_output=json_output)


def _order(control: "FlowerControl", name: str) -> None:
    import httpx

    try:
        control.submit_run(name)
    except httpx.HTTPError as error:
        raise ConfigurationError(
            f"run {name!r} is laid down, but the coordinator did not take the order",
            hint="it begins when the coordinator is started anew, or with: "
            f"fedward launch --resume --name {name}",
            code="ORDER_REFUSED",
        ) from error


def _name_in(job_file: Path | None) -> str:
    if job_file is None:
        raise ConfigurationError("which run is to go on?", hint="name it: --resume --name NAME")
    return name_of_job(read_job(job_file).job.name)


def _require_same(view: RunView, job_file: Path | None, sites: Sequence[str]) -> None:
    begun = table_of_job(view.job)
    if job_file is not None:
        now = table_of_job(read_job(job_file))
        begun["model"].pop("start"), now["model"].pop("start")  # a path here, a hash there
        if now != begun:
            raise ConfigurationError(
                f"run {view.name!r} began with another job than {job_file}",
                hint="go on with --name alone, or launch a new run",
            )
    if sites and sorted(sites) != sorted(view.manifest.training_sites):
        raise ConfigurationError(
            f"run {view.name!r} began with the sites {', '.join(view.manifest.training_sites)}",
            hint="go on without --sites, or launch a new run",
        )


def _tell(
    view: RunView,
    what: str,
    state: RunState,
    *,
    json_output: bool,
    absent: Sequence[str] | None = None,
) -> None:
    if json_output:
        print_json(
            {
                "run": view.name,
                "run_id": view.manifest.run,
                "state": what,
                "training_sites": list(view.manifest.training_sites),
                "folder": str(view.folder),
                "place": state.place,
                "after": list(state.after),
            }
            | ({} if absent is None else {"not_connected": list(absent)})
        )
        return
    if absent:
        seconds = view.job.quorum.acceptance_seconds
        print_line(
            f"Not connected: {', '.join(absent)}; waited for {seconds:g} s "
            "(quorum.acceptance_seconds) if enough others accept, else longer"
        )
    print_line(
        f"Run {view.name} is {what}{_turn_of(state)}; hospitals know it as {view.manifest.run}; "
        f"look on: fedward watch {view.name}"
    )


def _turn_of(state: RunState) -> str:
    return f" and {state.text}" if state.after else ""
