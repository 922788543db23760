"""The process that workers are forked from.

Apart from the Grid, and importing nothing, so that a command can start it first of all: it imports
torch and Flower while this process is still busy with its own modules.
"""

import multiprocessing
import multiprocessing.forkserver

PRELOADED = [
    "torch",
    # Torch's optimizers import it when the first is made, which is a second of every worker. It
    # does not touch a GPU, which no process could use after a fork.
    "torch._dynamo",
    "fedward_client.daemon.app",
    "fedward_client.training.evaluation",
    "fedward_server.simulation.site_worker",
]


def start_fork_server() -> None:
    """Begin importing the sites' code in the background."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    multiprocessing.forkserver.ensure_running()
