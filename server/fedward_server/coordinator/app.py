"""The coordinator's Flower app: one run from its folder, over whatever Grid Flower hands it.

`context.run_config` names the folder (`run-folder`) and the coordinator's key (`key-file`); nothing
else of Flower's run configuration is read, since nobody signs it.
"""

import time
from pathlib import Path
from typing import Protocol, runtime_checkable

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedward_common.clock import SystemClock
from fedward_server.coordinator.exchange import Exchange
from fedward_server.coordinator.observer import current_observer
from fedward_server.coordinator.present_members import PresentMembers, newest_roster_of
from fedward_server.coordinator.round_loop import RoundLoop
from fedward_server.coordinator.run_journal import FileRunJournal
from fedward_server.coordinator.run_setup import read_run_setup

app = ServerApp()


@runtime_checkable
class BoundsArrays(Protocol):
    """A Grid to nodes of others."""

    def bound_arrays(self, num_parameters: int) -> None:
        """Take no larger arrays than such a model needs."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run, or go on with, the run in `run-folder`."""
    folder = Path(str(context.run_config["run-folder"]))
    key_file = Path(str(context.run_config["key-file"]))
    setup = read_run_setup(folder, key_file, now_seconds=time.time())
    if isinstance(grid, BoundsArrays):  # a simulated Grid's sites are this process's own
        grid.bound_arrays(setup.manifest.num_parameters)
    journal = FileRunJournal(folder)
    clock = SystemClock()
    try:
        newest = newest_roster_of(key_file, time.time)
        members = PresentMembers(setup.roster, newest, current_observer().note)
        exchange = Exchange(grid, setup.key, members, clock, setup.answer_key)
        RoundLoop(setup, exchange, journal, current_observer(), clock).run()
    finally:
        journal.close()
