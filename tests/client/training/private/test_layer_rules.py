import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.training.private.patient_loop import assert_same_sums, clipped_sum, looped_sum
from torch import Tensor, nn

from fedward_client.training.per_sample import contributions, convolutions
from fedward_client.training.per_sample.contributions import BatchLayout
from fedward_client.training.per_sample.convolutions import Geometry, prefers_gram
from fedward_client.training.per_sample.layer_rules import LAYER_RULES
from fedward_common.models.standardised import StandardisedConv2d, StandardisedConv3d

CONVOLUTIONS: dict[tuple[int, bool], Any] = {
    (1, False): nn.Conv1d, (2, False): nn.Conv2d, (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d, (2, True): nn.ConvTranspose2d, (3, True): nn.ConvTranspose3d,
}  # fmt: skip
WAYS = ("kept", "gram", "in chunks")


def squared_output(outputs: Tensor, targets: Tensor) -> Tensor:
    del targets
    wiggle = torch.sin(torch.arange(outputs[0].numel(), dtype=outputs.dtype)).view(outputs[0].shape)
    return (outputs * wiggle + outputs.square() / 7).flatten(1).mean(1)


def compare(layer: nn.Module, inputs: Tensor, layout: BatchLayout) -> None:
    module = nn.Sequential(layer.double())
    batch = inputs.double(), torch.zeros(len(inputs))
    _, norms = looped_sum(module, squared_output, batch, layout, 1.0)
    bound = float(norms.median())
    expected, _ = looped_sum(module, squared_output, batch, layout, bound)
    ours, _ = clipped_sum(module, squared_output, batch, layout, bound)
    assert_same_sums(ours, expected)


def force(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        convolutions, "prefers_gram", lambda geometry, *_: way == "gram" and geometry.groups == 1
    )
    if way != "kept":
        monkeypatch.setattr(convolutions, "_LARGEST_KEPT_BYTES", 2000)


@st.composite
def convolution_cases(draw: st.DrawFn) -> tuple[nn.Module, Tensor, BatchLayout]:
    dims, transposed = draw(st.integers(1, 3)), draw(st.booleans())
    axes = st.integers(1, 3)
    kernel, stride, dilation = (
        tuple(draw(axes) for _ in range(dims)) for _ in ("kernel", "stride", "dilation")
    )
    padding = tuple(
        draw(st.integers(0, gap * (size - 1) if transposed else 2))
        for size, gap in zip(kernel, dilation, strict=True)
    )
    groups = draw(st.sampled_from((1, 1, 2)))
    incoming, outgoing = (groups * draw(st.integers(1, 3)) for _ in range(2))
    options: dict[str, Any] = {"groups": groups, "bias": draw(st.booleans())}
    if transposed:
        options["output_padding"] = tuple(draw(st.integers(0, step - 1)) for step in stride)
    layer = CONVOLUTIONS[dims, transposed](
        incoming, outgoing, kernel, stride, padding, dilation=dilation, **options
    )
    layout = BatchLayout(draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    sides = tuple(draw(st.integers(7, 8)) for _ in range(dims))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    shape = (layout.num_patients * layout.num_views, incoming, *sides)
    return layer, torch.randn(shape, generator=generator), layout


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=convolution_cases())
def test_any_convolution_clips_as_a_loop_does(
    way: str, case: tuple[nn.Module, Tensor, BatchLayout]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        force(way, monkeypatch)
        compare(*case)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("num_views", [1, 2])
@pytest.mark.parametrize("largest_kept_bytes", [1 << 20, 2000, 1])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (StandardisedConv2d(3, 4, 3, padding=1), (3, 5, 6)),
        (StandardisedConv2d(16, 8, 3, padding=1, bias=False), (16, 2, 1)),  # gram, were it plain
        (StandardisedConv2d(4, 6, (3, 2), stride=2, groups=2), (4, 6, 5)),
        (StandardisedConv3d(2, 3, 2, bias=False), (2, 3, 3, 3)),
    ],
)
def test_a_standardised_convolution_clips_the_gradient_of_its_parameter(
    layer: nn.Module,
    shape: tuple[int, ...],
    largest_kept_bytes: int,
    num_views: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolutions, "_LARGEST_KEPT_BYTES", largest_kept_bytes)
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(4 * num_views, *shape, generator=generator)
    compare(layer, inputs, BatchLayout(4, num_views))


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("num_views", [1, 3])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(5, 3), (5,)),
        (nn.Linear(5, 3, bias=False), (5,)),
        (nn.Linear(5, 3), (2, 5)),
        (nn.Linear(2, 3), (4, 3, 2)),
        (nn.GroupNorm(2, 6), (6, 4, 3)),
        (nn.GroupNorm(3, 6), (6,)),
        (nn.GroupNorm(1, 2), (2, 3, 3, 3)),
        (nn.InstanceNorm2d(3, affine=True), (3, 4, 4)),
        (nn.InstanceNorm3d(3, affine=True), (3, 2, 2, 2)),
        (nn.LayerNorm(6), (4, 6)),
        (nn.LayerNorm((3, 4)), (3, 4)),
        (nn.LayerNorm(6, bias=False), (4, 6)),
        (nn.PReLU(), (3, 4, 4)),
        (nn.PReLU(3), (3, 4, 4)),
        (nn.PReLU(3), (3,)),
    ],
)
def test_any_other_layer_clips_as_a_loop_does(
    layer: nn.Module, shape: tuple[int, ...], num_views: int
) -> None:
    layout = BatchLayout(4, num_views)
    generator = torch.Generator().manual_seed(2)
    compare(layer, torch.randn(4 * num_views, *shape, generator=generator), layout)


