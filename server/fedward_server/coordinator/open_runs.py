"""Which runs of a coordinator's home are not over, by their own journals."""

from fedward_common.errors import FedwardError
from fedward_common.event_lines import Tell
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_journal import FileRunJournal, replay
from fedward_server.coordinator.run_queue import in_order
from fedward_server.coordinator.run_setup import has_run
from fedward_server.coordinator.run_stop import is_stopped


def open_runs(home: CoordinatorHome, tell: Tell) -> list[str]:
    """Give the names of the runs that have something left to do, whose turn it is first.

    One that a person stopped waits until it is launched again. A run whose journal cannot be read
    is told and left out; it keeps no other from going on.
    """
    found = []
    for folder in in_order(home.runs.iterdir()):
        if not has_run(folder) or is_stopped(folder):
            continue
        try:
            home.run_folder(folder.name)
            journal = FileRunJournal(folder)
            try:
                is_finished = replay(journal.entries()).finished
            finally:
                journal.close()
        except FedwardError as error:
            tell("run.unusable", run=folder.name[:60], code=error.code, problem=str(error))
            continue
        if not is_finished:
            found.append(folder.name)
    return found
