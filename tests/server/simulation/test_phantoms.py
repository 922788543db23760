import csv
import hashlib
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedward_common.errors import ConfigurationError
from fedward_server.simulation.phantoms import HOSPITALS, Phantoms, draw_hospital, make_phantoms

SMALL = (12, 11, 10)


def pixels_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.png")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(np.asarray(Image.open(path)).tobytes())
    return digest.hexdigest()


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def drawn(place: int, num_patients: int = 40) -> Phantoms:
    return draw_hospital(HOSPITALS[place], num_patients, 64, np.random.default_rng([3, place]))


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("first", 5), ("second", 5), ("other", 6)):
        make_phantoms(tmp_path / name, patients_per_hospital=SMALL, image_size=32, seed=seed)
    first, second, other = (pixels_hash(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second != other
    for hospital in HOSPITALS:
        texts = [(tmp_path / n / hospital.name / "manifest.csv") for n in ("first", "second")]
        assert texts[0].read_text("utf-8") == texts[1].read_text("utf-8")


def test_a_hospital_does_not_change_with_the_size_of_another(tmp_path: Path) -> None:
    for name, numbers in (("few", (10, 10, 10)), ("many", (30, 20, 10))):
        make_phantoms(tmp_path / name, patients_per_hospital=numbers, image_size=32)
    south = [pixels_hash(tmp_path / name / "hospital-south") for name in ("few", "many")]
    assert south[0] == south[1]


def test_what_the_manifest_says_is_what_the_pictures_hold(tmp_path: Path) -> None:
    cohorts = make_phantoms(tmp_path, patients_per_hospital=SMALL)
    sites = tomllib.loads(cohorts.read_text("utf-8"))["sites"]
    assert list(sites) == [hospital.name for hospital in HOSPITALS]
    for name, table in sites.items():
        assert table == {
            "source": "image-archive",
            "path": name,
            "manifest": f"{name}/manifest.csv",
            "labels": {"0": "no-lesion", "1": "lesion"},
        }
        rows = rows_of(tmp_path, name)
        assert len(list((tmp_path / name / "images").iterdir())) == len(rows)
        for row in rows:
            with Image.open(tmp_path / name / row["file"]) as image:
                assert (image.mode, image.size) == ("L", (64, 64))
            mask = np.asarray(Image.open(tmp_path / name / row["mask"]))
            assert set(np.unique(mask)) <= {0, 1}
            assert str(int(mask.any())) == row["label"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_patients_keep_one_label_and_one_split_and_some_have_two_images(place: int) -> None:
    phantoms = drawn(place)
    facts: dict[int, set[tuple[int, str]]] = {}
    for patient, label, split in zip(
        phantoms.patients.tolist(), phantoms.labels.tolist(), phantoms.splits, strict=True
    ):
        facts.setdefault(patient, set()).add((label, split))
    assert len(facts) == 40
    assert all(len(seen) == 1 for seen in facts.values())
    assert 40 < len(phantoms.images) < 60
    ill = sum(label for seen in facts.values() for label, _ in seen)
    assert ill == round(40 * HOSPITALS[place].prevalence)
    splits = Counter(split for seen in facts.values() for _, split in seen)
    assert 22 <= splits["train"] <= 26
    both = {(label, split) for seen in facts.values() for label, split in seen}
    assert len(both) == 6  # each split has ill and healthy patients


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_lesion_is_visible_and_brighter_than_the_lung_around_it(place: int) -> None:
    phantoms = drawn(place)
    for mask, label in zip(phantoms.masks, phantoms.labels, strict=True):
        if label:
            assert 8 <= mask.sum() <= 500
    grown = phantoms.masks.astype(bool)
    for axis in (1, 2):
        grown = grown | np.roll(grown, 3, axis) | np.roll(grown, -3, axis)
    ring = grown & (phantoms.masks == 0)
    inside = phantoms.images[phantoms.masks == 1].mean()
    assert inside > phantoms.images[ring].mean() + 10


def test_the_scanners_differ_in_brightness_contrast_and_sharpness() -> None:
    north, river, south = (drawn(place).images.astype(float) for place in (0, 1, 2))
    assert river.mean() > north.mean() + 20 > south.mean() + 40
    assert river.std() < 0.75 * north.std() < 0.75 * south.std()
    grain = [np.abs(np.diff(images[:, 5:-5, 5:-5], axis=2)).mean() for images in (north, south)]
    smooth = np.abs(np.diff(river[:, 5:-5, 5:-5], axis=2)).mean()
    assert smooth < grain[0] < grain[1]


@pytest.mark.parametrize(
    ("numbers", "size"), [((), 64), ((10, 10, 10, 10), 64), ((9,), 64), ((10,), 16)]
)
def test_phantoms_that_cannot_be_drawn_are_refused(
    tmp_path: Path, numbers: tuple[int, ...], size: int
) -> None:
    with pytest.raises(ConfigurationError):
        make_phantoms(tmp_path, patients_per_hospital=numbers, image_size=size)
    assert not list(tmp_path.iterdir())
