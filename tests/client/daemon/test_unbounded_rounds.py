"""A run without a mechanism: charged at acceptance, and no accountant is ever loaded for it."""

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_run_without_a_mechanism_loads_no_accountant(tmp_path: Path, project_root: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(project_root), *sys.path])}
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=120, env=environment,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
