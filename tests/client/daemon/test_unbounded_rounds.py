"""A run without a mechanism: charged at acceptance, and no accountant is ever loaded for it."""

from pathlib import Path

from tests.fresh_interpreter import printed_by

_PROGRAM = """
import pathlib, sys
from tests.client.daemon.test_private_rounds import coordinator_of
from fedward_common.wire import messages

coordinator = coordinator_of(pathlib.Path(sys.argv[1]))
assert isinstance(coordinator.propose().message, messages.ManifestReply)
heavy = ("dp_accounting", "scipy")
assert isinstance(coordinator.train().message, messages.TrainReply)
print(sorted({name for name in heavy if name in sys.modules}))
"""


def test_a_run_without_a_mechanism_loads_no_accountant(tmp_path: Path) -> None:
    assert printed_by(_PROGRAM, str(tmp_path)).splitlines()[-1] == "[]"
