import numpy as np
import pytest

from fedward_server.simulation.phantom_ct import CtVolume, draw_volume
from fedward_server.simulation.phantom_hospitals import HOSPITALS


def drawn(place: int, *, ill: bool = True, seed: int = 0, image_size: int = 64) -> CtVolume:
    rng = np.random.default_rng(seed)
    return draw_volume(HOSPITALS[place].ct.scanner, ill=ill, image_size=image_size, rng=rng)


def test_the_same_seed_gives_the_same_volume_and_another_seed_another() -> None:
    np.testing.assert_array_equal(drawn(0).hounsfield, drawn(0).hounsfield)
    assert (drawn(0).hounsfield != drawn(0, seed=1).hounsfield).any()


@pytest.mark.parametrize("place", range(len(HOSPITALS)))
def test_a_volume_covers_the_same_height_whatever_the_scanner(place: int) -> None:
    volume = drawn(place)
    assert len(volume.hounsfield) * volume.spacing_mm[0] == 120
    assert volume.spacing_mm[1] == volume.spacing_mm[2]
    assert volume.hounsfield.dtype == np.int16


@pytest.mark.parametrize("place", range(len(HOSPITALS)))
def test_air_fat_organs_and_bone_lie_where_hounsfield_put_them(place: int) -> None:
    middle = drawn(place, ill=False).hounsfield[len(drawn(place).hounsfield) // 2].astype(float)
    assert middle[:4, :4].mean() == pytest.approx(-1000, abs=40)
    assert middle.max() > 300
    liver = middle[26:32, 18:24]  # left in the picture: the patient's right
    assert liver.mean() == pytest.approx(112, abs=25)


@pytest.mark.parametrize("seed", range(8))
def test_a_lesion_is_darker_than_the_liver_and_only_the_ill_have_one(seed: int) -> None:
    volume = drawn(0, seed=seed)
    inside = volume.mask == 1
    assert inside.sum() >= 10
    assert volume.hounsfield[inside].mean() < 90
    assert not drawn(0, ill=False, seed=seed).mask.any()
