"""Seconds for 11 million normal values (a ResNet-18), and for a million values of integer noise.

    python -m benchmarks.noise_speed

Processor time of one thread, the fastest of some repeats taken in turn: the machine may be shared.
torch and numpy stand beside for comparison alone; neither is fit for noise that protects.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.measuring import parser, show
from fedward_common.privacy.discrete_noise import discrete_gaussian
from fedward_common.privacy.noise_source import OsKeyedNoise

NUM_NORMALS, NUM_INTEGERS = 11_000_000, 1_000_000
LIMITS = {"one draw": 0.3, "a million integers": 2.0}


def main() -> None:
    """Measure and print."""
    options = parser(__doc__ or "")
    options.add_argument("--repeats", type=int, default=5)
    asked = options.parse_args()
    torch.set_num_threads(1)
    works = work_to_measure()
    seconds = {name: float("inf") for name in works}
    for _ in range(asked.repeats):
        for name, work in works.items():
            seconds[name] = min(seconds[name], processor_seconds(work))
    rows = [{"what": name, "seconds": value} for name, value in seconds.items()]
    show("Noise", rows, as_json=asked.json, limits_seconds=LIMITS)


def work_to_measure() -> dict[str, Callable[[], object]]:
    """Name what is measured."""
    values = np.zeros(NUM_NORMALS, dtype=np.float32)
    tensor = torch.from_numpy(values)
    one, four = OsKeyedNoise(draws=1), OsKeyedNoise()
    seeded_torch, seeded_numpy = torch.Generator().manual_seed(1), np.random.default_rng(1)
    return {
        "11M normals, one draw": lambda: one.normal_into(values),
        "11M normals, four draws": lambda: four.normal_into(values),
        "added to 11M values, one draw": lambda: one.add_normal_to(values, 1.0),
        "added to 11M values, four draws": lambda: four.add_normal_to(values, 1.0),
        "11M normals, torch": lambda: tensor.normal_(generator=seeded_torch),
        "11M normals, numpy": lambda: seeded_numpy.standard_normal(dtype=np.float32, out=values),
        "1M uniform numbers": lambda: one.uniform(NUM_INTEGERS),
        "1M discrete Gaussian": lambda: discrete_gaussian(one, NUM_INTEGERS, 2.0**16),
    }


def processor_seconds(work: Callable[[], object]) -> float:
    """Time one run."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
