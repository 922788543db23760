"""What workers are forked with: all that torch imports late, in a round of training."""

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_first_round_imports_nothing_heavy_of_torch(tmp_path: Path, project_root: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(project_root), *sys.path])}
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=120, env=environment,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
