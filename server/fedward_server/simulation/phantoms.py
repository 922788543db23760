"""Chest-like images that the project draws itself: three hospitals, three scanners, soft lesions.

They stand in for X-rays where no data may be shipped: the demo and the tests. Each patient has an
anatomy (`phantom_anatomy`); the hospital's scanner chooses the field of view and spoils contrast,
sharpness and noise in its own way. A lesion is a brighter soft blob inside a lung, among vessels
that look like it a little. Nothing here comes from a person.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedward_common.errors import ConfigurationError
from fedward_server.simulation.phantom_anatomy import Anatomy, FloatArray, lesions, tissue, vessels

ByteImages = NDArray[np.uint8]

SHARE_WITH_TWO_IMAGES = 0.25


@dataclass(frozen=True)
class Scanner:
    """What a hospital's machine does to every picture.

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
class Hospital:
    """A hospital of the demo; `prevalence` is the share of its patients with a lesion."""

    name: str
    prevalence: float
    scanner: Scanner


HOSPITALS = (
    Hospital("hospital-north", 0.7, Scanner(1.0, 1.0, 0.005, 0.02, 1.0, 0.0)),
    Hospital("hospital-river", 0.5, Scanner(0.7, 0.75, 0.014, 0.03, 0.87, 4.0)),
    Hospital("hospital-south", 0.3, Scanner(1.45, 1.1, 0.008, 0.045, 1.18, -3.0)),
)


@dataclass(frozen=True)
class Phantoms:
    """One hospital's pictures.

    Attributes:
        images: Grey values 0..255, shape (n, rows, columns).
        masks: 1 where a lesion is, else 0, of the same shape.
        patients: Number of the patient of each image, shape (n,), rising.
        splits: "train", "validation" or "test" of each image; a patient's images share one.
    """

    images: ByteImages
    masks: ByteImages
    patients: NDArray[np.int64]
    splits: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """1 where the image has a lesion, else 0, shape (n,)."""
        return np.asarray(self.masks.any(axis=(1, 2)), dtype=np.int64)


def _body_coordinates(
    scanner: Scanner, num_images: int, size: int, rng: np.random.Generator
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


def _blurred(images: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur by `sigma` pixels; the border pixel goes on beyond the border."""
    reach = max(1, math.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        width = [(0, 0), (0, 0), (0, 0)]
        width[axis] = (reach, reach)
        padded, size = np.pad(images, width, mode="edge"), images.shape[axis]
        shifted = (padded.take(range(i, i + size), axis=axis) for i in range(len(weights)))
        images = sum(
            (w * image for w, image in zip(weights, shifted, strict=True)), np.zeros_like(images)
        )
    return images


def _scanned(scene: FloatArray, scanner: Scanner, rng: np.random.Generator) -> ByteImages:
    """Turn grey values of the body into what this scanner writes, with its grain."""
    sharp = scene + rng.normal(0, scanner.noise, scene.shape)
    image = _blurred(sharp, scanner.blur_share * scene.shape[-1])
    image += rng.normal(0, scanner.noise / 2, scene.shape)
    exposure = rng.normal(0, 0.03, (len(scene), 1, 1))
    image = (0.5 + scanner.contrast * (image - 0.5) + exposure).clip(0, 1) ** scanner.gamma
    return np.rint(255 * image).astype(np.uint8)


def draw_hospital(
    hospital: Hospital, num_patients: int, image_size: int, rng: np.random.Generator
) -> Phantoms:
    """Draw all images of a hospital.

    Some patients have two images of the same anatomy in another pose. Prevalence is met to the
    nearest patient, and the split is 60/20/20 among the ill and among the healthy.
    """
    ill = rng.permutation(np.arange(num_patients) < round(hospital.prevalence * num_patients))
    splits = _split_patients(ill, rng)
    twice = (rng.random(num_patients) < SHARE_WITH_TWO_IMAGES).astype(np.int64)
    patients = np.repeat(np.arange(num_patients), 1 + twice)
    anatomy = Anatomy.drawn(ill, rng).take(patients)
    x, y = _body_coordinates(hospital.scanner, len(patients), image_size, rng)
    brightness, mask = lesions(anatomy, x, y)
    scene = tissue(anatomy, x, y) + vessels(anatomy, x, y) + brightness
    images = _scanned(scene, hospital.scanner, rng)
    of_image = tuple(splits[patient] for patient in patients)
    return Phantoms(images, mask.astype(np.uint8), patients, of_image)


def _split_patients(ill: NDArray[np.bool_], rng: np.random.Generator) -> list[str]:
    """Deal out each class in random order: of ten, six train, two validate and two test."""
    hand = ("train", "validation", "train", "test", "train") * 2
    splits = [""] * len(ill)
    for group in (np.flatnonzero(ill), np.flatnonzero(~ill)):
        for place, patient in enumerate(rng.permutation(group)):
            splits[patient] = hand[place % len(hand)]
    return splits


def make_phantoms(
    folder: Path,
    *,
    patients_per_hospital: Sequence[int] = (60, 40, 24),
    image_size: int = 64,
    seed: int = 0,
) -> Path:
    """Write the images of up to three hospitals, and the cohorts file that names them.

    Each hospital's folder has `images/NNNN.png` (8-bit grey), `masks/NNNN.png` (0 and 1) and
    `manifest.csv` (file, mask, patient, label, split), with paths relative to it. The same
    arguments give the same pixels; a hospital's depend on no other's number of patients.

    Returns:
        `folder/cohorts.toml`, whose paths are relative to `folder`, the data root.

    Raises:
        ConfigurationError: There is no hospital or a fourth one, one has fewer than 10 patients, or
            the images are smaller than 32 pixels.
    """
    numbers = tuple(patients_per_hospital)
    if not 1 <= len(numbers) <= len(HOSPITALS) or min(numbers) < 10 or image_size < 32:
        raise ConfigurationError(
            f"phantoms of {numbers} patients, {image_size} pixels, cannot be drawn",
            hint=f"1 to {len(HOSPITALS)} hospitals of 10 patients or more, 32 pixels or more",
        )
    tables = []
    for place, (hospital, number) in enumerate(zip(HOSPITALS, numbers, strict=False)):
        rng = np.random.default_rng([seed, place])
        _write_hospital(folder, hospital, draw_hospital(hospital, number, image_size, rng))
        tables.append(_cohort_table(hospital.name))
    cohorts = folder / "cohorts.toml"
    cohorts.write_text("\n".join(tables), encoding="utf-8")
    return cohorts


def _write_hospital(folder: Path, hospital: Hospital, phantoms: Phantoms) -> None:
    home = folder / hospital.name
    for name in ("images", "masks"):
        (home / name).mkdir(parents=True, exist_ok=True)
    short = hospital.name.removeprefix("hospital-")
    with (home / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "mask", "patient", "label", "split"])
        for number, patient in enumerate(phantoms.patients):
            image, mask = f"images/{number:04}.png", f"masks/{number:04}.png"
            Image.fromarray(phantoms.images[number]).save(home / image)
            Image.fromarray(phantoms.masks[number]).save(home / mask)
            label, split = phantoms.labels[number], phantoms.splits[number]
            table.writerow([image, mask, f"{short}-{patient:04}", label, split])


def _cohort_table(name: str) -> str:
    return f"""[sites.{name}]
source = "image-archive"
path = "{name}"
manifest = "{name}/manifest.csv"

[sites.{name}.labels]
0 = "no-lesion"
1 = "lesion"
"""
