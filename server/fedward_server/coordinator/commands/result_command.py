"""`fedward result`: the files of a finished run, as `fedward simulate` writes them.

The coordinator knows pooled figures alone: no hospital's own counts or figures are in them.
"""

from pathlib import Path

from fedward_common.consortium.roster import issued_at_seconds_of
from fedward_common.errors import ConfigurationError, MalformedMessageError
from fedward_server.coordinator.commands.run_view import RunView, view_of
from fedward_server.coordinator.commands.runs_command import told_text
from fedward_server.coordinator.commands.shown import print_json, print_line
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_setup import RunSetup, read_run_setup
from fedward_server.empty_folder import claim_empty_folder

_ROSTER = "roster.cbor"


def run_result(home: CoordinatorHome, name: str, out: Path, *, json_output: bool) -> None:
    """Write `result.json`, `report.html`, `model_card.md` and `model/`.

    Raises:
        ConfigurationError: There is no such run, it is not finished, or `out` holds something.
        CorruptFileError: Its journal or weights were changed.
    """
    view = view_of(home, name)
    if not view.history.finished:
        raise ConfigurationError(
            f"run {name!r} is not finished: {view.history.round} of {view.job.job.rounds} rounds",
            hint=f"wait for it: fedward watch {name}",
            code="NOT_FINISHED",
        )
    setup = setup_of(home, view)
    claim_empty_folder(out)
    result = _write(setup, view, out)
    if json_output:
        print_json(result)
        return
    from rich.console import Console

    from fedward_server.reports.result_table import print_result

    print_result(Console(), result)
    if view.history.receipts is not None:
        print_line(f"The sites' receipts: {told_text(view.history)}")
    print_line(f"\nReport: {out / 'report.html'}".lstrip())


def setup_of(home: CoordinatorHome, view: RunView) -> RunSetup:
    """Read a run's setup with its roster as it counted when it was issued.

    A result is still to be had when the roster is long out of date.
    """
    try:
        issued_at = issued_at_seconds_of((view.folder / _ROSTER).read_bytes())
    except (OSError, MalformedMessageError) as error:
        raise MalformedMessageError("the run's roster is none", hint="restore it") from error
    return read_run_setup(view.folder, home.key_file, now_seconds=issued_at, as_record=True)


def _write(setup: RunSetup, view: RunView, out: Path) -> dict[str, object]:
    from fedward_server.coordinator.checkpoints import CheckpointStore
    from fedward_server.result import result_of_run
    from fedward_server.run_outputs import write_run_outputs

    history = view.history
    seconds = {"total": history.seconds}  # how long a hospital trained is its own to know
    result = result_of_run(setup, history, cohorts={}, site_sums={}, seconds=seconds)
    store = CheckpointStore(setup.folder)
    best = store.load_weights((history.final or {})["selected"])
    write_run_outputs(out, setup.job, result, best=best, last=store.load_last(history))
    return result
