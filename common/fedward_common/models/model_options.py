"""Options of each model, as frozen dataclasses; what cannot be built is refused when one is made.

No import of torch: the job checker reads this at start-up.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from fedward_common.job.checks import require, require_between

_AT = "model.options"
_MAX_CHANNELS = 4096


class ModelOptions(Protocol):
    """What every model's options know about themselves."""

    def check_image_size(self, image_size: tuple[int, ...]) -> None:
        """Refuse images that the model cannot take, with `ConfigurationError`."""
        ...


@dataclass(frozen=True)
class CnnOptions:
    """A plain convolutional network: `blocks` times two 3x3 convolutions, the second of stride 2.

    Block i has `width * 2**i` channels. `weight_standardisation` gives each channel's weights mean
    0 and variance 1 whenever they are used.
    """

    width: int = 32
    blocks: int = 3
    groups: int = 8
    dropout: float = 0.0
    weight_standardisation: bool = False

    def __post_init__(self) -> None:
        require_between(f"{_AT}.width", self.width, 1, 512)
        require_between(f"{_AT}.blocks", self.blocks, 1, 6)
        require_between(f"{_AT}.dropout", self.dropout, 0, 0.95)
        require(
            self.width * 2 ** (self.blocks - 1) <= _MAX_CHANNELS, f"{_AT}.width",
            f"is {self.width} with {self.blocks} blocks, each twice as wide as the one before",
            f"the last block may have {_MAX_CHANNELS} channels",
        )  # fmt: skip
        _require_divisible("width", (self.width,), self.groups)

    def check_image_size(self, image_size: tuple[int, ...]) -> None:
        """Every side must survive the halvings, and a norm group hold more than one value."""
        _require_side(image_size, 2**self.blocks, f"{self.blocks} halvings need it")
        _require_group_of_values(
            self.width // self.groups, [math.ceil(side / 2) for side in image_size]
        )


@dataclass(frozen=True)
class ResNet18Options:
    """ResNet-18 with group norm; `small_images` keeps the resolution in the first layer.

    `weight_standardisation` as in `CnnOptions`.
    """

    groups: int = 32
    small_images: bool = False
    weight_standardisation: bool = False

    def __post_init__(self) -> None:
        _require_divisible("groups (ResNet-18 has 64 channels at first)", (64,), self.groups)

    def check_image_size(self, image_size: tuple[int, ...]) -> None:
        """The last of the four stages must still have a pixel of its own."""
        side = 8 if self.small_images else 32
        hint = "" if self.small_images else "small_images = true takes 8 and more"
        _require_side(image_size, side, hint)


@dataclass(frozen=True)
class DenseNet121Options:
    """DenseNet-121 with group norm."""

    groups: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require_between(f"{_AT}.dropout", self.dropout, 0, 0.95)
        _require_divisible("groups (DenseNet-121 grows by 32 channels)", (32,), self.groups)

    def check_image_size(self, image_size: tuple[int, ...]) -> None:
        """Five halvings."""
        _require_side(image_size, 32, "take resnet18 or cnn for smaller images")


def gabor_sigma(scale: int) -> float:
    """Give the standard deviation of a filter's Gaussian along its wave, in pixels."""
    return 0.8 * 2.0**scale


def gabor_radius(scale: int) -> int:
    """Give how many pixels a filter reaches beyond its middle, four standard deviations."""
    return math.ceil(4 * gabor_sigma(scale))


@dataclass(frozen=True)
class GaborOptions:
    """Fixed oriented filters of several scales, averaged on a grid, under a linear layer.

    Filters of scale j are `2**j` times as large as the finest, in `orientations` directions.
    """

    scales: int = 3
    orientations: int = 8
    grid: int = 5

    def __post_init__(self) -> None:
        require_between(f"{_AT}.scales", self.scales, 1, 6)
        require_between(f"{_AT}.orientations", self.orientations, 2, 16)
        require_between(f"{_AT}.grid", self.grid, 2, 16)

    def check_image_size(self, image_size: tuple[int, ...]) -> None:
        """The coarsest filters must be mirrored at the edges, and answer in every grid cell."""
        coarsest = self.scales - 1
        side = max(gabor_radius(coarsest) + 1, self.grid * 2**coarsest)
        _require_side(image_size, side, "fewer scales or a smaller grid take smaller images")


@dataclass(frozen=True)
class UNetOptions:
    """Residual U-Net: one level for each of `channels`, `strides` between them (2 each if empty).

    `residual_units = 0` gives plain convolutions.
    """

    channels: tuple[int, ...] = (8, 16, 32, 64)
    strides: tuple[int, ...] = ()
    residual_units: int = 1
    groups: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require(
            2 <= len(self.channels) <= 8, f"{_AT}.channels",
            f"has {len(self.channels)} levels", "2 to 8 levels",
        )  # fmt: skip
        require(
            len(self.strides) in (0, len(self.channels) - 1)
            and all(1 <= stride <= 4 for stride in self.strides),
            f"{_AT}.strides", f"is {list(self.strides)}",
            f"{len(self.channels) - 1} values from 1 to 4, one between two levels, or none",
        )  # fmt: skip
        require_between(f"{_AT}.residual_units", self.residual_units, 0, 4)
        require_between(f"{_AT}.dropout", self.dropout, 0, 0.95)
        _require_divisible("channels", self.channels, self.groups)
        if not self.strides:  # resolved here, so that one network has one name
            object.__setattr__(self, "strides", (2,) * (len(self.channels) - 1))

    def check_image_size(self, image_size: tuple[int, ...]) -> None:
        """Every side must go through all strides without a remainder, or no skip would fit."""
        product = math.prod(self.strides)
        require(
            all(side % product == 0 for side in image_size),
            "data.image_size", f"is {list(image_size)}",
            f"unet with strides {list(self.strides)} needs sides divisible by {product}",
        )  # fmt: skip
        voxels = list(image_size)
        for level_channels, stride in zip(self.channels, (*self.strides, 1), strict=True):
            voxels = [side // stride for side in voxels]
            _require_group_of_values(level_channels // self.groups, voxels)


def _require_divisible(name: str, channels: tuple[int, ...], groups: int) -> None:
    """Group norm splits channels evenly or not at all."""
    require_between(f"{_AT}.groups", groups, 1, _MAX_CHANNELS)
    for count in channels:
        require_between(f"{_AT}.{name}", count, 1, _MAX_CHANNELS)
        require(
            count % groups == 0, f"{_AT}.groups", f"is {groups}, which does not divide {count}",
            f"{_AT}.{name}: every number of channels must be divisible by groups",
        )  # fmt: skip


def _require_side(image_size: tuple[int, ...], side: int, why: str) -> None:
    require(
        min(image_size) >= side, "data.image_size", f"is {list(image_size)}",
        f"this model needs at least {side} pixels a side" + (f"; {why}" if why else ""),
    )  # fmt: skip


def _require_group_of_values(channels_in_group: int, sides: list[int]) -> None:
    """A group of one value always normalises to 0, and torch refuses it."""
    require(
        channels_in_group * math.prod(sides) > 1, f"{_AT}.groups",
        f"leaves groups of a single value where images have shrunk to {sides}",
        "fewer groups, or larger images",
    )  # fmt: skip
