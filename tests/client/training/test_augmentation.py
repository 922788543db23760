from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedward_client.training.augmentation import augment
from fedward_common.annotation import NOT_ANNOTATED_VOXEL
from fedward_common.job.job_file import AugmentationSection


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(num_images: int, *spatial: int, seed: int = 0) -> Tensor:
    return torch.rand(num_images, 1, *spatial, generator=seeded(seed))


def blocks(num_images: int, *spatial: int) -> Tensor:
    """Give images that are 0 at the border and 1 in a box off the centre."""
    images = torch.zeros(num_images, 1, *spatial)
    box = tuple(slice(side // 4, side // 2 + 2) for side in spatial)
    images[(slice(None), slice(None), *box)] = 1
    return images


axes = st.lists(st.sampled_from(["left-right", "up-down"]), unique=True).map(tuple)


def test_without_settings_the_inputs_come_back() -> None:
    images, masks = pictures(2, 4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8)
    same, same_masks = augment(images, masks, AugmentationSection(), seeded())
    assert same is images
    assert same_masks is masks


@pytest.mark.parametrize(("axis", "dim"), [("left-right", -1), ("up-down", -2), ("front-back", -3)])
@pytest.mark.parametrize("tiny_scale", [0.0, 1e-9])
def test_a_flip_is_exact_along_the_axis_it_names_in_both_paths(
    axis: Any, dim: int, tiny_scale: float
) -> None:
    images = pictures(1, 4, 6, 8).expand(64, -1, -1, -1, -1).contiguous()
    section = AugmentationSection(flip=(axis,), scale=tiny_scale)
    flipped, _ = augment(images, None, section, seeded())
    mirrored = images.flip(dim)
    is_flipped = [torch.allclose(f, m, atol=1e-4) for f, m in zip(flipped, mirrored, strict=True)]
    is_same = [torch.allclose(f, i, atol=1e-4) for f, i in zip(flipped, images, strict=True)]
    assert 16 < sum(is_flipped) < 48
    assert all(a != b for a, b in zip(is_flipped, is_same, strict=True))


def test_a_shift_repeats_the_border_and_pads_masks_with_background() -> None:
    row = torch.tensor([1.0, 2.0, 3.0, 4.0])
    images = row.expand(200, 1, 1, 4).contiguous()
    section = AugmentationSection(shift=0.25)  # one pixel of four; no pixel of one row
    shifted, masks = augment(images, images[:, 0].to(torch.uint8), section, seeded())
    assert masks is not None
    pairs = {
        (tuple(i), tuple(m))
        for i, m in zip(shifted.flatten(1).tolist(), masks.flatten(1).tolist(), strict=True)
    }
    assert pairs == {
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ((1, 1, 2, 3), (0, 1, 2, 3)),
        ((2, 3, 4, 4), (2, 3, 4, 0)),
    }


@given(seed=st.integers(0, 2**32), flip=axes, shift=st.floats(0, 0.5), three=st.booleans())
@settings(max_examples=40, deadline=None)
def test_exact_moves_give_mask_and_image_the_same_geometry(
    seed: int, flip: tuple[Any, ...], shift: float, three: bool
) -> None:
    images = pictures(3, *((4, 6, 7) if three else (6, 7)), seed=seed)
    images = torch.nn.functional.pad(images, [1] * (2 * (images.ndim - 2)))  # background border
    section = AugmentationSection(flip=flip, shift=shift)
    moved, masks = augment(images, (images[:, 0] > 0.5).to(torch.uint8), section, seeded(seed))
    assert masks is not None
    assert masks.dtype == torch.uint8
    assert torch.equal(masks, (moved[:, 0] > 0.5).to(torch.uint8))


@given(seed=st.integers(0, 2**32), flip=axes, three=st.booleans())
@settings(max_examples=30, deadline=None)
def test_interpolated_moves_give_mask_and_image_the_same_geometry(
    seed: int, flip: tuple[Any, ...], three: bool
) -> None:
    images = blocks(4, *((12, 20, 28) if three else (32, 40)))
    section = AugmentationSection(flip=flip, shift=0.1, rotate_degrees=180, scale=0.2)
    moved, masks = augment(images, images[:, 0].to(torch.uint8), section, seeded(seed))
    assert masks is not None
    certain = (moved[:, 0] < 0.01) | (moved[:, 0] > 0.99)
    assert certain.float().mean() > 0.7
    assert torch.equal(masks[certain], (moved[:, 0] > 0.5).to(torch.uint8)[certain])


def test_rotation_keeps_a_round_spot_of_a_picture_that_is_not_square() -> None:
    y, x = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(48) - 23.5, indexing="ij")
    spot = torch.exp(-(x**2 + y**2) / 32).expand(8, 1, -1, -1).contiguous()
    turned, _ = augment(spot, None, AugmentationSection(rotate_degrees=180), seeded())
    assert (turned - spot).abs().max() < 0.03  # linear interpolation of a spot of sigma 4


def test_scaling_changes_an_area_by_the_square_of_its_bound_at_most() -> None:
    images = torch.zeros(64, 1, 40, 40)
    images[:, :, 12:28, 12:28] = 1
    scaled, _ = augment(images, None, AugmentationSection(scale=0.2), seeded())
    areas = scaled.sum((1, 2, 3)) / 256
    assert 0.62 < areas.min() < 0.75  # 0.8^2 = 0.64
    assert 1.3 < areas.max() < 1.46  # 1.2^2 = 1.44


def test_volumes_rotate_within_their_slices() -> None:
    volume = torch.zeros(4, 1, 6, 16, 16)
    volume[:, :, 2] = 1
    turned, _ = augment(volume, None, AugmentationSection(rotate_degrees=180), seeded())
    torch.testing.assert_close(turned, volume, atol=1e-5, rtol=0)


def test_intensity_is_one_factor_an_image_and_noise_has_its_deviation() -> None:
    brighter, _ = augment(
        torch.ones(200, 1, 4, 4), None, AugmentationSection(intensity=0.3), seeded()
    )
    assert torch.equal(brighter, brighter[:, :, :1, :1].expand_as(brighter))
    assert 0.7 <= brighter.min() < 0.75
    assert 1.25 < brighter.max() <= 1.3
    noisy, _ = augment(torch.zeros(8, 1, 32, 32), None, AugmentationSection(noise=0.5), seeded())
    assert noisy.std().item() == pytest.approx(0.5, rel=0.05)


def test_the_same_generator_state_gives_the_same_bits_and_no_global_state_moves() -> None:
    images = pictures(4, 12, 12)
    section = AugmentationSection(("left-right",), 0.1, 20.0, 0.1, 0.1, 0.1)
    before = torch.random.get_rng_state()
    results = [augment(images, None, section, seeded(7))[0] for _ in range(2)]
    assert torch.equal(*results)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(results[0], augment(images, None, section, seeded(8))[0])


@pytest.mark.parametrize(
    "section",
    [
        AugmentationSection(flip=("left-right", "up-down"), shift=0.3),
        AugmentationSection(shift=0.3, rotate_degrees=40, scale=0.3),
    ],
)
def test_voxels_that_are_not_annotated_stay_so_and_no_value_between_appears(
    section: AugmentationSection,
) -> None:
    masks = torch.zeros(64, 12, 12, dtype=torch.uint8)
    masks[:, 2:6, 2:8], masks[:, 6:10, 2:8] = 1, NOT_ANNOTATED_VOXEL
    _, moved = augment(pictures(64, 12, 12), masks, section, seeded())
    assert moved is not None
    assert moved.dtype == torch.uint8
    assert set(moved.flatten().tolist()) == {0, 1, NOT_ANNOTATED_VOXEL}
