"""What a layer adds to the patients' gradients, in one of two forms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import Parameter

_LARGEST_SMALL_ROW = 4096


@dataclass(frozen=True)
class BatchLayout:
    """How a batch is made up: example v * num_patients + p is view v of patient p."""

    num_patients: int
    num_views: int

    def per_example(self, values: Tensor, like: Tensor) -> Tensor:
        """Repeat values of patients, shape (num_patients,), to weigh examples shaped as `like`."""
        return values.repeat(self.num_views).view(-1, *[1] * (like.ndim - 1))

    def part(self, values: Tensor, begin: int, end: int) -> Tensor:
        """Give the examples of patients `begin` to `end`, in the same layout."""
        if (begin, end) == (0, self.num_patients):
            return values
        by_view = values.view(self.num_views, self.num_patients, *values.shape[1:])
        return by_view[:, begin:end].flatten(0, 1)

    def as_groups(self, values: Tensor) -> Tensor:
        """Give (V * P, C, ...) as (V, P * C, ...)."""
        return values.contiguous().view(self.num_views, -1, *values.shape[2:])


class Contribution(Protocol):
    """The part of one or more parameters in the gradient of every patient of a batch."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Whose gradient it is."""

    def squared_norms(self) -> Tensor:
        """Give each patient's squared L2 norm, float64, shape (num_patients,)."""

    def silence(self, patients: Tensor) -> None:
        """Set patients to zero where the mask, shape (num_patients,), is true.

        A weight of 0 would not do: 0 times NaN is NaN.
        """

    def weighted_sums(self, weights: Tensor) -> tuple[Tensor, ...]:
        """Give the sum of the patients' gradients, each times its weight, for each parameter.

        Args:
            weights: Float64, shape (num_patients,).
        """


class KeptRows:
    """Per-patient gradients that were small enough to keep.

    Args:
        parameter: Whose.
        rows: Shape (num_patients, parameter.numel()).
    """

    def __init__(self, parameter: Parameter, rows: Tensor) -> None:
        self.parameters: tuple[Parameter, ...] = (parameter,)
        self.rows = rows

    def squared_norms(self) -> Tensor:
        """Give each patient's squared L2 norm."""
        return squared_norms_of_rows(self.rows)

    def silence(self, patients: Tensor) -> None:
        """Zero whole rows."""
        self.rows = self.rows.masked_fill(patients[:, None], 0)

    def weighted_sums(self, weights: Tensor) -> tuple[Tensor, ...]:
        """One pass over the rows."""
        total = torch.mv(self.rows.t(), weights.to(self.rows.dtype))
        if len(self.parameters) == 1:
            return (total.view_as(self.parameters[0]),)
        parts = torch.split(total, [parameter.numel() for parameter in self.parameters])
        pairs = zip(parts, self.parameters, strict=True)
        return tuple(part.view_as(parameter) for part, parameter in pairs)


class DeferredProduct:
    """Gradients that are never formed: the weighted sum is the layer's own weight gradient.

    The sum over patients of w_p times the gradient of p is the ordinary weight gradient of the
    batch after one of its two factors was multiplied by w_p, since it is linear in each.

    Args:
        parameter: Whose.
        squares: The patients' squared norms, float64.
        factors: The layer's input and its output's gradient, in the order that `product` wants;
            the first axis of each is the examples'.
        product: The layer's weight gradient, summed over examples.
        layout: Of the batch.
    """

    def __init__(
        self,
        parameter: Parameter,
        squares: Tensor,
        factors: tuple[Tensor, Tensor],
        product: Callable[[Tensor, Tensor], Tensor],
        layout: BatchLayout,
    ) -> None:
        self.parameters = (parameter,)
        self._squares, self._factors = squares, factors
        self._product, self._layout = product, layout

    def squared_norms(self) -> Tensor:
        """Give each patient's squared L2 norm."""
        return self._squares

    def silence(self, patients: Tensor) -> None:
        """Zero both factors: either may be what is not finite."""
        first, second = self._factors
        silent = patients.repeat(self._layout.num_views)
        self._factors = (
            first.masked_fill(silent.view(-1, *[1] * (first.ndim - 1)), 0),
            second.masked_fill(silent.view(-1, *[1] * (second.ndim - 1)), 0),
        )

    def weighted_sums(self, weights: Tensor) -> tuple[Tensor, ...]:
        """Weigh the smaller factor, then multiply."""
        first, second = self._factors
        weights = weights.to(first.dtype)
        if first.numel() < second.numel():
            first = first * self._layout.per_example(weights, first)
        else:
            second = second * self._layout.per_example(weights, second)
        return (self._product(first, second),)


def kept_if_trainable(*pairs: tuple[Parameter | None, Tensor]) -> list[Contribution]:
    """Keep the rows of parameters that exist and are trained; rows have any shape (P * ...)."""
    return [
        KeptRows(parameter, rows.view(-1, parameter.numel()))
        for parameter, rows in pairs
        if parameter is not None and parameter.requires_grad
    ]


def with_small_ones_joined(parts: list[Contribution]) -> list[Contribution]:
    """Give a new list with small kept rows as one: each one apart would have a fixed cost."""
    small = [
        part
        for part in parts
        if isinstance(part, KeptRows) and part.rows.shape[1] <= _LARGEST_SMALL_ROW
    ]
    if len(small) < 2:
        return list(parts)
    joined = small[0]
    joined.parameters = tuple(parameter for part in small for parameter in part.parameters)
    joined.rows = torch.cat([part.rows for part in small], dim=1)
    rest = {id(part) for part in small[1:]}
    return [part for part in parts if id(part) not in rest]


def squared_norms_of_rows(rows: Tensor) -> Tensor:
    """Give squared L2 norms in float64, shape (num_rows,)."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.double().square()
