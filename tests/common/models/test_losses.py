import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedward_common.job.job_file import LossSection, TaskClass, TaskSection
from fedward_common.models.losses import LossPerExample, build_loss

NUM_CLASSES = 3
LOGITS = torch.tensor([[0.0, 0.0, math.log(2)], [2.0, -1.0, 0.5]])
TARGET = torch.tensor([2, 1])


def loss_of(kind: str = "classification", num_classes: int = 3, **section: Any) -> LossPerExample:
    classes = tuple(TaskClass(i, str(i)) for i in range(num_classes))
    return build_loss(LossSection(**section), TaskSection(kind, classes))  # type: ignore[arg-type]  # a Literal


def random_masks(*spatial: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, NUM_CLASSES, *spatial, generator=generator)
    return logits, torch.randint(0, NUM_CLASSES, (4, *spatial), generator=generator)


def test_cross_entropy_of_odds_1_1_2_is_ln_2() -> None:
    values = loss_of()(LOGITS, TARGET)
    assert values.shape == (2,)
    assert values[0].item() == pytest.approx(math.log(2))  # p = 2/4, by hand


def test_label_smoothing_mixes_in_the_mean_over_classes() -> None:
    log_p = LOGITS.log_softmax(1)
    expected = -0.9 * log_p[[0, 1], TARGET] - 0.1 * log_p.mean(1)
    torch.testing.assert_close(loss_of(label_smoothing=0.1)(LOGITS, TARGET), expected)


def test_class_weights_multiply_and_do_not_depend_on_the_batch() -> None:
    loss = loss_of(class_weights=(1.0, 3.0, 0.5))
    both = loss(LOGITS, TARGET)
    torch.testing.assert_close(both, loss_of()(LOGITS, TARGET) * torch.tensor([0.5, 3.0]))
    torch.testing.assert_close(both[:1], loss(LOGITS[:1], TARGET[:1]))


def test_focal_of_an_even_guess_with_gamma_2_is_a_quarter_of_ln_2() -> None:
    values = loss_of(name="focal", gamma=2.0)(LOGITS, TARGET)
    assert values[0].item() == pytest.approx(0.25 * math.log(2))  # (1 - 1/2)^2 ln 2, by hand


def test_focal_with_gamma_0_is_cross_entropy() -> None:
    weights = (1.0, 2.0, 3.0)
    focal = loss_of(name="focal", gamma=0.0, class_weights=weights)(LOGITS, TARGET)
    torch.testing.assert_close(focal, loss_of(class_weights=weights)(LOGITS, TARGET))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_finite_gradients_where_the_class_is_certain(gamma: float) -> None:
    logits = torch.tensor([[90.0, -90.0, 0.0], [-90.0, 90.0, 0.0]], requires_grad=True)
    loss_of(name="focal", gamma=gamma)(logits, torch.tensor([0, 0])).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_focal_over_masks_agrees_with_monai() -> None:
    from monai.losses.focal_loss import FocalLoss

    logits, target = random_masks(5, 6)
    reference = FocalLoss(
        include_background=True, to_onehot_y=True, use_softmax=True, gamma=1.5, reduction="none"
    )(logits, target[:, None])
    values = loss_of("segmentation", name="focal", gamma=1.5)(logits, target)
    # MONAI keeps one map a class, 0 but for the true one.
    torch.testing.assert_close(values, reference.sum(1).flatten(1).mean(1))


@pytest.mark.parametrize("spatial", [(5, 6), (3, 4, 5)])
def test_dice_agrees_with_a_slow_second_version(spatial: tuple[int, ...]) -> None:
    logits, target = random_masks(*spatial)
    probabilities = logits.softmax(1).double().numpy()
    expected = []
    for p, mask in zip(probabilities, target.numpy(), strict=True):
        scores = [
            2 * p[k][mask == k].sum() / (p[k].sum() + (mask == k).sum())
            for k in range(1, NUM_CLASSES)
        ]
        expected.append(1 - np.mean(scores))
    values = loss_of("segmentation", name="dice")(logits, target)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4)


def test_dice_of_a_perfect_prediction_is_0_and_of_a_wrong_one_1() -> None:
    _, target = random_masks(6, 6)
    perfect = 100.0 * functional.one_hot(target, NUM_CLASSES).movedim(-1, 1)
    loss = loss_of("segmentation", name="dice")
    np.testing.assert_allclose(loss(perfect, target), np.zeros(4), atol=1e-5)
    np.testing.assert_allclose(loss(perfect, (target + 1) % 3), np.ones(4), atol=1e-4)


def test_dice_of_an_absent_and_unpredicted_structure_is_0() -> None:
    nothing = torch.zeros(1, 4, 4, dtype=torch.long)
    logits = 200.0 * functional.one_hot(nothing, 2).movedim(-1, 1)
    assert loss_of("segmentation", 2, name="dice")(logits, nothing).item() == pytest.approx(0)


def test_dice_with_cross_entropy_is_the_sum_and_weighs_only_the_second() -> None:
    logits, target = random_masks(4, 4)
    weights = (0.5, 1.0, 2.0)
    both = loss_of("segmentation", name="dice-cross-entropy", class_weights=weights)
    parts = loss_of("segmentation", name="dice")(logits, target) + loss_of(
        "segmentation", class_weights=weights
    )(logits, target)
    torch.testing.assert_close(both(logits, target), parts)


def test_half_precision_logits_are_lifted_to_float32() -> None:
    assert loss_of()(LOGITS.bfloat16(), TARGET).dtype == torch.float32
