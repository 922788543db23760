"""Noise for sums that lie on a training device, drawn on the processor or on the device.

On the processor it is the site's own noise source, and sums are copied there and back. On a CUDA
device it is a weaker mode, which the site's policy must allow; ledger and reports say which it was.

Rules of the weaker mode: every request has a seed of its own, 64 bits from the site's noise source.
CUDA's generator (Philox 4x32-10) keeps all 64. It was made for simulation, not for secrecy: nobody
claims that its output cannot be told from random by somebody who sees much of it, and 64 bits can
be searched by who has the means. Who is drawn, and the noise on adaptive clipping's count, still
come from the noise source itself.

A CPU is refused. There `torch.Generator` keeps 32 bits of a seed, and AES is as fast.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedward_client.noise_place import NoisePlace
from fedward_common.errors import PrivacyError
from fedward_common.privacy.noise_source import NoiseSource

_BLOCK_VALUES = 1 << 24  # 256 MB of float64 beside the values, while draws are added


class SumNoise(Protocol):
    """Adds noise to a sum wherever it lies."""

    def added_to(self, total: Tensor, standard_deviation: float) -> Tensor:
        """Give a contiguous float32 sum with normal noise, on the sum's device; it may be reused.

        Noise and sum are added in float64 and rounded once: see `NoiseSource.add_normal_to`.
        """
        ...


def sum_noise_at(place: NoisePlace, source: NoiseSource, device: torch.device) -> SumNoise:
    """Give what adds noise to the sums of a device.

    Raises:
        PrivacyError: `NOISE_DEVICE`: noise is to be drawn on a device that is not CUDA.
    """
    return DeviceNoise(source, device) if place == "device" else CopiedNoise(source)


@dataclass(frozen=True)
class CopiedNoise:
    """Noise of the site's source, on the processor: the sum goes there and back."""

    source: NoiseSource

    def added_to(self, total: Tensor, standard_deviation: float) -> Tensor:
        """Add noise where float64 and the operating system's keys are at hand."""
        flat = total.cpu()
        self.source.add_normal_to(flat.numpy(), standard_deviation)
        return flat.to(total.device)


class DeviceNoise:
    """Adds normal noise to tensors where they lie.

    Args:
        source: Gives the seeds; the noise is private only if it is.
        device: A CUDA device.
        draws: Normal draws that are added for one value, as in `noise_source`.

    Raises:
        PrivacyError: `NOISE_DEVICE` for any other device.
    """

    def __init__(self, source: NoiseSource, device: torch.device, *, draws: int = 4) -> None:
        if device.type != "cuda":
            raise PrivacyError(
                f"noise made on {device.type}: this generator keeps its whole seed on CUDA alone",
                hint="add noise on this device with OsKeyedNoise",
                code="NOISE_DEVICE",
            )
        self._source = source
        self._device = device
        self._draws = draws

    @property
    def is_private(self) -> bool:
        """Whether the seeds are."""
        return self._source.is_private

    def added_to(self, total: Tensor, standard_deviation: float) -> Tensor:
        """Add noise to a contiguous tensor, in place; in float64, rounded once."""
        generator = torch.Generator(device=self._device).manual_seed(fresh_seed(self._source))
        add_draws(total, standard_deviation, generator, self._draws)
        return total


def fresh_seed(source: NoiseSource) -> int:
    """Take 64 bits for one request."""
    return int.from_bytes(source.bytes(8), "big")


def add_draws(
    values: torch.Tensor, standard_deviation: float, generator: torch.Generator, draws: int
) -> None:
    """Add the sum of `draws` normal values over the root of their number to each value.

    Raises:
        PrivacyError: The standard deviation is not a positive number, or the tensor is not
            contiguous, so that its flat view would be a copy.
    """
    if not (math.isfinite(standard_deviation) and standard_deviation > 0.0):
        raise PrivacyError(
            f"noise of standard deviation {standard_deviation}: a positive number is needed",
            code="INVALID_NOISE",
        )
    if not values.is_contiguous():
        raise PrivacyError(
            "noise into a strided tensor: a contiguous one is needed", code="INVALID_NOISE"
        )
    flat = values.detach().view(-1)
    for start in range(0, flat.numel(), _BLOCK_VALUES):
        block = flat[start : start + _BLOCK_VALUES]
        total = torch.zeros_like(block, dtype=torch.float64)
        for _ in range(draws):
            total += torch.randn(
                block.shape, generator=generator, dtype=torch.float64, device=block.device
            )
        block.copy_(total.mul_(standard_deviation / math.sqrt(draws)).add_(block))
