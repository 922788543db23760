"""What a step of private training costs beside one of plain SGD: processor time and peak memory.

One thread. Each mode of a model runs in a process of its own, and modes take turns, so that a busy
machine slows all alike. Time is that of the best call, memory the largest peak, of all turns.
Before anything is timed, our clipped gradients and those of Opacus are compared with each other.

Every step goes through the same batch. Modes: `plain` is training without privacy; `ours` is
private training with one normal draw for a value of noise, `ours-4` with four, as a site does; both
are the product's own steps, with drawing, loading, noise and optimizer. `opacus` is its hooks.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measuring import parser, run_child, show
from fedward_client.training.local_training import RoundOfTraining, TrainingData, train_locally
from fedward_client.training.per_sample.clipping import PatientClipping
from fedward_client.training.per_sample.contributions import BatchLayout
from fedward_client.training.per_sample.freed_memory import keep_freed_memory
from fedward_client.training.private_training import PrivateRound, train_privately
from fedward_common.job.job_file import Job, job_from_table
from fedward_common.models.losses import build_loss
from fedward_common.models.registry import initial_module
from fedward_common.privacy.noise_source import OsKeyedNoise

_CLIPPING_NORM = _NOISE_MULTIPLIER = 1.0
_MODES = ("plain", "ours", "ours-4", "opacus")
_CALLS = 5
_ROUND = RoundOfTraining(round_number=1, total_rounds=1, seed=0)


@dataclass(frozen=True)
class Case:
    """One model with its batch, and the largest ratios to plain SGD that pass."""

    model: str
    options: dict[str, Any]
    side: int
    batch: int
    steps: int
    time_limit: float
    memory_limit: float | None = None


CASES = {
    "CNN": Case("cnn", {"width": 18, "blocks": 3, "groups": 6}, 28, 64, 10, 1.6),
    "U-Net": Case("unet", {"channels": (12, 24, 48, 96)}, 64, 8, 15, 1.4),
    "ResNet-18": Case("resnet18", {"small_images": True}, 28, 16, 3, 1.6, 1.3),
}


def job_of(case: Case) -> Job:
    """Make the job: SGD, cross-entropy of images or pixels, everybody in every step."""
    kind = "segmentation" if case.model == "unet" else "classification"
    return job_from_table(
        {
            "job": {"name": "Timed", "rounds": 1},
            "task": {"kind": kind, "classes": [{"id": i, "name": str(i)} for i in range(2)]},
            "model": {"name": case.model, "options": case.options},
            "data": {"modality": "CT", "image_size": (case.side, case.side)},
            "training": {
                "local_steps": case.steps,
                "sampling_rate": 1.0,
                "loss": {"name": "cross-entropy"},
                "optimizer": {"learning_rate": 1e-3},
            },
            "privacy": {
                "mechanism": "per-site", "noise_multiplier": _NOISE_MULTIPLIER, "delta": 1e-5,
            },
            "secure_aggregation": {"enabled": False},
        }
    )  # fmt: skip


def data_of(case: Case) -> TrainingData:
    """Make as many patients as a batch holds, an image each."""
    random = np.random.default_rng(0)
    images = random.normal(size=(case.batch, 1, case.side, case.side)).astype(np.float32)
    masks = random.integers(0, 2, (case.batch, case.side, case.side), dtype=np.uint8)
    labels = random.integers(0, 2, case.batch)
    return TrainingData(images, masks, labels, np.split(np.arange(case.batch), case.batch))


def targets_of(case: Case, data: TrainingData) -> Tensor:
    """Give what the loss takes."""
    return torch.from_numpy(data.masks if case.model == "unet" else data.labels).long()


class OpacusStep:
    """A step as Opacus' hooks do it, with torch's noise."""

    def __init__(self, case: Case, job: Job, module: nn.Module) -> None:
        from opacus.grad_sample import GradSampleModule

        data = data_of(case)
        self._images, self._targets = torch.from_numpy(data.images), targets_of(case, data)
        self._num_steps = case.steps
        self._loss = build_loss(job.training.loss, job.task)
        self._module = GradSampleModule(module, loss_reduction="sum")
        self._parameters = list(module.parameters())
        self._optimizer = torch.optim.SGD(self._parameters, lr=1e-3, fused=True)

    def clipped_sum(self, clipping_norm: float) -> list[Tensor]:
        """Give the clipped sum for each parameter."""
        self._optimizer.zero_grad(set_to_none=True)
        for parameter in self._parameters:
            parameter.grad_sample = None  # type: ignore[attr-defined]  # Opacus' own
        self._loss(self._module(self._images), self._targets).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
        samples: list[Tensor] = [p.grad_sample for p in self._parameters]  # type: ignore[attr-defined]  # Opacus' own
        norms = torch.stack([sample.flatten(1).norm(dim=1) for sample in samples]).norm(dim=0)
        weights = (clipping_norm / norms).clamp_max(1.0)
        return [torch.einsum("p,p...->...", weights, sample) for sample in samples]

    def take_all(self) -> None:
        """Take a call's steps."""
        for _ in range(self._num_steps):
            self._take()

    def _take(self) -> None:
        for parameter, total in zip(
            self._parameters, self.clipped_sum(_CLIPPING_NORM), strict=True
        ):
            noise = torch.normal(0.0, _NOISE_MULTIPLIER * _CLIPPING_NORM, total.shape)
            parameter.grad = (total + noise).div_(len(self._targets))
        self._optimizer.step()


