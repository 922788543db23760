"""`fedward stop`: a run takes no further step until it is launched again."""

import contextlib
import time

from fedward_common.errors import ConfigurationError
from fedward_server.coordinator.commands.live_coordinator import connected
from fedward_server.coordinator.commands.run_view import view_of
from fedward_server.coordinator.commands.shown import print_json, print_line
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_stop import stop_run


def run_stop(home: CoordinatorHome, name: str, *, json_output: bool) -> None:
    """Stop a run; what it committed stays, and a coordinator's process is not needed for it.

    Raises:
        ConfigurationError: There is no such run, or it is finished.
    """
    view = view_of(home, name)
    if view.history.finished:
        raise ConfigurationError(
            f"run {name!r} is finished", hint=f"its result: fedward result {name} --out DIR"
        )
    if not view.is_stopped:
        stop_run(view.folder, now_seconds=time.time())
        # The mark alone ends it at its turn; who has left the queue keeps nobody waiting.
        with contextlib.suppress(ConfigurationError), connected(home) as control:
            control.withdraw_run(name)
    done = len(view.history.checkpoints)
    if json_output:
        print_json({"run": name, "state": "stopped", "rounds_completed": done})
        return
    print_line(
        f"Run {name} is stopped after {done} of {view.job.job.rounds} rounds; "
        f"go on: fedward launch --resume --name {name}"
    )
