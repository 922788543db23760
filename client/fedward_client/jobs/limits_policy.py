"""`[limits]` of `policy.toml`: what a job may take of this machine.

The task loop reads it when it starts, before it loads what computes. There is no limit on memory
here: address space, which a process can bound by itself, says little of what images that are mapped
from disk and graphics cards really take. The daemon's systemd unit bounds it (`MemoryMax=`).
"""

import importlib
import os
from dataclasses import dataclass

from fedward_common.job.checks import require, require_between

ALL_GPUS = "all"
NO_GPU = "none"

_MAX_THREADS = 4096
_MAX_GPUS = 64
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class LimitsPolicy:
    """`[limits]`: see `policy_template` for what each key means and why it is as it is."""

    cpu_threads: int = 0
    gpus: tuple[int, ...] | str = ALL_GPUS

    def __post_init__(self) -> None:
        require_between("limits.cpu_threads", self.cpu_threads, 0, _MAX_THREADS)
        require(
            self.gpus in (ALL_GPUS, NO_GPU) if isinstance(self.gpus, str) else _is_list(self.gpus),
            "limits.gpus", f"is {str(self.gpus)[:40]!r}",
            'write gpus = [0, 1], each number once, or "none", or "all"',
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Give the variables that a process must have before it loads what computes."""
        found: dict[str, str] = {}
        if self.cpu_threads:
            found |= dict.fromkeys(_THREAD_VARIABLES, str(self.cpu_threads))
        if self.gpus != ALL_GPUS:
            visible = "" if isinstance(self.gpus, str) else ",".join(map(str, self.gpus))
            # By their place on the bus, which is how nvidia-smi counts; CUDA would go by speed.
            found |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": visible}
        return found


def _is_list(gpus: tuple[int, ...]) -> bool:
    return bool(gpus) and len(set(gpus)) == len(gpus) and all(0 <= g < _MAX_GPUS for g in gpus)


def limit_this_process(limits: LimitsPolicy) -> None:
    """Keep to the limits from now on; to be called before anything else loads torch."""
    os.environ.update(limits.environment())
    if limits.cpu_threads:
        importlib.import_module("torch").set_num_threads(limits.cpu_threads)
