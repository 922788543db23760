"""The coordinator's process, as another command of this machine reaches it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fedward_common.errors import ConfigurationError
from fedward_common.flower_environment import flower_environment
from fedward_server.coordinator.coordinator_home import CoordinatorHome

if TYPE_CHECKING:
    from fedward_server.coordinator.flower_control import FlowerControl, OrderedRun

_HINT = "start it: fedward coordinator start"


@contextlib.contextmanager
def connected(home: CoordinatorHome) -> Iterator["FlowerControl"]:
    """Speak to the process that works on a home.

    Raises:
        ConfigurationError: `NO_COORDINATOR`: none runs, or it does not answer.
    """
    # Asked before Flower is imported, which takes seconds.
    if not home.loopback_file.exists():
        raise _none_runs(home)
    # Read once, when Flower is imported.
    os.environ.update(flower_environment(str(home.flower)))
    import httpx

    from fedward_server.coordinator.flower_control import FlowerControl
    from fedward_server.coordinator.loopback_access import read_loopback_access

    control = FlowerControl(read_loopback_access(home.loopback_file))
    try:
        yield control
    except httpx.HTTPError as error:
        # The file of a process that was killed stays; the next start writes another.
        raise _none_runs(home) from error
    finally:
        control.close()


def orders_at(home: CoordinatorHome) -> "Mapping[str, OrderedRun] | None":
    """Give the last order of each run; None where no coordinator runs."""
    try:
        with connected(home) as control:
            return control.ordered_runs()
    except ConfigurationError:
        return None


def _none_runs(home: CoordinatorHome) -> ConfigurationError:
    return ConfigurationError(
        f"no coordinator runs on {home.folder}", hint=_HINT, code="NO_COORDINATOR"
    )