def test_every_rule_is_compared_with_a_loop() -> None:
    named = {*CONVOLUTIONS.values(), nn.Linear, nn.GroupNorm, nn.LayerNorm, nn.PReLU}
    named |= {StandardisedConv2d, StandardisedConv3d}
    assert set(LAYER_RULES) == named | {nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d}


def test_many_channels_on_few_pixels_are_measured_and_not_formed() -> None:
    layout = BatchLayout(16, 1)
    few_pixels = torch.empty(16, 512, 4, 4), torch.empty(16, 512, 4, 4)
    many_pixels = torch.empty(16, 64, 28, 28), torch.empty(16, 64, 28, 28)
    for channels, pair, by_gram in ((512, few_pixels, True), (64, many_pixels, False)):
        shape = (channels, channels, 3, 3)
        geometry = Geometry(shape, (1, 1), (1, 1), (1, 1), 1)
        assert prefers_gram(geometry, *pair, layout) is by_gram
        of_a_function = dataclasses.replace(geometry, to_parameter=torch.clone)
        assert not prefers_gram(of_a_function, *pair, layout)


def test_norms_by_inner_products_do_not_cancel_in_float32() -> None:
    # Two positions whose outer products cancel but for a part in 10^4: the squared norm is 10^-8 of
    # its terms, which float32 would lose.
    geometry = Geometry((1, 1, 1), (1,), (0,), (1,), 1)
    fine = torch.tensor([[[1.0, -1.0]]])
    coarse = torch.tensor([[[1.0, 1.0 - 2.0**-13]]])
    squares = geometry.squared_norms(fine, coarse, BatchLayout(1, 1))
    assert squares.item() == 2.0**-26


def test_small_rows_are_joined_and_large_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = [nn.Parameter(torch.zeros(size)) for size in (2, 3, 5)]
    rows = [torch.arange(2.0 * p.numel()).view(2, -1) for p in parameters]
    kept = [contributions.KeptRows(p, r) for p, r in zip(parameters, rows, strict=True)]
    monkeypatch.setattr(contributions, "_LARGEST_SMALL_ROW", 3)
    joined = contributions.with_small_ones_joined(list(kept))
    assert [part.parameters for part in joined] == [tuple(parameters[:2]), (parameters[2],)]
    sums = joined[0].weighted_sums(torch.tensor([1.0, 10.0]))
    assert [total.tolist() for total in sums] == [[20.0, 31.0], [30.0, 41.0, 52.0]]
