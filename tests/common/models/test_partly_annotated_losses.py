"""Losses of findings, and losses that leave out what is not annotated."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.job.job_file import LossSection, TaskClass, TaskSection
from fedward_common.models.losses import LossPerExample, build_finding_loss, build_loss

LN2 = math.log(2)
FINDING_LOSSES: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"class_weights": (1.0, 3.0, 0.5)},
    {"name": "focal", "gamma": 2.0},
    {"name": "focal", "gamma": 0.0, "class_weights": (1.0, 3.0, 0.5)},
]
MASK_LOSSES: list[dict[str, Any]] = [
    {"label_smoothing": 0.1, "class_weights": (1.0, 3.0, 0.5)},
    {"name": "focal", "class_weights": (1.0, 3.0, 0.5)},
    {"name": "dice"},
    {"name": "dice-cross-entropy"},
]


def of_findings(**section: Any) -> LossPerExample:
    classes = tuple(TaskClass(i, str(i)) for i in range(3))
    return build_loss(
        LossSection(**section), TaskSection("classification", classes, multi_label=True)
    )


def of_masks(partly_annotated: bool = True, **section: Any) -> LossPerExample:
    classes = tuple(TaskClass(i, str(i)) for i in range(3))
    task = TaskSection("segmentation", classes)
    return build_loss(LossSection(**section), task, partly_annotated=partly_annotated)


def gradient_of(loss: LossPerExample, logits: Tensor, target: Tensor) -> Tensor:
    leaf = logits.clone().requires_grad_()
    loss(leaf, target).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    assert leaf.grad is not None
    return leaf.grad


def random_findings(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(5, 3, generator=generator)
    return logits, torch.randint(NOT_ANNOTATED, 2, (5, 3), generator=generator)


def random_masks() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(4, 3, 5, 6, generator=generator),
        torch.randint(0, 3, (4, 5, 6), generator=generator),
    )


def test_the_loss_of_an_image_is_the_mean_over_its_annotated_findings() -> None:
    logits = torch.tensor([[0.0, math.log(3), 50.0]])
    target = torch.tensor([[1, 0, NOT_ANNOTATED]])
    # -ln 1/2 and -ln(1 - 3/4), by hand
    assert of_findings()(logits, target).item() == pytest.approx((LN2 + 2 * LN2) / 2)


def test_a_class_weight_multiplies_the_loss_of_its_finding_present_or_absent() -> None:
    logits = torch.zeros(2, 3)
    loss = of_findings(class_weights=(1.0, 2.0, 6.0))
    target = torch.tensor([[1, 1, 1], [0, 0, NOT_ANNOTATED]])
    torch.testing.assert_close(loss(logits, target), torch.tensor([3 * LN2, 1.5 * LN2]))


@pytest.mark.parametrize("section", [{}, {"label_smoothing": 0.2}, {"name": "focal", "gamma": 1.5}])
def test_a_finding_costs_what_softmax_of_two_classes_costs(section: dict[str, Any]) -> None:
    logits, target = random_findings(1)
    target = target.clamp_min(0)
    two = build_loss(
        LossSection(**section),
        TaskSection("classification", (TaskClass(0, "n"), TaskClass(1, "y"))),
    )
    flat = logits.flatten()
    expected = two(torch.stack([torch.zeros_like(flat), flat], dim=1), target.flatten())
    values = build_finding_loss(LossSection(**section))(logits, target)
    torch.testing.assert_close(values.flatten(), expected)


def test_focal_of_findings_agrees_with_monai() -> None:
    from monai.losses.focal_loss import FocalLoss

    logits, target = random_findings(2)
    target = target.clamp_min(0)
    reference = FocalLoss(gamma=2.0, weight=[1.0, 3.0, 0.5], reduction="none")(
        logits, target.float()
    )
    values = of_findings(name="focal", gamma=2.0, class_weights=(1.0, 3.0, 0.5))(logits, target)
    torch.testing.assert_close(values, reference.mean(1))


@pytest.mark.parametrize("section", FINDING_LOSSES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), other=st.sampled_from([-80.0, 0.0, 80.0]))
def test_a_finding_that_is_not_annotated_has_no_loss_and_no_gradient(
    section: dict[str, Any], seed: int, other: float
) -> None:
    logits, target = random_findings(seed)
    loss, masked = of_findings(**section), target == NOT_ANNOTATED
    before = loss(logits, target)
    changed = torch.where(masked, torch.tensor(other), logits)
    assert torch.equal(loss(changed, target), before)
    gradient = gradient_of(loss, changed, target)
    assert torch.equal(gradient[masked], torch.zeros_like(gradient[masked]))
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("section", FINDING_LOSSES)
def test_an_image_without_any_annotation_costs_0_and_moves_nothing(section: dict[str, Any]) -> None:
    logits, target = torch.tensor([[5.0, -3.0, 90.0]] * 2), torch.full((2, 3), NOT_ANNOTATED)
    assert torch.equal(of_findings(**section)(logits, target), torch.zeros(2))
    assert torch.equal(gradient_of(of_findings(**section), logits, target), torch.zeros(2, 3))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_findings_has_finite_gradients_where_they_are_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]])
    target = torch.tensor([[1, 0, 1], [1, 0, NOT_ANNOTATED]])
    assert torch.isfinite(gradient_of(of_findings(name="focal", gamma=gamma), logits, target)).all()


@pytest.mark.parametrize("section", [{}, {"name": "focal", "class_weights": (1.0, 3.0, 0.5)}])
def test_a_class_that_is_not_annotated_costs_0(section: dict[str, Any]) -> None:
    task = TaskSection("classification", tuple(TaskClass(i, str(i)) for i in range(3)))
    logits, _ = random_findings(4)
    target = torch.tensor([0, 2, NOT_ANNOTATED, 1, NOT_ANNOTATED])
    known = target != NOT_ANNOTATED
    loss = build_loss(LossSection(**section), task, partly_annotated=True)
    whole = build_loss(LossSection(**section), task)
    values = loss(logits, target)
    torch.testing.assert_close(values[known], whole(logits[known], target[known]))
    assert torch.equal(values[~known], torch.zeros(2))
    assert torch.equal(gradient_of(loss, logits, target)[~known], torch.zeros(2, 3))


@pytest.mark.parametrize("section", MASK_LOSSES)
def test_voxels_that_are_not_annotated_have_no_part_in_a_loss(section: dict[str, Any]) -> None:
    logits, target = random_masks()
    expected = of_masks(False, **section)(logits[..., :4], target[..., :4])
    target[..., 4:] = NOT_ANNOTATED_VOXEL
    for scale in (1.0, -30.0):
        logits[..., 4:] *= scale
        torch.testing.assert_close(of_masks(**section)(logits, target), expected)
    gradient = gradient_of(of_masks(**section), logits, target)
    assert torch.equal(gradient[..., 4:], torch.zeros_like(gradient[..., 4:]))
    assert gradient[..., :4].abs().sum() > 0


@pytest.mark.parametrize("section", MASK_LOSSES)
def test_a_mask_without_any_annotation_costs_0_and_moves_nothing(section: dict[str, Any]) -> None:
    logits, target = random_masks()
    target[:] = NOT_ANNOTATED_VOXEL
    np.testing.assert_allclose(of_masks(**section)(logits, target), np.zeros(4), atol=1e-6)
    gradient = gradient_of(of_masks(**section), logits, target)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("section", MASK_LOSSES)
def test_where_all_is_annotated_both_ways_agree(section: dict[str, Any]) -> None:
    logits, target = random_masks()
    whole = of_masks(False, **section)(logits, target)
    torch.testing.assert_close(of_masks(**section)(logits, target), whole)


def test_without_anything_missing_the_loss_is_torchs_own_to_the_last_bit() -> None:
    logits, target = random_masks()
    expected = functional.cross_entropy(logits, target, reduction="none").flatten(1).mean(1)
    assert torch.equal(of_masks(False)(logits, target), expected)
    classes = (TaskClass(0, "n"), TaskClass(1, "y"), TaskClass(2, "z"))
    labels = target[:, 0, 0]
    one = build_loss(LossSection(), TaskSection("classification", classes))
    rows = logits[:, :, 0, 0]
    assert torch.equal(one(rows, labels), functional.cross_entropy(rows, labels, reduction="none"))
