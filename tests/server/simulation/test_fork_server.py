"""What workers are forked with: all that torch imports late, in a round of training."""

from pathlib import Path

from tests.fresh_interpreter import printed_by

_PROGRAM = """
import importlib, pathlib, sys
import torch
from fedward_server.simulation.fork_server import PRELOADED

asked = []
for name in ("is_available", "device_count", "init", "_lazy_init"):
    setattr(torch.cuda, name, lambda name=name: asked.append(name) or 0)
for name in PRELOADED:
    importlib.import_module(name)
assert not asked, asked  # a GPU that was looked for cannot be used after a fork
before = set(sys.modules)
from tests.client.daemon.test_private_rounds import coordinator_of
from fedward_common.wire import messages

coordinator = coordinator_of(pathlib.Path(sys.argv[1]))
assert isinstance(coordinator.propose().message, messages.ManifestReply)
assert isinstance(coordinator.train().message, messages.TrainReply)
heavy = ("torch._", "torch.fx", "sympy")
print(sorted(name for name in set(sys.modules) - before if name.startswith(heavy)))
"""


def test_a_first_round_imports_nothing_heavy_of_torch(tmp_path: Path) -> None:
    assert printed_by(_PROGRAM, str(tmp_path)).splitlines()[-1] == "[]"
