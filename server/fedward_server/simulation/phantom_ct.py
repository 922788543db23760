"""CT-like volumes that the project draws itself: an abdomen with liver lesions.

Values are Hounsfield units. Coordinates are the patient's, in mm: x to the left, y to the back, z
to the head, the body's axis at x = y = 0. Every organ is an ellipsoid or a cylinder; a lesion is a
sphere in the liver, darker than it. Nothing here comes from a person.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward_server.simulation.phantom_anatomy import FloatArray
from fedward_server.simulation.picture_blur import blurred

AIR_HU = -1000.0
_HEIGHT_MM = 120.0
_MAX_LESIONS = 3


@dataclass(frozen=True)
class CtScanner:
    """What a hospital's CT does to every series.

    Args:
        slice_spacing_mm: Between slices.
        field_mm: Width of the picture.
        noise_hu: Standard deviation of the grain before the kernel.
        kernel: ConvolutionKernel.
        blur_pixels: What the kernel smooths, a standard deviation.
        signed: Store Hounsfield units as they are; else 1024 more, with that intercept.
    """

    slice_spacing_mm: float
    field_mm: float
    noise_hu: float
    kernel: str
    blur_pixels: float
    signed: bool


@dataclass(frozen=True)
class CtVolume:
    """One patient's volume.

    Attributes:
        hounsfield: Whole numbers, int16, shape (slices, rows, columns), slices from feet to head.
        mask: 1 where a lesion is, else 0, of the same shape.
        spacing_mm: Between slices, rows and columns.
        origin_mm: Centre of the first voxel: x, y, z.
    """

    hounsfield: NDArray[np.int16]
    mask: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]


@dataclass(frozen=True)
class _Ellipsoid:
    """Where an organ is and what it absorbs; infinite `half_z` makes it a cylinder."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    hounsfield: float

    def holds(self, x: FloatArray, y: FloatArray, z: FloatArray) -> NDArray[np.bool_]:
        inside = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape))
        for at, middle, half in zip((x, y, z), self.centre, self.half, strict=True):
            inside = inside + ((at - middle) / half) ** 2
        return np.asarray(inside <= 1)


def draw_volume(
    scanner: CtScanner,
    *,
    ill: bool,
    image_size: int,
    rng: np.random.Generator,
    height_mm: float = _HEIGHT_MM,
) -> CtVolume:
    """Draw the volume of one patient, ill ones with one to three lesions."""
    num_slices = max(3, round(height_mm / scanner.slice_spacing_mm))
    pixel_mm = scanner.field_mm / image_size
    shift = rng.uniform(-8, 8, 2)
    steps = (np.arange(image_size) - (image_size - 1) / 2) * pixel_mm
    heights = (np.arange(num_slices) - (num_slices - 1) / 2) * scanner.slice_spacing_mm
    z, y, x = np.meshgrid(heights, steps + shift[0], steps + shift[1], indexing="ij", sparse=True)
    organs = _organs(rng)
    scene = np.full((num_slices, image_size, image_size), AIR_HU)
    for organ in organs:
        scene[organ.holds(x, y, z)] = organ.hounsfield
    mask = np.zeros(scene.shape, dtype=bool)
    for lesion in _lesions(organs[_LIVER], rng) if ill else ():
        inside = lesion.holds(x, y, z)
        scene[inside], mask = lesion.hounsfield, mask | inside
    noisy = blurred(scene, scanner.blur_pixels / 2)
    noisy += blurred(rng.normal(0, scanner.noise_hu, scene.shape), scanner.blur_pixels)
    hounsfield = np.rint(noisy.clip(-1024, 3071)).astype(np.int16)
    origin = (float(x.min()), float(y.min()), float(z.min()))
    spacing = (scanner.slice_spacing_mm, pixel_mm, pixel_mm)
    return CtVolume(hounsfield, mask.astype(np.uint8), spacing, origin)


_LIVER = 3


def _organs(rng: np.random.Generator) -> list[_Ellipsoid]:
    """Give the organs of one patient, later ones over earlier ones."""
    girth, liver, turn = rng.normal(0, 0.35, 3).clip(-1, 1)
    wide, deep = 158 + 14 * girth, 108 + 12 * girth
    tall = math.inf
    fat = 9 + 4 * (1 + girth)
    return [
        _Ellipsoid((0, 0, 0), (wide, deep, tall), -95),  # fat under the skin
        _Ellipsoid((0, 2, 0), (wide - fat, deep - fat, tall), 48),  # muscle
        _Ellipsoid((0, -8, 0), (wide - 2.2 * fat, deep - 26, tall), -40),  # fat of the belly
        _Ellipsoid((-58, -12 + 5 * turn, 6), (74, 62 + 6 * liver, 78 + 8 * liver), 112),
        _Ellipsoid((82, 22, 24), (30, 44, 42), 122),  # spleen
        _Ellipsoid((42, -44, 20), (44, 26, 46), 22),  # stomach
        _Ellipsoid((50, -52, 20), (20, 12, 26), -850),  # its bubble of air
        _Ellipsoid((-62, 52, -46), (25, 21, 48), 168),  # kidneys
        _Ellipsoid((64, 50, -40), (25, 21, 48), 172),
        _Ellipsoid((12, 38, 0), (11, 11, tall), 185),  # aorta
        _Ellipsoid((-16, 32, 0), (13, 10, tall), 130),  # vena cava
        _Ellipsoid((0, 66, 0), (22, 19, tall), 420),  # vertebra, its marrow and canal
        _Ellipsoid((0, 64, 0), (17, 14, tall), 190),
        _Ellipsoid((0, 86, 0), (9, 8, tall), 25),
        *_ribs(wide - 0.8 * fat, deep - 0.8 * fat),
    ]


def _ribs(wide: float, deep: float) -> list[_Ellipsoid]:
    """Give short stretches of ribs along the wall of the body."""
    ribs = []
    for number in range(16):
        angle = math.pi * (number + 0.5) / 8
        height = -60 + 23 * (number * 7 % 6)
        centre = (0.93 * wide * math.cos(angle), 0.92 * deep * math.sin(angle), height)
        ribs.append(_Ellipsoid(centre, (8, 7, 16), 520))
    return ribs


def _lesions(liver: _Ellipsoid, rng: np.random.Generator) -> list[_Ellipsoid]:
    """Give one to three spheres well inside the liver and inside the scanned height."""
    lesions = []
    for _ in range(int(rng.integers(1, _MAX_LESIONS + 1))):
        direction = rng.normal(0, 1, 3)
        direction /= np.linalg.norm(direction)
        out = 0.6 * rng.uniform(0, 1) ** (1 / 3)
        half = np.minimum(np.asarray(liver.half), (74.0, 62.0, 50.0))
        at = np.asarray(liver.centre) + out * half * direction
        radius = float(rng.uniform(9, 18))
        centre = (float(at[0]), float(at[1]), float(at[2]))
        lesions.append(_Ellipsoid(centre, (radius,) * 3, float(rng.uniform(25, 55))))
    return lesions
