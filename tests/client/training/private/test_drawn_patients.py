import dataclasses

import numpy as np
import pytest
import torch
from tests.client.training.private.quiet_noise import CPU, QuietNoise, patients

from fedward_client.training.local_training import TrainingData
from fedward_client.training.per_sample.drawn_patients import (
    DrawnPatients,
    PatientDraws,
    PatientViews,
)
from fedward_common.job.job_file import AugmentationSection
from fedward_common.privacy.noise_source import SeededNoise

AUGMENTED = AugmentationSection(flip=("left-right",), shift=0.2, noise=0.1)


def uneven_patients() -> TrainingData:
    data = patients(6, images_each=2)
    order = [np.array([0]), np.array([5, 7, 1]), np.array([2, 3])]
    return dataclasses.replace(data, cases_by_patient=order)


def views_of(data: TrainingData, num_views: int, section: AugmentationSection) -> PatientViews:
    return PatientViews(data, data.labels, num_views, section, CPU)


def test_a_draw_takes_one_of_each_drawn_patients_images() -> None:
    draws, noise = PatientDraws(uneven_patients()), SeededNoise(1, "test")
    counts = dict.fromkeys(range(12), 0)
    for _ in range(6000):
        cases = draws.draw(0.5, noise).cases
        assert len(cases) <= 3
        for case in cases:
            counts[int(case)] += 1
    # Half of the draws take a patient, and each of its images is equally likely.
    expected = {0: 3000, 5: 1000, 7: 1000, 1: 1000, 2: 1500, 3: 1500}
    for case, count in counts.items():
        assert count == pytest.approx(expected.get(case, 0), abs=150)


def test_nobody_may_be_drawn() -> None:
    drawn = PatientDraws(uneven_patients()).draw(0.5, QuietNoise([]))
    assert (drawn.num_patients, drawn.seeds.size) == (0, 0)


def test_views_stand_view_by_view_and_differ() -> None:
    data = patients(4)
    drawn = PatientDraws(data).draw(1.0, QuietNoise())
    images, labels = views_of(data, 3, AUGMENTED).of(drawn, 0, 4)
    assert images.shape == (12, 1, 12, 16)
    assert labels.tolist() == [0, 1, 0, 1] * 3
    assert not torch.equal(images[:4], images[4:8])
    plain, _ = views_of(data, 2, AugmentationSection()).of(drawn, 0, 4)
    np.testing.assert_array_equal(plain[4:].numpy(), data.images[drawn.cases])


@pytest.mark.parametrize("num_views", [1, 2])
def test_a_part_of_a_draw_is_the_same_whatever_the_other_parts(num_views: int) -> None:
    data = patients(40)
    drawn = PatientDraws(data).draw(1.0, QuietNoise())
    assert drawn.seeds.size == 3
    views = views_of(data, num_views, AUGMENTED)
    whole, _ = views.of(drawn, 0, 40)
    by_view = whole.view(num_views, 40, *whole.shape[1:])
    for begin, end in ((0, 1), (15, 17), (3, 35), (39, 40)):
        part, labels = views.of(drawn, begin, end)
        assert torch.equal(
            part.view(num_views, end - begin, *part.shape[1:]), by_view[:, begin:end]
        )
        assert len(labels) == num_views * (end - begin)


def test_a_mask_moves_with_its_image() -> None:
    data = patients(8)
    assert data.masks is not None
    drawn = DrawnPatients(np.arange(8), np.array([77], dtype=np.uint64))
    bright = dataclasses.replace(data, images=data.masks[:, None].astype(np.float32))
    section = AugmentationSection(flip=("left-right", "up-down"))
    images, masks = PatientViews(bright, bright.masks, 2, section, CPU).of(drawn, 0, 8)  # type: ignore[arg-type]  # not None
    assert masks.dtype == torch.int64
    assert torch.equal(images[:, 0].long(), masks)
    assert not torch.equal(masks[:8], torch.from_numpy(data.masks).long())
