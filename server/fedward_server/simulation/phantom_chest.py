"""Chest-like images that the project draws itself, with soft lesions.

They stand in for X-rays where no data may be shipped: the demo and the tests. Each patient has an
anatomy (`phantom_anatomy`); the hospital's scanner chooses the field of view and spoils contrast,
sharpness and noise in its own way. A lesion is a brighter soft blob inside a lung, among vessels
that look like it a little. Nothing here comes from a person.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward_server.simulation.phantom_anatomy import Anatomy, FloatArray, lesions, tissue, vessels
from fedward_server.simulation.picture_blur import blurred

GREY_BITS = 12
SHARE_WITH_TWO_IMAGES = 0.25
_PIXELS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class ChestScanner:
    """What a hospital's X-ray machine does to every picture.

    `blur_share` is a standard deviation as a share of the picture's width; `noise` one in units of
    the grey scale 0..1; `field_of_view` above 1 shows more than the chest; `gamma` above 1 darkens.
    """

    gamma: float
    contrast: float
    blur_share: float
    noise: float
    field_of_view: float
    rotation_degrees: float


@dataclass(frozen=True)
class ChestPictures:
    """Some of a hospital's pictures.

    Attributes:
        images: Grey values 0..4095, bright is dense, shape (n, rows, columns).
        masks: 1 where a lesion is, else 0, of the same shape.
        patients: Number of the patient of each image, shape (n,), rising.
        splits: "train", "validation" or "test" of each image; a patient's images share one.
    """

    images: NDArray[np.uint16]
    masks: NDArray[np.uint8]
    patients: NDArray[np.int64]
    splits: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """1 where the image has a lesion, else 0, shape (n,)."""
        return np.asarray(self.masks.any(axis=(1, 2)), dtype=np.int64)


def _body_coordinates(
    scanner: ChestScanner, num_images: int, size: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Where each pixel lies in the body, shape (images, size, size) twice; pose varies a little."""
    steps = (np.arange(size) + 0.5) * 2 / size - 1
    row, column = np.meshgrid(steps, steps, indexing="ij")
    angles = scanner.rotation_degrees + rng.normal(0, 2.0, (num_images, 1, 1))
    cos, sin = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    scale = scanner.field_of_view * rng.uniform(0.96, 1.04, (num_images, 1, 1))
    shift_x, shift_y = rng.uniform(-0.04, 0.04, (2, num_images, 1, 1))
    x = scale * (cos * column - sin * row) + shift_x
    return x, scale * (sin * column + cos * row) + shift_y


def _scanned(
    scene: FloatArray, scanner: ChestScanner, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Turn grey values of the body into what this scanner writes, with its grain."""
    sharp = scene + rng.normal(0, scanner.noise, scene.shape)
    image = blurred(sharp, scanner.blur_share * scene.shape[-1])
    image += rng.normal(0, scanner.noise / 2, scene.shape)
    exposure = rng.normal(0, 0.03, (len(scene), 1, 1))
    image = (0.5 + scanner.contrast * (image - 0.5) + exposure).clip(0, 1) ** scanner.gamma
    return np.rint(((1 << GREY_BITS) - 1) * image).astype(np.uint16)


def draw_chests(
    scanner: ChestScanner,
    num_patients: int,
    image_size: int,
    rng: np.random.Generator,
    *,
    prevalence: float,
) -> Iterator[ChestPictures]:
    """Draw all images of a hospital, some at a time, so that memory does not grow with them.

    Some patients have two images of the same anatomy in another pose. Prevalence is met to the
    nearest patient, and the split is 60/20/20 among the ill and among the healthy.
    """
    ill = deal_illness(num_patients, prevalence, rng)
    splits = split_patients(ill, rng)
    twice = (rng.random(num_patients) < SHARE_WITH_TWO_IMAGES).astype(np.int64)
    of_images = np.repeat(np.arange(num_patients), 1 + twice)
    anatomies = Anatomy.drawn(ill, rng)
    at_once = max(1, _PIXELS_AT_ONCE // image_size**2)
    for start in range(0, len(of_images), at_once):
        patients = of_images[start : start + at_once]
        anatomy = anatomies.take(patients)
        x, y = _body_coordinates(scanner, len(patients), image_size, rng)
        brightness, mask = lesions(anatomy, x, y)
        scene = tissue(anatomy, x, y) + vessels(anatomy, x, y) + brightness
        images = _scanned(scene, scanner, rng)
        yield ChestPictures(
            images, mask.astype(np.uint8), patients, tuple(splits[patient] for patient in patients)
        )


def deal_illness(
    num_patients: int, prevalence: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Say who is ill, in random order; the share is met to the nearest patient."""
    return rng.permutation(np.arange(num_patients) < round(prevalence * num_patients))


def split_patients(ill: NDArray[np.bool_], rng: np.random.Generator) -> list[str]:
    """Deal out each class in random order: of ten, six train, two validate and two test."""
    hand = ("train", "validation", "train", "test", "train") * 2
    splits = [""] * len(ill)
    for group in (np.flatnonzero(ill), np.flatnonzero(~ill)):
        for place, patient in enumerate(rng.permutation(group)):
            splits[patient] = hand[place % len(hand)]
    return splits
