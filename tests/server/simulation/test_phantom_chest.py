from collections import Counter

import numpy as np
import pytest

from fedward_server.simulation.phantom_chest import ChestPictures, draw_chests
from fedward_server.simulation.phantom_hospitals import HOSPITALS


def drawn(place: int, num_patients: int = 40, image_size: int = 64, seed: int = 3) -> ChestPictures:
    hospital = HOSPITALS[place]
    rng = np.random.default_rng([seed, place])
    parts = list(
        draw_chests(
            hospital.xray.scanner, num_patients, image_size, rng, prevalence=hospital.prevalence
        )
    )
    return ChestPictures(
        np.concatenate([one.images for one in parts]),
        np.concatenate([one.masks for one in parts]),
        np.concatenate([one.patients for one in parts]),
        tuple(split for one in parts for split in one.splits),
    )


def labels_of(pictures: ChestPictures) -> list[int]:
    return [int(mask.any()) for mask in pictures.masks]


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others() -> None:
    first, second, other = (drawn(0, 12, 32, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.images, second.images)
    assert first.splits == second.splits
    assert first.images.shape != other.images.shape or (first.images != other.images).any()


def test_large_pictures_are_drawn_a_few_at_a_time() -> None:
    scanner = HOSPITALS[0].xray.scanner
    parts = draw_chests(scanner, 10, 512, np.random.default_rng(0), prevalence=0.5)
    assert len(next(parts).images) == 4


@pytest.mark.parametrize("place", range(len(HOSPITALS)))
def test_patients_keep_one_label_and_one_split_and_some_have_two_images(place: int) -> None:
    pictures = drawn(place)
    facts: dict[int, set[tuple[int, str]]] = {}
    for patient, label, split in zip(
        pictures.patients.tolist(), labels_of(pictures), pictures.splits, strict=True
    ):
        facts.setdefault(patient, set()).add((label, split))
    assert len(facts) == 40
    assert all(len(seen) == 1 for seen in facts.values())
    assert 40 < len(pictures.images) < 60
    ill = sum(label for seen in facts.values() for label, _ in seen)
    assert ill == round(40 * HOSPITALS[place].prevalence)
    splits = Counter(split for seen in facts.values() for _, split in seen)
    assert 22 <= splits["train"] <= 26
    both = {(label, split) for seen in facts.values() for label, split in seen}
    assert len(both) == 6  # each split has ill and healthy patients


@pytest.mark.parametrize("place", range(len(HOSPITALS)))
def test_a_lesion_is_visible_and_brighter_than_the_lung_around_it(place: int) -> None:
    pictures = drawn(place)
    for mask, label in zip(pictures.masks, labels_of(pictures), strict=True):
        if label:
            assert 8 <= mask.sum() <= 500
    grown = pictures.masks.astype(bool)
    for axis in (1, 2):
        grown = grown | np.roll(grown, 3, axis) | np.roll(grown, -3, axis)
    ring = grown & (pictures.masks == 0)
    inside = pictures.images[pictures.masks == 1].mean()
    assert inside > pictures.images[ring].mean() + 160


def test_the_scanners_differ_in_brightness_contrast_and_sharpness() -> None:
    north, river, south = (drawn(place).images.astype(float) for place in (0, 1, 2))
    assert river.mean() > north.mean() + 320 > south.mean() + 640
    assert river.std() < 0.75 * north.std() < 0.75 * south.std()
    grain = [np.abs(np.diff(images[:, 5:-5, 5:-5], axis=2)).mean() for images in (north, south)]
    smooth = np.abs(np.diff(river[:, 5:-5, 5:-5], axis=2)).mean()
    assert smooth < grain[0] < grain[1]
