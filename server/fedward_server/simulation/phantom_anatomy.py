"""The chest of a phantom, as formulas in body coordinates.

x runs to the right of the picture and y down it; the chest lies within -1..1. Grey values are 0 for
air and about 1 for bone. Coordinates come as one picture for each anatomy: (n, rows, columns).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MAX_LESIONS = 2
NUM_VESSELS = 14


@dataclass(frozen=True)
class Anatomy:
    """What distinguishes patients; the first axis of each array is the patient.

    Attributes:
        build: Girth, lung width, lung height, heart, tissue and ribs, each -1..1, shape (n, 6).
        vessels: Centre x, y, direction, length and brightness, shape (n, NUM_VESSELS, 5).
        lesions: Centre x, y, radius, squash, direction and brightness, shape (n, MAX_LESIONS, 6).
    """

    build: FloatArray
    vessels: FloatArray
    lesions: FloatArray

    @classmethod
    def drawn(cls, ill: NDArray[np.bool_], rng: np.random.Generator) -> Self:
        """Draw one anatomy for each patient; those who are `ill` have one or two lesions."""
        n = len(ill)
        build = rng.normal(0, 0.5, (n, 6)).clip(-1, 1)
        return cls(build, _draw_vessels(n, rng), _draw_lesions(ill, build, rng))

    def take(self, patients: NDArray[np.int64]) -> "Anatomy":
        """Give the anatomies of these patients, one for each entry."""
        return Anatomy(self.build[patients], self.vessels[patients], self.lesions[patients])

    def build_field(self, column: int) -> FloatArray:
        """Give one trait in a shape that spreads over pictures, (n, 1, 1)."""
        return self.build[:, column, None, None]


def _draw_vessels(n: int, rng: np.random.Generator) -> FloatArray:
    """Streaks that leave the hilum of either lung; brighter near it, as vessels are."""
    shape = (n, NUM_VESSELS)
    side = np.where(np.arange(NUM_VESSELS) % 2 == 0, -1.0, 1.0)
    direction = rng.uniform(-1.3, 1.3, shape)
    distance = rng.uniform(0.02, 0.34, shape)
    x = side * (0.2 + distance * np.cos(direction))
    y = 0.0 + distance * np.sin(direction)
    length, brightness = rng.uniform(0.06, 0.16, shape), rng.uniform(0.03, 0.12, shape)
    return np.stack([x, y, side * direction, length, brightness], axis=-1)


def _draw_lesions(
    ill: NDArray[np.bool_], build: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """One or two blobs for those who are ill; the others' have brightness 0."""
    shape = (len(ill), MAX_LESIONS)
    side = rng.choice([-1.0, 1.0], shape)
    turn, out = rng.uniform(0, 2 * np.pi, shape), 0.62 * np.sqrt(rng.uniform(0, 1, shape))
    x = side * (0.43 + (0.25 + 0.03 * build[:, 1:2]) * out * np.cos(turn))
    y = -0.08 + (0.52 + 0.05 * build[:, 2:3]) * out * np.sin(turn)
    radius, squash = rng.uniform(0.09, 0.18, shape), rng.uniform(0.75, 1.0, shape)
    brightness = rng.uniform(0.22, 0.45, shape)
    brightness[:, 1] *= rng.random(len(ill)) < 0.3
    brightness *= ill[:, None]
    angle = rng.uniform(0, np.pi, shape)
    return np.stack([x, y, radius, squash, angle, brightness], axis=-1)


def _inside(distance: FloatArray, softness: float) -> FloatArray:
    """1 where `distance` is well below 1, 0 well above, one half at 1."""
    return 1 / (1 + np.exp(np.clip((distance - 1) / softness, -50, 50)))


def _ellipse(
    x: FloatArray, y: FloatArray, width: FloatArray | float, height: FloatArray | float
) -> FloatArray:
    return np.hypot(x / width, y / height)


def _lungs(anatomy: Anatomy, x: FloatArray, y: FloatArray) -> FloatArray:
    """Share of air, 0..1: two ellipses, narrow at the top, cut off below by the diaphragm."""
    height = 0.68 + 0.06 * anatomy.build_field(2)
    width = (0.31 + 0.03 * anatomy.build_field(1)) * (1 + 0.3 * np.clip(y, -0.8, 0.6))
    across = np.abs(x) - 0.42 - 0.05 * y
    dome = 0.5 + 0.04 * anatomy.build_field(2) + 1.1 * across**2 - 0.04 * np.sign(x)
    return _inside(_ellipse(across, y + 0.05, width, height), 0.06) * _inside(y / dome, 0.05)


def tissue(anatomy: Anatomy, x: FloatArray, y: FloatArray) -> FloatArray:
    """Grey value of the healthy chest, about 0 (air) to 1 (bone and heart)."""
    girth = 0.98 + 0.07 * anatomy.build_field(0)
    body = _inside((np.abs(x / girth) ** 3.2 + np.abs((y - 0.35) / 1.38) ** 3.2), 0.1)
    lungs = _lungs(anatomy, x, y)
    spine = np.exp(-((x / 0.13) ** 4)) * (0.85 + 0.15 * np.cos(22 * y))
    heart_size = 0.3 + 0.045 * anatomy.build_field(3)
    heart = _inside(_ellipse(x - 0.1 - 0.2 * (y - 0.3), y - 0.3, heart_size, 0.33), 0.08)
    phase = 13.0 * (y + 0.42 * x**2 - 0.16 * np.abs(x)) + 2 * anatomy.build_field(5)
    ribs = np.exp(3.5 * (np.cos(phase) - 1)) * _inside(np.abs(x) / 0.88, 0.05)
    collar = np.exp(-(((y + 0.72 - 0.22 * np.abs(x)) / 0.045) ** 2)) * (np.abs(x) > 0.1)
    soft = 0.62 + 0.06 * anatomy.build_field(4) - 0.08 * y
    grey = soft - 0.42 * lungs * (1 - 0.9 * heart) + 0.14 * heart + 0.16 * spine
    return body * (grey + 0.11 * ribs + 0.12 * collar)


def vessels(anatomy: Anatomy, x: FloatArray, y: FloatArray) -> FloatArray:
    """Brightness that vessels add to a lung, which is what a lesion may be taken for."""
    total = np.zeros_like(x)
    for number in range(NUM_VESSELS):
        cx, cy, direction, length, bright = anatomy.vessels[:, number].T[:, :, None, None]
        along = (x - cx) * np.cos(direction) + (y - cy) * np.sin(direction)
        beside = (y - cy) * np.cos(direction) - (x - cx) * np.sin(direction)
        total += bright * np.exp(-((along / length) ** 2) - (beside / 0.03) ** 2)
    return total * _lungs(anatomy, x, y)


def lesions(anatomy: Anatomy, x: FloatArray, y: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Brightness that lesions add, and where they are: inside their half-brightness contour."""
    added, mask = np.zeros_like(x), np.zeros(x.shape, dtype=bool)
    for number in range(MAX_LESIONS):
        cx, cy, radius, squash, turn, bright = anatomy.lesions[:, number].T[:, :, None, None]
        u = ((x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)) / radius
        v = ((y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)) / (radius * squash)
        lumps = 1 + 0.12 * np.cos(3 * np.arctan2(v, u) + 5 * turn)
        distance = np.hypot(u, v) / lumps
        added = np.maximum(added, bright * _inside(distance, 0.16))
        mask |= (distance <= 1) & (bright > 0)
    return added, mask
