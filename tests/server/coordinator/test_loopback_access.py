"""How this machine's own commands find the coordinator, and what they load for it."""

import json
import stat
from pathlib import Path

import pytest
from tests.fresh_interpreter import printed_by

from fedward_common.errors import ConfigurationError
from fedward_server.coordinator.loopback_access import LoopbackAccess, read_loopback_access

_ACCESS = LoopbackAccess(1)


def test_the_access_of_this_machine_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "loopback.json"
    _ACCESS.write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    read = read_loopback_access(file)
    assert (read.port, read.token) == (_ACCESS.port, _ACCESS.token)
    assert _ACCESS.token not in repr(_ACCESS)
    assert _ACCESS.task_secret.hex() not in file.read_text()


@pytest.mark.parametrize("content", [None, "", "{}", json.dumps({"port": "x", "token": ""})])
def test_without_a_coordinator_there_is_no_access(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "loopback.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match="no coordinator seems to run"):
        read_loopback_access(file)


def test_a_command_that_orders_something_loads_no_server() -> None:
    """`fedward status` and its like would else take a second longer."""
    program = (
        "import sys\n"
        "import fedward_server.coordinator.flower_control\n"
        "from fedward_server.coordinator.commands import live_coordinator, runs_command\n"
        "from fedward_server.coordinator.commands import watch_command\n"
        "heavy = {'alembic', 'sqlalchemy', 'flwr.superlink.main', 'flwr.cli', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    assert printed_by(program) == "[]\n"
