"""Norms of per-patient convolution gradients without the gradients.

A weight gradient is a sum over output positions of an outer product, so its squared norm is a sum
over pairs of positions of (inner product of input patches) times (inner product of output
gradients): cheap where positions are few and channels many. Patch products are sums of shifted
pixel products, so pixels are multiplied once and not once for every kernel element.

All in float64: these sums cancel, and in float32 a norm could come out too small, which would let
a patient through the clip. Products of float32 values are exact in float64.

Source: Goodfellow 2015, arXiv:1510.01799; for convolutions Bu et al. 2022, arXiv:2205.10683.
"""

import functools
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from fedward_client.training.per_sample.contributions import BatchLayout


def gram_squared_norms(
    fine: Tensor,
    coarse: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    layout: BatchLayout,
) -> Tensor:
    """Give squared norms of the gradients sum_t coarse[o, t] * fine[i, t * stride + offset].

    Args:
        fine: A convolution's input (of a transposed one the output's gradient), shape
            (V * P, channels, *spatial).
        coarse: A convolution's output gradient (of a transposed one the input).
        kernel: Sizes along the spatial axes, as the three that follow.
        stride: Steps of `fine` between neighbours of `coarse`.
        padding: Zeros around `fine`.
        dilation: Distance of kernel elements.
        layout: Of the batch.

    Returns:
        Float64, shape (P,).
    """
    if all(size == 1 for size in kernel) and not any(padding):
        fine = _strided(fine, stride, coarse.shape[2:])
        stride = (1,) * len(stride)
    pixels = _pad_both(_gram(fine, layout), padding)
    shifted = (
        pixels[(slice(None), slice(None), *places, slice(None), *places)]
        for places in _places(kernel, stride, dilation, coarse.shape[2:])
    )
    patches = functools.reduce(torch.add, shifted)
    return (patches * _gram(coarse, layout)).flatten(1).sum(1)


def _places(
    kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], lengths: torch.Size
) -> Iterator[tuple[slice, ...]]:
    """Give, for each kernel element, the places of `fine` that it meets."""
    for element in product(*map(range, kernel)):
        yield tuple(
            slice(i * gap, i * gap + step * (length - 1) + 1, step)
            for i, gap, step, length in zip(element, dilation, stride, lengths, strict=True)
        )


def _gram(values: Tensor, layout: BatchLayout) -> Tensor:
    """Give inner products over channels, shape (P, V, *spatial, V, *spatial)."""
    num_views, num_patients = layout.num_views, layout.num_patients
    spatial = values.shape[2:]
    by_view = values.double().view(num_views, num_patients, values.shape[1], -1)
    columns = by_view.permute(1, 2, 0, 3).flatten(2)
    inner = torch.bmm(columns.transpose(1, 2), columns)
    return inner.view(num_patients, num_views, *spatial, num_views, *spatial)


def _pad_both(pixels: Tensor, padding: tuple[int, ...]) -> Tensor:
    if not any(padding):
        return pixels
    of_space = [width for size in reversed(padding) for width in (size, size)]
    return functional.pad(pixels, [*of_space, 0, 0, *of_space])


def _strided(fine: Tensor, stride: tuple[int, ...], lengths: torch.Size) -> Tensor:
    places = tuple(
        slice(0, step * (length - 1) + 1, step)
        for step, length in zip(stride, lengths, strict=True)
    )
    return fine[(slice(None), slice(None), *places)].contiguous()
