"""From a network's output to classes and masks."""

import numpy as np
import pytest
from tests.client.prediction.tiny_models import BRIGHT, blob, brightness_model, with_thresholds

from fedward_client.prediction.network_answer import called_classes, class_probabilities, segment


def probabilities(*rows: tuple[float, ...]) -> list[np.ndarray]:
    return [np.array(row, dtype=np.float32) for row in rows]


def test_of_two_classes_the_second_is_called_from_its_threshold_on() -> None:
    model = with_thresholds(brightness_model((8, 8), kind="classification"), finding=0.25)
    answer = called_classes(model, probabilities((0.75, 0.25)))
    assert answer.is_called == (False, True)
    assert answer.thresholds == (None, 0.25)
    assert called_classes(model, probabilities((0.76, 0.24))).is_called == (True, False)


def test_without_a_threshold_the_likeliest_class_is_called() -> None:
    model = brightness_model((8, 8), kind="classification")
    assert called_classes(model, probabilities((0.6, 0.4))).is_called == (True, False)


def test_images_of_a_series_are_averaged() -> None:
    model = brightness_model((8, 8), kind="classification")
    answer = called_classes(model, probabilities((0.9, 0.1), (0.2, 0.8), (0.1, 0.9)))
    np.testing.assert_allclose(answer.probabilities, [0.4, 0.6], atol=1e-6)  # by hand
    assert answer.num_images == 3
    assert answer.is_called == (False, True)


def test_findings_of_a_multi_label_task_are_called_each_for_itself() -> None:
    model = brightness_model((8, 8), "task.multi_label=true", kind="classification")
    answer = called_classes(with_thresholds(model, normal=0.7), probabilities((0.6, 0.6)))
    assert answer.is_called == (False, True)
    assert answer.thresholds == (0.7, 0.5)
    both = class_probabilities(model, np.full((1, 8, 8), BRIGHT + 1, dtype=np.float32))
    np.testing.assert_allclose(both, 1 / (1 + np.exp([4.0, -4.0])), rtol=1e-3)


def test_a_mask_of_the_models_own_size_is_exact() -> None:
    image = blob((5, 8, 10), 1)
    mask = segment(brightness_model(image.shape), image[np.newaxis].astype(np.float32))
    np.testing.assert_array_equal(mask, image >= BRIGHT)


@pytest.mark.parametrize("size", [(7, 12, 11), (4, 12, 7), (5, 8, 10)])
def test_cropping_and_padding_are_undone_exactly(size: tuple[int, ...]) -> None:
    image = blob((5, 8, 10), 1)
    model = brightness_model(size, "data.fit=crop-or-pad")
    mask = segment(model, image[np.newaxis].astype(np.float32))
    seen = np.zeros(image.shape, dtype=bool)
    inner = tuple(
        slice(max(0, (old - new) // 2), max(0, (old - new) // 2) + min(old, new))
        for old, new in zip(image.shape, size, strict=True)
    )
    seen[inner] = True
    np.testing.assert_array_equal(mask, (image >= BRIGHT) & seen)


def test_resizing_is_undone_to_about_a_voxel() -> None:
    image = np.full((1, 60, 40), 100.0, dtype=np.float32)
    image[0, 12:30, 8:28] = 900.0
    mask = segment(brightness_model((45, 52)), image)
    assert mask.shape == (60, 40)
    truth = image[0] >= BRIGHT
    dice = 2 * (mask.astype(bool) & truth).sum() / (mask.sum() + truth.sum())
    assert dice > 0.95
    np.testing.assert_allclose(
        np.argwhere(mask).mean(axis=0), np.argwhere(truth).mean(axis=0), atol=0.3
    )
