import csv
import hashlib
import json
import stat
from collections import Counter
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image

from fedward_common.errors import ConfigurationError
from fedward_server.simulation.phantom_hospitals import HOSPITALS
from fedward_server.simulation.phantom_writing import (
    Kinds,
    PhantomHospital,
    PhantomOrder,
    make_phantoms,
    patients_of,
)


def tree_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(path.relative_to(folder).as_posix().encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def datasets_of(made: PhantomHospital) -> dict[str, pydicom.Dataset]:
    files = (pydicom.dcmread(path) for path in sorted(made.dicom_folder.rglob("*.dcm")))
    return {str(ds.SOPInstanceUID): ds for ds in files}


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> list[PhantomHospital]:
    return make_phantoms(tmp_path_factory.mktemp("chests"), PhantomOrder((10,) * 5, image_size=32))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[PhantomHospital]:
    order = PhantomOrder((10, 10), "ct", image_size=32)
    return make_phantoms(tmp_path_factory.mktemp("series"), order)


@pytest.mark.parametrize(("kinds", "quirks"), [("chest", True), ("ct", False)])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    tmp_path: Path, kinds: Kinds, quirks: bool
) -> None:
    for name, seed in (("first", 5), ("second", 5), ("other", 6)):
        make_phantoms(tmp_path / name, PhantomOrder((10,), kinds, 32, seed, quirks))
    first, second, other = (tree_hash(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second != other


def test_a_hospital_does_not_change_with_the_size_of_another(tmp_path: Path) -> None:
    for name, numbers in (("few", (10, 10)), ("many", (12, 10))):
        make_phantoms(tmp_path / name, PhantomOrder(numbers, image_size=32))
    river = [tree_hash(tmp_path / name / "hospital-river") for name in ("few", "many")]
    assert river[0] == river[1]


@pytest.mark.parametrize("place", range(len(HOSPITALS)))
def test_what_a_label_file_says_of_chest_images_is_what_they_hold(
    chests: list[PhantomHospital], place: int
) -> None:
    made, found = chests[place], datasets_of(chests[place])
    rows = rows_of(made.label_files[0].path)
    assert len(found) == made.num_files == 2 * len(rows)
    for row in rows:
        image, seg = found[row["sop_instance_uid"]], found[row["seg_sop_instance_uid"]]
        assert (image.Modality, image.Rows, image.Columns) == ("CR", 32, 32)
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID
        assert seg.pixel_array.any() == (row["label"] == "lesion")
        assert row["split"] in ("train", "validation", "test")
        assert (seg.PatientID, seg.StudyInstanceUID) == (image.PatientID, image.StudyInstanceUID)


def test_no_two_hospitals_store_alike(chests: list[PhantomHospital]) -> None:
    def ways(made: PhantomHospital) -> set[tuple[object, ...]]:
        images = [ds for ds in datasets_of(made).values() if ds.Modality == "CR"]
        return {
            (ds.file_meta.TransferSyntaxUID, ds.PhotometricInterpretation, ds.BitsStored,
             ds.ManufacturerModelName)
            for ds in images
        }  # fmt: skip

    all_ways = [ways(made) for made in chests]
    assert all(len(one) == 1 for one in all_ways)
    assert len(set.union(*all_ways)) == len(HOSPITALS)
    photometric = {way[1] for one in all_ways for way in one}
    assert photometric == {"MONOCHROME1", "MONOCHROME2"}
    assert len({way[0] for one in all_ways for way in one}) == 4


def test_an_inverted_chest_shows_bright_bones_all_the_same(chests: list[PhantomHospital]) -> None:
    for made in chests:
        for ds in datasets_of(made).values():
            if ds.Modality != "CR":
                continue
            pixels = ds.pixel_array.astype(float) / (1 << ds.BitsStored)
            shown = 1 - pixels if ds.PhotometricInterpretation == "MONOCHROME1" else pixels
            assert shown[12:20, 15:17].mean() > shown[12:20, 8:12].mean()  # spine, lung


def test_every_patient_is_plainly_invented_and_in_one_split(chests: list[PhantomHospital]) -> None:
    for made in chests:
        found = datasets_of(made)
        split_of: dict[str, str] = {}
        for row in rows_of(made.label_files[0].path):
            ds = found[row["sop_instance_uid"]]
            assert str(ds.PatientName).startswith("Phantom^")
            assert ds.PatientID.startswith(made.hospital.short_name)
            assert ds.BurnedInAnnotation == "NO"
            assert split_of.setdefault(ds.PatientID, row["split"]) == row["split"]
        assert len(split_of) == made.label_files[0].num_patients == 10


@pytest.mark.parametrize("place", [0, 1])
def test_what_a_label_file_says_of_series_is_what_they_hold(
    series: list[PhantomHospital], place: int
) -> None:
    found = datasets_of(series[place])
    for row in rows_of(series[place].label_files[0].path):
        slices = [ds for ds in found.values() if ds.SeriesInstanceUID == row["series_instance_uid"]]
        volume = highdicom.get_volume_from_series(slices)
        scanner = HOSPITALS[place].ct.scanner
        assert volume.spacing[0] == pytest.approx(scanner.slice_spacing_mm)
        assert volume.array[0, 0, 0] == pytest.approx(-1000, abs=150)
        assert {ds.ConvolutionKernel for ds in slices} == {scanner.kernel}
        seg = found[row["seg_sop_instance_uid"]]
        assert np.any(seg.pixel_array) == (row["label"] == "lesion")


def test_both_kinds_lie_in_one_archive_with_a_label_file_each(tmp_path: Path) -> None:
    made = make_phantoms(tmp_path, PhantomOrder((10,), "both", 32, quirks=True))[0]
    assert [file.path.name for file in made.label_files] == ["labels.csv", "labels-ct.csv"]
    assert [file.kind for file in made.label_files] == ["chest", "ct"]
    of_patients = [path for path in made.dicom_folder.rglob("*/*.dcm") if path.is_file()]
    assert len(of_patients) == made.num_files - 1  # one has no patient id
    expected = json.loads((made.folder / "expected_findings.json").read_text("utf-8"))
    assert expected == made.expected
    assert list(expected["lines"]) == ["labels.csv", "labels-ct.csv"]
    assert stat.S_ISFIFO((made.dicom_folder / "scanner.pipe").stat().st_mode)
    with Image.open(tmp_path / "preview.png") as preview:
        assert preview.size == (8 * 160, 2 * 160)


def test_faults_come_on_top_of_what_is_made_without_them(tmp_path: Path) -> None:
    for name, quirks in (("plain", False), ("faulty", True)):
        make_phantoms(tmp_path / name, PhantomOrder((10,), image_size=32, quirks=quirks))
    plain, faulty = (tmp_path / name / "hospital-north" for name in ("plain", "faulty"))
    lines = [(folder / "labels.csv").read_text("utf-8") for folder in (plain, faulty)]
    assert lines[1].startswith(lines[0])
    for path in plain.joinpath("dicom").rglob("*.dcm"):
        assert (faulty / path.relative_to(plain)).read_bytes() == path.read_bytes()
    assert not (plain / "expected_findings.json").exists()
    words = Counter(row["label"] for row in rows_of(faulty / "labels.csv"))
    assert words["unclear"] == 1


@pytest.mark.parametrize(
    ("numbers", "size"),
    [((), 64), ((10,) * 6, 64), ((9,), 64), ((10,), 16), ((10,), 5000)],
)
def test_phantoms_that_cannot_be_drawn_are_refused(numbers: tuple[int, ...], size: int) -> None:
    with pytest.raises(ConfigurationError):
        PhantomOrder(numbers, image_size=size)


def test_patients_are_one_number_or_one_for_each_hospital() -> None:
    assert patients_of("40", 3) == (40, 40, 40)
    assert patients_of("60,40,24", 3) == (60, 40, 24)
    for text in ("60,40", "many", "", "1,,2"):
        with pytest.raises(ConfigurationError):
            patients_of(text, 3)
