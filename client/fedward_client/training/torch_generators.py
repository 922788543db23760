"""Torch's global generators, which dropout draws from: borrowed for a while, and given back.

Two trainings in one process must therefore not run in two threads.
"""

import contextlib
from collections.abc import Iterator

import torch

from fedward_common.privacy.noise_source import NoiseSource


@contextlib.contextmanager
def borrowed_generators(device: torch.device) -> Iterator[None]:
    """Put torch's global generators back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextlib.contextmanager
def seeded_dropout(seed: int, device: torch.device) -> Iterator[None]:
    """Give dropout a seed of its own, and put torch's generators back afterwards."""
    with borrowed_generators(device):
        seed_generators(seed, device)
        yield


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed what dropout on this device draws from."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def hidden_seed(noise: NoiseSource) -> int:
    """Take 63 bits that nobody else knows, if the noise is private."""
    return int.from_bytes(noise.bytes(8), "little") >> 1