def steps_of(case: Case, mode: str) -> Callable[[], None]:
    """Give a function that takes a call's steps."""
    job, data, cpu = job_of(case), data_of(case), torch.device("cpu")
    module = initial_module(job, 0).train()
    if mode == "plain":
        return lambda: void(train_locally(module, job, data, _ROUND, cpu))
    if mode == "opacus":
        step = OpacusStep(case, job, module)
        return step.take_all
    private = PrivateRound(_NOISE_MULTIPLIER, 1.0, _CLIPPING_NORM)
    noise = OsKeyedNoise(draws=4 if mode == "ours-4" else 1)
    return lambda: void(
        train_privately(module, job, job.privacy, data, _ROUND, private, noise, cpu)
    )


def void(_: object) -> None:
    """Drop a result."""


def measure(case: Case, mode: str) -> dict[str, float]:
    """Time this process: best processor seconds of a step, and its peak memory."""
    torch.set_num_threads(1)
    keep_freed_memory()  # in every mode, so that the ratio compares arithmetic
    take = steps_of(case, mode)
    take()
    seconds = []
    for _ in range(_CALLS):
        begin = time.process_time()
        take()
        seconds.append((time.process_time() - begin) / case.steps)
    return {"seconds": min(seconds), "peak_mebibytes": peak_mebibytes()}


def peak_mebibytes() -> float:
    """Read this program's own peak; `ru_maxrss` begins with that of whoever started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def largest_difference(case: Case) -> float:
    """Compare our clipped sum with that of Opacus, relative to the largest value."""
    job, data = job_of(case), data_of(case)
    loss = build_loss(job.training.loss, job.task)
    module, theirs = initial_module(job, 0).train(), initial_module(job, 0).train()
    images, targets = torch.from_numpy(data.images), targets_of(case, data)
    sums: dict[nn.Parameter, Tensor] = {}
    with PatientClipping(module) as clipping:
        clipping.add_clipped_sum(
            lambda: loss(module(images), targets), BatchLayout(case.batch, 1), 0.1, sums
        )
    expected = OpacusStep(case, job, theirs).clipped_sum(0.1)
    pairs = zip(module.parameters(), expected, strict=True)
    scale = max(float(values.abs().max()) for values in expected)
    return max(float((sums[p].detach() - e).abs().max()) for p, e in pairs) / scale


def in_child(name: str, mode: str) -> dict[str, float]:
    """Run one mode of one case in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.private_training", "--child", name, mode]
    result: dict[str, float] = json.loads(run_child(command).stdout.splitlines()[-1])
    return result


def rows_of(name: str, turns: int) -> list[dict[str, Any]]:
    """Measure all modes of one case in turns."""
    case, figures = CASES[name], {mode: list[dict[str, float]]() for mode in _MODES}
    for _ in range(turns):
        for mode in _MODES:
            figures[mode].append(in_child(name, mode))
    best = {mode: min(f["seconds"] for f in figures[mode]) for mode in _MODES}
    peak = {mode: max(f["peak_mebibytes"] for f in figures[mode]) for mode in _MODES}
    rows = []
    for mode in _MODES:
        limited = mode == "ours"
        rows.append(
            {
                "model": name,
                "mode": mode,
                "ms": 1000 * best[mode],
                "time_ratio": best[mode] / best["plain"],
                "peak_MiB": peak[mode],
                "memory_ratio": peak[mode] / peak["plain"],
                "time_limit": case.time_limit if limited else "",
                "memory_limit": (case.memory_limit or "") if limited else "",
            }
        )
    return rows


def within_limits(rows: list[dict[str, Any]]) -> bool:
    """Say whether every ratio that has a limit keeps it."""
    return all(
        row["time_ratio"] <= row["time_limit"]
        and (row["memory_limit"] == "" or row["memory_ratio"] <= row["memory_limit"])
        for row in rows
        if row["mode"] == "ours"
    )


def options() -> argparse.Namespace:
    """Read the command line."""
    made = parser(__doc__ or "")
    made.add_argument("--turns", type=int, default=3)
    made.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    made.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return made.parse_args()


def main() -> None:
    """Compare gradients, then time."""
    chosen = options()
    if chosen.child:
        name, mode = chosen.child
        sys.stdout.write(json.dumps(measure(CASES[name], mode)) + "\n")
        return
    torch.set_num_threads(1)
    difference = {name: largest_difference(CASES[name]) for name in chosen.cases}
    if max(difference.values()) > 1e-4:
        sys.exit(f"clipped gradients differ from those of Opacus: {difference}")
    rows = [row for name in chosen.cases for row in rows_of(name, chosen.turns)]
    show(
        "A private step beside one of plain SGD",
        rows,
        as_json=chosen.json,
        largest_relative_difference_of_gradients=max(difference.values()),
        within_limits=within_limits(rows),
    )


if __name__ == "__main__":
    main()
